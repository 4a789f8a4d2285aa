//! Which replica gets a call.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt as _};

use super::fake::echo;
use super::*;

async fn load(upstream: &Upstream, calls: usize, concurrency: usize) {
    stream::iter(0..calls)
        .for_each_concurrent(concurrency, |_| async move {
            call(upstream, echo("read", 0)).await.unwrap();
        })
        .await;
}

#[tokio::test]
async fn replicas_get_even_shares() {
    let fakes = [Fake::start(), Fake::start(), Fake::start(), Fake::start()];
    let upstream = connected(&fakes.each_ref(), Settings::default()).await;
    let mut shares = HashMap::new();
    let mut in_flight = Vec::new();
    for _ in 0..4_000 {
        let lease = upstream.inner.pool.pick(None).unwrap();
        *shares.entry(lease.connection().address().clone()).or_insert(0) += 1;
        in_flight.push(lease);
        if in_flight.len() > 16 {
            in_flight.swap_remove(fastrand::usize(..in_flight.len()));
        }
    }
    assert!(shares.values().all(|share| (900..=1100).contains(share)), "{shares:?}");
}

#[tokio::test]
async fn a_slow_replica_gets_less() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], Settings::default()).await;
    let held: Vec<_> = (0..8).map(|_| upstream.inner.pool.pick(Some(&two.address.into()))).collect();
    load(&upstream, 100, 4).await;
    assert_eq!((one.record.total(), two.record.total()), (0, 100));
    drop(held);
}

#[tokio::test]
async fn a_replica_that_comes_back_warms_up_and_then_has_its_share() {
    let (mut one, two) = (Fake::start(), Fake::start());
    let settings = Settings { slow_start: Duration::from_millis(600), ..Settings::default() };
    let upstream = connected(&[&one, &two], settings).await;
    one.kill();
    until_ready(&upstream, 1).await;
    // The other is warm by now.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let one = Fake::restart(one.address);
    until_ready(&upstream, 2).await;
    load(&upstream, 100, 1).await;
    let early = one.record.total();
    assert!(early < 40, "{early} of the first 100 calls");
    tokio::time::sleep(Duration::from_millis(600)).await;
    load(&upstream, 400, 1).await;
    let share = one.record.total() - early;
    assert!((150..=250).contains(&share), "{share} of 400 calls when warm");
}

#[tokio::test]
async fn a_replica_that_drains_gets_nothing_new_while_another_is_there() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], Settings::default()).await;
    // A stream is how the replica tells.
    let calls = upstream.call_stream::<Echo, Echo>(fake::STREAM);
    let deadline = || Instant::now() + Duration::from_secs(2);
    for _ in 0..20 {
        calls.call(&echo("first", 0), deadline()).await.unwrap();
    }
    one.drain(Duration::from_secs(60));
    until_ready(&upstream, 1).await;
    load(&upstream, 50, 4).await;
    assert_eq!((one.record.begun("read"), two.record.begun("read")), (0, 50));
}

#[tokio::test]
async fn a_replica_that_drains_still_serves_when_it_is_the_only_one() {
    let one = Fake::start();
    let upstream = connected(&[&one], Settings::default()).await;
    let calls = upstream.call_stream::<Echo, Echo>(fake::STREAM);
    let deadline = || Instant::now() + Duration::from_secs(2);
    calls.call(&echo("first", 0), deadline()).await.unwrap();
    one.drain(Duration::from_secs(60));
    until_ready(&upstream, 0).await;
    load(&upstream, 20, 4).await;
    for _ in 0..20 {
        calls.call(&echo("streamed", 0), deadline()).await.unwrap();
    }
}
