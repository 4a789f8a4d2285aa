//! Calls whose replica dies, hangs, drains or does not know them.

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::*;

#[tokio::test]
async fn calls_in_flight_on_a_replica_that_dies_are_answered_by_another() {
    let (mut one, two) = (Fake::start(), Fake::start());
    let (_upstream, calls) = connected(&[&one, &two], Settings::default()).await;
    let in_flight = join_all((0..200).map(|n| call(&calls, echo(format!("call {n}"), 300))));
    let kill = async {
        eventually(Duration::from_secs(2), || one.record.total() + two.record.total() == 200).await;
        one.kill();
        one.record.total()
    };
    let (answers, on_the_dead) = tokio::join!(in_flight, kill);
    assert!(on_the_dead > 50, "{on_the_dead}");
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().text, format!("call {n}"));
    }
}

#[tokio::test]
async fn without_another_replica_they_fail_as_unavailable_and_the_next_ones_at_once() {
    let mut one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let in_flight = join_all((0..20).map(|n| call(&calls, echo(format!("call {n}"), 2_000))));
    let kill = async {
        eventually(Duration::from_secs(2), || one.record.total() == 20).await;
        one.kill();
    };
    let (answers, ()) = tokio::join!(in_flight, kill);
    for answer in answers {
        assert_eq!(reason(&answer.unwrap_err()), (Code::Unavailable, Some("UPSTREAM_LOST".into())));
    }
    let _ = call(&calls, echo("next", 0)).await;
    let started = Instant::now();
    let status = call(&calls, echo("next", 0)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, Some("UPSTREAM_AWAY".into())));
    assert!(started.elapsed() < Duration::from_millis(150), "{:?}", started.elapsed());

    let back = Fake::restart(one.address);
    let since = Instant::now();
    while call(&calls, echo("back", 0)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(back.record.begun("back"), 1);
}

#[tokio::test]
async fn calls_in_flight_on_a_replica_that_hangs_are_answered_by_another_long_before_their_deadline() {
    let (one, two) = (Fake::start(), Fake::start());
    let (upstream, calls) = connected(&[&one, &two], Settings::default()).await;
    one.hang(Duration::from_secs(5));
    let started = Instant::now();
    let answers = join_all((0..100).map(|n| call(&calls, echo(format!("call {n}"), 0)))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    until_ready(&upstream, 1).await;
    for _ in 0..50 {
        let started = Instant::now();
        call(&calls, echo("later", 0)).await.unwrap();
        assert!(started.elapsed() < Duration::from_millis(300), "the replica that hangs is out");
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let fakes = [Fake::start(), Fake::start()];
    let (upstream, calls) = connected(&fakes.each_ref(), Settings::default()).await;
    let done = CancellationToken::new();
    let callers = join_all((0..16).map(|_| async {
        let mut answered = 0;
        while !done.is_cancelled() {
            call(&calls, echo("read", 2)).await.expect("no call fails");
            answered += 1;
        }
        answered
    }));
    let restarts = async {
        for mut fake in fakes {
            let address = fake.address;
            fake.drain(Duration::from_millis(300));
            tokio::task::spawn_blocking(move || fake.wait()).await.unwrap();
            until_ready(&upstream, 1).await;
            let back = Fake::restart(address);
            until_ready(&upstream, 2).await;
            eventually(Duration::from_secs(2), || back.record.begun("read") > 0).await;
            std::mem::forget(back);
        }
        done.cancel();
    };
    let (answered, ()) = tokio::join!(callers, restarts);
    assert!(answered.iter().all(|count| *count > 50), "{answered:?}");
}

#[tokio::test]
async fn go_away_moves_new_calls_elsewhere_and_what_is_in_flight_is_answered() {
    let (one, two) = (Fake::start(), Fake::start());
    let (upstream, calls) = connected(&[&one, &two], Settings::default()).await;
    let in_flight = join_all((0..50).map(|n| call(&calls, echo(format!("call {n}"), 400))));
    let drain = async {
        eventually(Duration::from_secs(2), || one.record.total() + two.record.total() == 50).await;
        one.drain(Duration::from_secs(60));
        until_ready(&upstream, 1).await;
        for _ in 0..50 {
            call(&calls, echo("new", 0)).await.unwrap();
        }
        (one.record.begun("new"), two.record.begun("new"))
    };
    let (answers, new) = tokio::join!(in_flight, drain);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(new, (0, 50));
    assert!((0..50).all(|n| {
        let text = format!("call {n}");
        one.record.begun(&text) + two.record.begun(&text) == 1
    }));
}

#[tokio::test]
async fn calls_spread_evenly_over_the_replicas() {
    let fakes = [Fake::start(), Fake::start(), Fake::start()];
    let (_upstream, calls) = connected(&fakes.each_ref(), Settings::default()).await;
    join_all((0..30).map(|_| async {
        for _ in 0..100 {
            call(&calls, echo("read", 2)).await.unwrap();
        }
    }))
    .await;
    for fake in &fakes {
        let share = fake.record.total();
        // An HTTP-level picker would have sent all of them to one.
        assert!((500..=1500).contains(&share), "{share} of 3,000 calls");
    }
}

#[tokio::test]
async fn a_version_without_the_stream_is_called_without_it() {
    let (old, new) = (Fake::without_streams(), Fake::start());
    for fakes in [&[&old, &new][..], &[&old]] {
        let (upstream, calls) = connected(fakes, Settings::default()).await;
        let before = old.record.begun("read") + new.record.begun("read");
        // More than there may be retries.
        for _ in 0..200 {
            assert_eq!(call(&calls, echo("read", 0)).await.unwrap().text, "read");
        }
        assert_eq!(old.record.begun("read") + new.record.begun("read"), before + 200);
        until_ready(&upstream, fakes.len()).await;
    }
    assert!(old.record.begun("read") >= 200);
    let (_upstream, calls) = connected(&[&old], Settings::default()).await;
    let slow = calls.call(&echo("slow", 1000), Instant::now() + Duration::from_millis(50)).await;
    assert_eq!(slow.unwrap_err().code(), Code::DeadlineExceeded);
}
