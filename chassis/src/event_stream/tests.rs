//! Streams on the real Redis, by several consumers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::shutdown::Shutdown;

const GROUP: &str = "readers";

/// A stream of a test's own, and what its consumers were handed.
struct Bench {
    stream: String,
    handed: Arc<Mutex<HashMap<Vec<u8>, usize>>>,
    shutdown: Shutdown,
}

impl Bench {
    fn new() -> Self {
        let stream = format!("{{test-{:016x}}}", fastrand::u64(..));
        Self { stream, handed: Arc::default(), shutdown: Shutdown::new() }
    }

    #[expect(clippy::disallowed_methods, reason = "the test runner says where its servers are")]
    fn redis(&self) -> Redis {
        let url = std::env::var("TEST_STATE_REDIS_URL").expect("run through `make test`, which starts one");
        Redis::open(&url.parse().unwrap(), "test", &self.shutdown)
    }

    fn publisher(&self) -> Publisher {
        Publisher::new(self.redis(), &self.stream)
    }

    /// A consumer that does not wait long for others.
    fn consumer(&self) -> Consumer {
        let consumer = Consumer::new(self.redis(), &self.stream, GROUP).answering(self.answers());
        Consumer { takeover_idle: Duration::from_millis(50), ..consumer }
    }

    fn answers(&self) -> String {
        format!("{}:answers", self.stream)
    }

    /// Begins to consume with what `judge` says of an event that was handed out so many times before.
    fn consume(&self, judge: fn(&[u8], usize) -> Verdict) {
        let (consumer, handed) = (self.consumer(), self.handed.clone());
        self.shutdown.spawn_background(consumer.run(move |event| {
            let mut handed = handed.lock().unwrap();
            let times = handed.entry(event.clone()).or_default();
            *times += 1;
            std::future::ready(judge(&event, *times - 1))
        }));
    }

    fn times(&self, event: &[u8]) -> usize {
        self.handed.lock().unwrap().get(event).copied().unwrap_or_default()
    }

    async fn length(&self, stream: &str) -> usize {
        self.redis().query("XLEN", stream, cmd("XLEN").arg(stream)).await.unwrap()
    }

    async fn until(&self, condition: impl AsyncFn(&Self) -> bool) {
        let reached = async {
            while !condition(self).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.stopping().cancel();
    }
}

fn answer(event: &[u8], _: usize) -> Verdict {
    Verdict::Answer([b"re: ", event].concat())
}

#[tokio::test]
async fn each_event_goes_to_one_of_the_group_is_answered_and_leaves_nothing() {
    let bench = Bench::new();
    let publisher = bench.publisher();
    // Before anybody listens, and after.
    for number in 0..20_u8 {
        publisher.publish(None, &[number]).await.unwrap();
    }
    for _ in 0..3 {
        bench.consume(answer);
    }
    for number in 20..40_u8 {
        publisher.publish(None, &[number]).await.unwrap();
    }
    bench.until(async |bench| bench.length(&bench.answers()).await == 40).await;
    assert!((0..40_u8).all(|number| bench.times(&[number]) == 1));
    assert_eq!(bench.length(&bench.stream).await, 0);
}

#[tokio::test]
async fn what_a_consumer_took_and_did_not_finish_another_one_does() {
    let bench = Bench::new();
    bench.publisher().publish(None, b"event").await.unwrap();
    let dead = bench.consumer();
    dead.create_group().await.unwrap();
    assert_eq!(dead.take_new().await.unwrap().len(), 1);
    assert!(dead.take_new().await.unwrap().is_empty());
    bench.consume(answer);
    bench.until(async |bench| bench.length(&bench.stream).await == 0).await;
    assert_eq!(bench.times(b"event"), 1);
}

#[tokio::test]
async fn an_event_that_fails_comes_again_and_holds_no_other_up() {
    let bench = Bench::new();
    let publisher = bench.publisher();
    publisher.publish(None, b"poison").await.unwrap();
    bench.consume(|event, times| match (event, times) {
        (b"poison", 0..3) => Verdict::Later,
        _ => Verdict::Done,
    });
    bench.until(async |bench| bench.times(b"poison") > 0).await;
    publisher.publish(None, b"good").await.unwrap();
    bench.until(async |bench| bench.times(b"good") == 1).await;
    bench.until(async |bench| bench.length(&bench.stream).await == 0).await;
    assert_eq!(bench.times(b"poison"), 4);
    assert_eq!(bench.length(&bench.answers()).await, 0);
}

#[tokio::test]
async fn an_event_is_published_again_only_when_its_entry_is_gone() {
    let bench = Bench::new();
    let publisher = bench.publisher();
    let entry = publisher.publish(None, b"event").await.unwrap();
    assert_eq!(publisher.publish(Some(&entry), b"event").await.unwrap(), entry);
    assert_eq!(bench.length(&bench.stream).await, 1);
    bench.redis().query::<()>("DEL", &bench.stream, cmd("DEL").arg(&bench.stream)).await.unwrap();
    assert_ne!(publisher.publish(Some(&entry), b"event").await.unwrap(), entry);
}

#[tokio::test]
async fn consumers_go_on_when_the_redis_has_forgotten_everything() {
    let bench = Bench::new();
    let publisher = bench.publisher();
    bench.consume(answer);
    publisher.publish(None, b"before").await.unwrap();
    bench.until(async |bench| bench.times(b"before") == 1).await;
    bench.redis().query::<()>("DEL", &bench.stream, cmd("DEL").arg(&bench.stream)).await.unwrap();
    publisher.publish(None, b"after").await.unwrap();
    bench.until(async |bench| bench.times(b"after") == 1).await;
}

#[tokio::test]
async fn entries_that_make_no_sense_are_dropped() {
    let bench = Bench::new();
    let mut add = cmd("XADD");
    add.arg(&bench.stream).arg("*").arg("what").arg("ever");
    bench.redis().query::<()>("XADD", &bench.stream, &add).await.unwrap();
    bench.consume(answer);
    bench.until(async |bench| bench.length(&bench.stream).await == 0).await;
}
