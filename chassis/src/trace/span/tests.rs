use std::future::pending;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::*;
use crate::trace::recorder::{ended, sampled};

#[tokio::test]
async fn a_span_is_the_parent_of_what_its_scope_holds() {
    let root = sampled();
    let server = Span::under(root, Kind::Server, "server");
    let inner = server.within(root);
    let next_hop = inner
        .scope(async {
            drop(Span::begin(Kind::Client, "redis"));
            let client = Span::begin(Kind::Client, "client");
            let next_hop = client.within(inner);
            next_hop.scope(async { drop(Span::begin(Kind::Internal, "below")) }).await;
            next_hop
        })
        .await;
    drop(server);
    let spans = ended(root);
    let [redis, below, client, server] = &spans[..] else { panic!("{spans:#?}") };
    let names = [redis, below, client, server].map(|span| &*span.name);
    assert_eq!(names, ["redis", "below", "client", "server"]);
    assert!(server.parent_span_id.is_empty(), "a trace that begins here has no parent");
    assert_eq!((&redis.parent_span_id, &client.parent_span_id), (&server.span_id, &server.span_id));
    assert_eq!(below.parent_span_id, client.span_id);
    assert_eq!(next_hop.span_id.to_be_bytes(), *client.span_id);
    assert_eq!((next_hop.trace_id, next_hop.sampled), (root.trace_id, true));
    for span in &spans {
        assert_eq!(span.flags, 0x101);
    }
}

#[test]
fn a_span_of_the_caller_is_the_parent_of_the_first_one() {
    let root = sampled();
    let received = TraceContext::parse(root.traceparent().as_str()).unwrap();
    drop(Span::under(received, Kind::Server, "server"));
    let [span] = &ended(root)[..] else { panic!("not one span") };
    assert_eq!((&*span.parent_span_id, span.flags), (&root.span_id.to_be_bytes()[..], 0x301));
}

#[tokio::test]
async fn outside_a_sampled_trace_there_is_no_span_and_the_context_stays_as_it_is() {
    let context = TraceContext { sampled: false, ..sampled() };
    let mut span = Span::under(context, Kind::Server, "server");
    span.set("attribute", "value").fail();
    assert!(span.0.is_none());
    assert_eq!(span.within(context), context);
    drop(span);
    context.scope(async { drop(Span::begin(Kind::Client, "client")) }).await;
    assert!(Span::begin(Kind::Client, "without a scope").0.is_none());
    assert_eq!(ended(context), []);
}

#[tokio::test]
async fn a_span_ends_when_its_work_is_cancelled_or_panics() {
    let root = sampled();
    let work = async |name: &str| {
        let _span = Span::begin(Kind::Client, name);
        assert_ne!(name, "panics", "on purpose");
        pending::<()>().await;
    };
    let cancelled = root.scope(work("cancelled"));
    assert!(futures_util::FutureExt::now_or_never(cancelled).is_none());
    let panics = std::panic::AssertUnwindSafe(root.scope(work("panics")));
    assert!(futures_util::FutureExt::catch_unwind(panics).await.is_err());
    let names: Vec<_> = ended(root).into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["cancelled", "panics"]);
}

#[test]
fn a_span_tells_what_was_noted_and_when_it_was() {
    let root = sampled();
    let before = now();
    let long = "x".repeat(1_000);
    let mut span = Span::under(root, Kind::Client, "GET /");
    span.set("text", "a").set("long", &*long).set("number", 503_u16).fail();
    std::thread::sleep(Duration::from_millis(2));
    drop(span);
    drop(Span::under(root, Kind::Server, "server"));
    drop(Span::under(root, Kind::Internal, "internal"));

    let spans = ended(root);
    let kinds: Vec<_> = spans.iter().map(otlp::Span::kind).collect();
    assert_eq!(kinds, [SpanKind::Client, SpanKind::Server, SpanKind::Internal]);
    let codes: Vec<_> = spans.iter().map(|span| span.status.clone().map(|status| status.code())).collect();
    assert_eq!(codes, [Some(StatusCode::Error), None, None]);
    let span = &spans[0];
    assert_eq!((&*span.name, &*span.trace_id), ("GET /", &root.trace_id.to_be_bytes()[..]));
    let value =
        |at: usize| (&*span.attributes[at].key, span.attributes[at].value.clone().unwrap().value.unwrap());
    assert_eq!(value(0), ("text", any_value::Value::StringValue("a".into())));
    assert_eq!(value(1), ("long", any_value::Value::StringValue(long)));
    assert_eq!(value(2), ("number", any_value::Value::IntValue(503)));
    assert_eq!(span.attributes.len(), 3);
    let nanos = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (started, ended) = (span.start_time_unix_nano, span.end_time_unix_nano);
    assert!(nanos(before) <= started && started + 2_000_000 <= ended && ended <= nanos(now()));
}
