//! What is tried again, and what is not.

use super::fake::echo;
use super::*;
use crate::trace::TraceContext;
use crate::trace::recorder::sampled;

#[tokio::test]
async fn a_request_that_was_not_sent_goes_to_another_replica_whatever_it_does() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], Settings::default()).await;
    // A call in flight keeps the connection of the first to stop open: it refuses requests on it, and so says nothing else.
    let slow = |text: &str| {
        let (upstream, request) = (upstream.clone(), echo(text, 600));
        async move { call(&upstream, request).await }
    };
    let in_flight = futures_util::future::join_all((0..8).map(|n| slow(&format!("slow {n}"))));
    let others = async {
        eventually(Duration::from_secs(2), || one.record.total() + two.record.total() == 8).await;
        one.drain(Duration::ZERO);
        for n in 0..40 {
            assert_eq!(
                call(&upstream, echo(format!("write {n}"), 0)).await.unwrap().text,
                format!("write {n}")
            );
        }
    };
    let (answers, ()) = tokio::join!(in_flight, others);
    assert!(
        answers.iter().all(Result::is_ok),
        "what is in flight on a draining replica is answered: {answers:?}"
    );
    for n in 0..40 {
        let text = format!("write {n}");
        assert_eq!(one.record.begun(&text) + two.record.begun(&text), 1, "{text} was carried out once");
    }
}

#[tokio::test]
async fn a_write_in_flight_on_a_replica_that_dies_is_not_repeated_and_says_503() {
    let (mut one, mut two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], Settings::default()).await;
    let write = {
        let upstream = upstream.clone();
        async move { call(&upstream, echo("write", 5_000)).await }
    };
    let kill = async {
        eventually(Duration::from_secs(2), || one.record.begun("write") + two.record.begun("write") == 1)
            .await;
        if one.record.begun("write") == 1 { one.kill() } else { two.kill() }
    };
    let (answer, ()) = tokio::join!(write, kill);
    assert_eq!(reason(&answer.unwrap_err()), (Code::Unavailable, Some("UPSTREAM_LOST".into())));
    assert_eq!(one.record.begun("write") + two.record.begun("write"), 1);
}

#[tokio::test]
async fn a_read_in_flight_on_a_replica_that_dies_is_answered_by_another() {
    let (mut one, mut two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], idempotent()).await;
    let read = {
        let upstream = upstream.clone();
        async move { call(&upstream, echo("read", 300)).await }
    };
    let kill = async {
        eventually(Duration::from_secs(2), || one.record.begun("read") + two.record.begun("read") == 1).await;
        if one.record.begun("read") == 1 { one.kill() } else { two.kill() }
    };
    let (answer, ()) = tokio::join!(read, kill);
    assert_eq!(answer.unwrap().text, "read");
    assert_eq!(one.record.begun("read") + two.record.begun("read"), 2);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_tried_once_on_another_replica() {
    let (one, two) = (Fake::start(), Fake::start());
    let settings = Settings { attempt_timeout: Duration::from_millis(100), ..idempotent() };
    let upstream = connected(&[&one, &two], settings).await;
    let started = Instant::now();
    assert_eq!(call(&upstream, echo("slow", 250)).await.unwrap().text, "slow");
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!((one.record.begun("slow"), two.record.begun("slow")), (1, 1));
}

#[tokio::test]
async fn a_status_is_an_answer_and_never_tried_again() {
    let (one, two) = (Fake::start(), Fake::start());
    let upstream = connected(&[&one, &two], idempotent()).await;
    for _ in 0..20 {
        let status = call(&upstream, echo("fail", 0)).await.unwrap_err();
        assert_eq!((status.code(), status.details()), (Code::Aborted, &b"why"[..]));
    }
    assert_eq!(one.record.begun("fail") + two.record.begun("fail"), 20);
    assert_eq!(upstream.inner.pool.ready(), 2, "nor a reason to leave the replica out");
}

#[tokio::test]
async fn the_retry_budget_bounds_what_a_failing_replica_costs_the_others() {
    let (one, two) = (Fake::start(), Fake::start());
    let settings =
        Settings { attempt_timeout: Duration::from_millis(50), min_retries_per_second: 1, ..idempotent() };
    let upstream = connected(&[&one, &two], settings).await;
    let calls = (0..100).map(|n| {
        let upstream = upstream.clone();
        async move { call(&upstream, echo(format!("slow {n}"), 400)).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_ok), "without a retry the first attempt goes on");
    let attempts = one.record.total() + two.record.total();
    // A reserve of ten for the budget's ten seconds, and a fifth of the calls.
    assert!((120..=135).contains(&attempts), "{attempts} attempts for 100 calls");
}

#[tokio::test]
async fn the_deadline_goes_along_and_holds_here_as_well() {
    let one = Fake::start();
    let upstream = connected(&[&one], Settings::default()).await;
    let mut request = Request::new(echo("slow", 5_000));
    request.set_timeout(Duration::from_millis(150));
    let started = Instant::now();
    let status = call_with(&upstream, request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::DeadlineExceeded, Some("UPSTREAM_TIMED_OUT".into())));
    assert!((140..1_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    eventually(Duration::from_secs(2), || one.record.dropped("slow") == 1).await;
}

#[tokio::test]
async fn a_call_carries_the_trace_of_its_scope() {
    let one = Fake::start();
    let upstream = connected(&[&one], Settings::default()).await;
    let context = TraceContext::root(false);
    let arrived = context.scope(call(&upstream, echo("trace", 0))).await.unwrap().text;
    assert_eq!(arrived, context.traceparent().as_str());
}

#[tokio::test]
async fn a_sampled_call_has_a_span_of_its_own_which_is_the_servers_parent() {
    let context = sampled();
    let one = Fake::start();
    let upstream = connected(&[&one], Settings::default()).await;
    let arrived = context.scope(call(&upstream, echo("trace", 0))).await.unwrap().text;
    let arrived = TraceContext::parse(&arrived).unwrap();
    assert_eq!((arrived.trace_id, arrived.sampled), (context.trace_id, true));
    assert_ne!(arrived.span_id, context.span_id);
}
