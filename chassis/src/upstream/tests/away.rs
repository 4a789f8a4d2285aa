//! Replicas that cannot be reached, or hang, and come back.

use super::fake::echo;
use super::*;

#[tokio::test]
async fn calls_fail_at_once_when_every_replica_is_away_and_work_again_soon_after_one_is_back() {
    let (mut one, mut two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], idempotent()).await;
    one.kill();
    two.kill();
    eventually(Duration::from_secs(2), || upstream.inner.pool.away() == 2).await;
    for _ in 0..20 {
        let started = Instant::now();
        let status = call(&upstream, echo("read", 0)).await.unwrap_err();
        assert_eq!(reason(&status), (Code::Unavailable, Some("UPSTREAM_AWAY".into())));
        assert!(started.elapsed() < Duration::from_millis(150), "{:?}", started.elapsed());
    }
    // However long it was away.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let back = Fake::restart(one.address);
    let since = Instant::now();
    while call(&upstream, echo("read", 0)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(back.record.begun("read"), 1);
}

#[tokio::test]
async fn a_replica_that_dies_and_comes_back_costs_no_read() {
    let (mut one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], idempotent()).await;
    let address = one.address;
    let done = tokio_util::sync::CancellationToken::new();
    let readers = futures_util::future::join_all((0..8).map(|_| async {
        let mut reads = 0;
        while !done.is_cancelled() {
            call(&upstream, echo("read", 1)).await.expect("no read fails");
            reads += 1;
        }
        reads
    }));
    let faults = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tokio::task::spawn_blocking(move || {
            one.kill();
            one
        })
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let back = Fake::restart(address);
        eventually(Duration::from_secs(2), || back.record.begun("read") > 0).await;
        done.cancel();
    };
    let (reads, ()) = tokio::join!(readers, faults);
    assert!(reads.iter().all(|count| *count > 10));
    assert!(two.record.begun("read") > 0);
}

#[tokio::test]
async fn a_replica_that_hangs_costs_no_read_and_gets_no_more_traffic_until_it_is_back() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], idempotent()).await;
    one.hang(Duration::from_secs(4));
    let since = Instant::now();
    let read = |n: usize| {
        let upstream = upstream.clone();
        async move { call(&upstream, echo(format!("read {n}"), 0)).await }
    };
    let answers = futures_util::future::join_all((0..50).map(read)).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    until_ready(&upstream, 1).await;
    for _ in 0..50 {
        let started = Instant::now();
        call(&upstream, echo("read", 0)).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(300), "the replica that hangs is out");
    }
    assert!(since.elapsed() < Duration::from_secs(4));
    until_ready(&upstream, 2).await;
    assert!(since.elapsed() < Duration::from_secs(6), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_write_in_flight_on_a_replica_that_hangs_for_a_moment_is_answered() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], Settings::default()).await;
    let writes = futures_util::future::join_all((0..10).map(|n| {
        let upstream = upstream.clone();
        async move { call(&upstream, echo(format!("write {n}"), 100)).await }
    }));
    let hang = async {
        eventually(Duration::from_secs(2), || one.record.total() + two.record.total() == 10).await;
        one.hang(Duration::from_secs(1));
        until_ready(&upstream, 1).await;
    };
    let (answers, ()) = tokio::join!(writes, hang);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(one.record.total() + two.record.total(), 10, "each was carried out once");
}

#[tokio::test]
async fn a_slow_handler_is_no_reason_to_give_a_replica_up() {
    let one = Fake::start();
    let upstream = connected(&[&one], Settings::default()).await;
    assert_eq!(call(&upstream, echo("slow", 1_500)).await.unwrap().text, "slow");
    assert_eq!(one.record.begun("slow"), 1);
}

#[tokio::test]
async fn it_has_answered_once_the_first_replica_did_without_any_call() {
    let mut one = Fake::start();
    let address = one.address;
    one.kill();
    let upstream = Upstream::open("test", endpoints(&[&one]), Settings::default(), &Shutdown::new());
    eventually(Duration::from_secs(2), || upstream.inner.pool.away() == 1).await;
    assert!(!upstream.answered());
    let _back = Fake::restart(address);
    tokio::time::timeout(Duration::from_secs(2), upstream.until_answered()).await.unwrap();
    assert!(upstream.answered());
}

#[tokio::test]
async fn calls_made_before_the_first_connection_wait_for_it() {
    let one = Fake::start();
    let upstream = Upstream::open("test", endpoints(&[&one]), Settings::default(), &Shutdown::new());
    assert_eq!(call(&upstream, echo("early", 0)).await.unwrap().text, "early");
}

#[tokio::test]
async fn a_stopping_process_still_gets_the_answers_that_it_waits_for() {
    let one = Fake::start();
    let shutdown = Shutdown::new();
    let upstream = Upstream::open("test", endpoints(&[&one]), Settings::default(), &shutdown);
    let slow = async { call(&upstream, echo("slow", 300)).await };
    let stop = async {
        eventually(Duration::from_secs(2), || one.record.begun("slow") == 1).await;
        shutdown.begin(Duration::ZERO).await;
        assert!(shutdown.finished(Duration::from_secs(2)).await, "the background work ends");
    };
    let (answer, ()) = tokio::join!(slow, stop);
    assert_eq!(answer.unwrap().text, "slow");
    assert_eq!(call(&upstream, echo("later", 0)).await.unwrap().text, "later");
}
