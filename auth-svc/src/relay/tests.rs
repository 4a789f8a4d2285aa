//! From the outbox to a consumer and back, on the real stores.

use std::sync::Mutex;

use chassis::postgres::Postgres;
use chassis::shutdown::Shutdown;
use redis::cmd;
use sqlx::postgres::PgConnection;

use super::*;
use crate::test_servers::{fresh_database, server};

const CONSUMER: &str = "profile-svc";

struct Bench {
    postgres: Postgres,
    namespace: String,
    /// The events that the consumer was handed, by their users.
    handed: Arc<Mutex<Vec<String>>>,
    shutdown: Shutdown,
}

impl Bench {
    async fn new() -> Self {
        let (postgres, namespace, _) = fresh_database().await;
        Self { postgres, namespace, handed: Arc::default(), shutdown: Shutdown::new() }
    }

    fn redis(&self) -> Redis {
        Redis::open(&server("TEST_STATE_REDIS_URL").parse().unwrap(), "test", &self.shutdown)
    }

    fn relay(&self) -> Relay {
        Relay::new(Outbox::new(self.postgres.clone()), self.redis(), &self.namespace)
    }

    /// A whole replica's part.
    fn start_relay(&self) {
        self.shutdown.spawn_background(self.relay().publish());
        self.shutdown.spawn_background(self.relay().confirm(self.redis()));
    }

    /// Another service, which confirms what it is told unless it is to be silent.
    fn start_consumer(&self, confirms: bool) {
        let (events, confirmed) = (self.stream("events"), self.stream("confirmed"));
        let consumer = Consumer::new(self.redis(), events, CONSUMER).answering(confirmed);
        let handed = self.handed.clone();
        self.shutdown.spawn_background(consumer.run(move |event| {
            let event = AccountEvent::decode(&event[..]).unwrap();
            let Some(Event::UserDeleted(UserDeleted { user_id })) = event.event else { panic!("no user") };
            handed.lock().unwrap().push(user_id);
            let answer = AccountEventConfirmation { event_id: event.id }.encode_to_vec();
            std::future::ready(if confirms { Verdict::Answer(answer) } else { Verdict::Done })
        }));
    }

    fn stream(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.namespace)
    }

    async fn add(&self) -> String {
        let user_id = Uuid::now_v7();
        let add =
            async |connection: &mut PgConnection| crate::outbox::add_user_deleted(connection, user_id).await;
        self.postgres.run("test", add).await.unwrap();
        user_id.to_string()
    }

    async fn all_are_due(&self) {
        let statement = async |connection: &mut PgConnection| {
            sqlx::query("UPDATE outbox SET due_at = now()").execute(connection).await
        };
        self.postgres.run("test", statement).await.unwrap();
    }

    async fn waiting(&self) -> i64 {
        let count = async |connection: &mut PgConnection| {
            sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(connection).await
        };
        self.postgres.run("test", count).await.unwrap()
    }

    async fn length(&self, stream: &str) -> usize {
        self.redis().query("XLEN", self.stream(stream), cmd("XLEN").arg(self.stream(stream))).await.unwrap()
    }

    async fn forget(&self) {
        let mut del = cmd("DEL");
        del.arg(self.stream("events")).arg(self.stream("confirmed"));
        self.redis().query::<()>("DEL", self.stream("events"), &del).await.unwrap();
    }

    fn handed(&self) -> Vec<String> {
        let mut handed = self.handed.lock().unwrap().clone();
        handed.sort();
        handed
    }

    async fn until_all_are_confirmed(&self) {
        let all = async {
            while self.waiting().await > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all).await.unwrap();
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.shutdown.stopping().cancel();
    }
}

#[tokio::test]
async fn every_event_reaches_its_consumer_and_leaves_nothing_in_either_store() {
    let bench = Bench::new().await;
    let mut users = Vec::new();
    for _ in 0..150 {
        users.push(bench.add().await);
    }
    for _ in 0..3 {
        bench.start_relay();
        bench.start_consumer(true);
    }
    bench.until_all_are_confirmed().await;
    let mut handed = bench.handed();
    handed.dedup();
    assert_eq!(handed, users);
    let left = async || bench.length("events").await + bench.length("confirmed").await;
    while left().await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_event_that_waits_to_be_consumed_is_not_published_again() {
    let bench = Bench::new().await;
    bench.add().await;
    for _ in 0..5 {
        bench.all_are_due().await;
        bench.relay().publish_due().await.unwrap();
    }
    assert_eq!((bench.length("events").await, bench.waiting().await), (1, 1));
}

#[tokio::test]
async fn an_event_that_redis_lost_before_it_was_consumed_comes_again() {
    let bench = Bench::new().await;
    let user = bench.add().await;
    bench.relay().publish_due().await.unwrap();
    bench.forget().await;
    bench.start_relay();
    bench.start_consumer(true);
    bench.until_all_are_confirmed().await;
    assert_eq!(bench.handed(), [user]);
}

#[tokio::test]
async fn an_event_whose_confirmation_was_lost_comes_again() {
    let bench = Bench::new().await;
    let user = bench.add().await;
    bench.start_consumer(false);
    bench.relay().publish_due().await.unwrap();
    while bench.length("events").await > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((bench.handed(), bench.waiting().await), (vec![user.clone()], 1));
    bench.start_relay();
    while bench.handed().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(bench.handed().iter().all(|handed| *handed == user));
    assert_eq!(bench.waiting().await, 1, "nobody has confirmed it");
}

#[tokio::test]
async fn without_redis_events_stay_and_are_tried_again_soon() {
    let bench = Bench::new().await;
    let user = bench.add().await;
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Redis::open(&format!("redis://{closed_port}").parse().unwrap(), "test", &bench.shutdown);
    let cut_off = Relay::new(Outbox::new(bench.postgres.clone()), away, &bench.namespace);
    for _ in 0..20 {
        bench.all_are_due().await;
        assert!(matches!(cut_off.publish_due().await, Err(AuthError::SessionStoreAway(_))));
    }
    bench.start_relay();
    bench.start_consumer(true);
    bench.until_all_are_confirmed().await;
    assert_eq!(bench.handed(), [user]);
}
