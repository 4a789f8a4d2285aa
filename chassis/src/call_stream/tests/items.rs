//! Calls on one stream leave each other alone.

use futures_util::future::join_all;
use prost::Message;

use super::*;
use crate::trace::TraceContext;
use crate::trace::recorder::sampled;

#[tokio::test]
async fn answers_come_as_they_get_ready_and_a_slow_call_holds_up_nobody() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let slow = call(&calls, echo("slow", 1_500));
    let quick = async {
        let started = Instant::now();
        for n in 0..200 {
            assert_eq!(call(&calls, echo(format!("quick {n}"), 0)).await.unwrap().text, format!("quick {n}"));
        }
        started.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow.unwrap().text, "slow");
    assert!(quick < Duration::from_millis(1_200), "{quick:?}");
}

#[tokio::test]
async fn a_crowd_of_calls_is_served_fairly() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    // A caller with a thousand calls at once, and one with a call at a time.
    let crowd = join_all((0..1000).map(|n| call(&calls, echo(format!("crowd {n}"), 20))));
    let single = async {
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            let started = Instant::now();
            call(&calls, echo("single", 0)).await.unwrap();
            longest = longest.max(started.elapsed());
        }
        longest
    };
    let (crowd, longest) = tokio::join!(crowd, single);
    assert!(crowd.iter().all(Result::is_ok));
    assert!(longest < Duration::from_millis(400), "{longest:?}");
}

#[tokio::test]
async fn each_call_gets_its_own_answer() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let answers = join_all((0..500_u64).map(|n| call(&calls, echo(n.to_string(), n % 7)))).await;
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().text, n.to_string());
    }
}

#[tokio::test]
async fn a_call_that_fails_panics_or_answers_nonsense_fails_alone() {
    /// Reads what `Echo` has as text as a number, which it is not.
    #[derive(Clone, PartialEq, Message)]
    struct Number {
        #[prost(uint64, tag = "1")]
        value: u64,
    }
    let one = Fake::start();
    let (upstream, calls) = connected(&[&one], Settings::default()).await;
    let misread = upstream.call_stream::<Echo, Number>(STREAM);
    let (deadline, request) = (Instant::now() + Duration::from_secs(3), echo("text", 0));
    let (slow, failed, panicked, undecodable) = tokio::join!(
        call(&calls, echo("slow", 100)),
        call(&calls, echo("fail", 0)),
        call(&calls, echo("panic", 0)),
        misread.call(&request, deadline),
    );
    assert_eq!(slow.unwrap().text, "slow");
    let failed = failed.unwrap_err();
    assert_eq!((failed.code(), failed.message(), failed.details()), (Code::Aborted, "as asked", &b"why"[..]));
    assert_eq!(panicked.unwrap_err().code(), Code::Internal);
    assert_eq!(reason(&undecodable.unwrap_err()), (Code::Internal, Some("UPSTREAM_UNDECODABLE".into())));
    assert_eq!(call(&calls, echo("after", 0)).await.unwrap().text, "after");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_withdrawn() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let dropped = tokio::time::timeout(Duration::from_millis(100), call(&calls, echo("slow", 5_000))).await;
    assert!(dropped.is_err());
    eventually(Duration::from_secs(1), || one.record.dropped("slow") == 1).await;
    assert_eq!(call(&calls, echo("after", 0)).await.unwrap().text, "after");
}

#[tokio::test]
async fn the_deadline_holds_on_both_sides() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let started = Instant::now();
    let status = calls.call(&echo("slow", 5_000), started + Duration::from_millis(150)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::DeadlineExceeded, Some("UPSTREAM_TIMED_OUT".into())));
    assert!((140..1_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    eventually(Duration::from_secs(1), || one.record.dropped("slow") == 1).await;

    let status = calls.call(&echo("late", 0), started).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(one.record.begun("late"), 0, "what is too late already is not sent");
}

#[tokio::test]
async fn what_exceeds_the_limit_is_refused_at_once_and_the_rest_is_served() {
    let one = Fake::start();
    let settings = Settings { max_in_flight: 10, ..Settings::default() };
    let (_upstream, calls) = connected(&[&one], settings).await;
    let started = Instant::now();
    let answers = join_all((0..25).map(|n| {
        let calls = &calls;
        async move {
            let answer = call(calls, echo(format!("call {n}"), 200)).await;
            (answer, started.elapsed())
        }
    }))
    .await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(answer, _)| answer.is_ok());
    assert_eq!((served.len(), refused.len()), (10, 15));
    for (answer, after) in refused {
        assert_eq!(reason(answer.as_ref().unwrap_err()), (Code::ResourceExhausted, Some("CAPACITY".into())));
        assert!(*after < Duration::from_millis(150), "{after:?}");
    }
    assert_eq!(call(&calls, echo("after", 0)).await.unwrap().text, "after");
}

#[tokio::test]
async fn each_call_carries_the_trace_of_its_scope() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let traced = join_all((0..20).map(|_| async {
        let context = TraceContext::root(false);
        let answer = context.scope(call(&calls, echo("trace", 2))).await;
        (context.traceparent().as_str().to_owned(), answer.unwrap().text)
    }))
    .await;
    assert!(traced.iter().all(|(sent, arrived)| sent == arrived), "{traced:?}");
}

#[tokio::test]
async fn a_sampled_call_has_a_span_of_its_own_which_is_the_servers_parent() {
    let context = sampled();
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let spans = join_all((0..5).map(|_| async {
        let arrived = context.scope(call(&calls, echo("trace", 2))).await.unwrap().text;
        let arrived = TraceContext::parse(&arrived).unwrap();
        assert_eq!((arrived.trace_id, arrived.sampled), (context.trace_id, true));
        arrived.span_id
    }))
    .await;
    let different: std::collections::HashSet<_> = spans.iter().chain([&context.span_id]).collect();
    assert_eq!(different.len(), 6);
}

#[tokio::test]
async fn messages_of_every_size_get_through() {
    let one = Fake::start();
    let (_upstream, calls) = connected(&[&one], Settings::default()).await;
    let sizes = [0, 1, 100, 16_384, 100_000, 1_000_000, 3_000_000];
    for answers in [1, 3] {
        let sent = sizes.iter().flat_map(|size| std::iter::repeat_n(*size, answers));
        let answers = join_all(sent.map(|size| {
            let calls = &calls;
            async move { (size, call(calls, echo("x".repeat(size), 0)).await) }
        }))
        .await;
        for (size, answer) in answers {
            match answer {
                Ok(answer) => assert_eq!(answer.text.len(), size),
                Err(status) => {
                    assert_eq!(reason(&status).1.as_deref(), Some("CAPACITY"), "{size} {status:?}");
                }
            }
        }
    }
}
