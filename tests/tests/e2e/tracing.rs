//! Every request can be followed: one trace from HTTP through both hops to Redis and SQL, and its id wherever somebody would look.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tests::collector::{Collector, Span};
use tests::person::Person;
use tests::stack::{Builder, Stack};

/// Exports at once instead of every few seconds.
fn traced(collector: &Collector, ratio: &str) -> Builder {
    Stack::builder()
        .env_everywhere("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env_everywhere("OTEL_TRACES_SAMPLER_ARG", ratio)
        .env_everywhere("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// Which spans a trace has: `service name` of each, from the root down to it.
fn paths(spans: &[Span]) -> Vec<String> {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let path = |span: &Span| {
        let mut path = Vec::new();
        let mut next = Some(span);
        while let Some(span) = next {
            path.push(format!("{} {}", span.service, span.name));
            next = by_id.get(span.parent_id.as_str()).copied();
        }
        path.reverse();
        path.join(" > ")
    };
    spans.iter().map(path).collect()
}

const GATEWAY: &str = "gateway GET /v1/profile";
const VALIDATE: &str = "sallyport.auth.v1.AuthService/ValidateSession";
const GET_PROFILE: &str = "sallyport.profile.v1.ProfileService/GetProfile";

/// What a signed-in read of a profile that is not cached has to show.
fn is_whole(spans: &[Span]) -> bool {
    let paths = paths(spans);
    let has = |path: String| paths.iter().any(|known| known.starts_with(&path));
    has(format!("{GATEWAY} > gateway {VALIDATE} > auth-svc {VALIDATE} > auth-svc"))
        && has(format!("{GATEWAY} > gateway {GET_PROFILE} > profile-svc {GET_PROFILE} > profile-svc"))
        && paths.iter().any(|path| path.ends_with("profile-svc profiles.by_id"))
        && paths.iter().any(|path| path.ends_with("auth-svc session.validate"))
        && paths.iter().any(|path| path == GATEWAY)
}

#[tokio::test]
async fn a_signed_in_read_is_one_trace_from_http_to_redis_and_sql() {
    let collector = Collector::start().await;
    let stack = traced(&collector, "1").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await.noted(&api).await;
    stack.cache.flush().await;

    let answer = ada.profile(&api).await.expect(200);
    let trace = collector.trace("the trace is whole", answer.trace_id(), is_whole).await;
    let roots: Vec<_> = trace.iter().filter(|span| span.parent_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{:#?}", paths(&trace));
    let root = roots[0];
    assert_eq!((root.service.as_str(), root.kind), ("gateway", SpanKind::Server));
    assert_eq!(root.attribute("http.route"), Some("/v1/profile"));
    assert_eq!(root.attribute("http.response.status_code"), Some("200"));
    assert_eq!(&answer.expect_header("traceresponse")[36..52], root.id);

    let named = |service: &str, name: &str| {
        let found = trace.iter().find(|span| span.service == service && span.name == name);
        found.unwrap_or_else(|| panic!("no {service} {name}: {:#?}", paths(&trace)))
    };
    for (service, method) in [("auth-svc", VALIDATE), ("profile-svc", GET_PROFILE)] {
        let (client, server) = (named("gateway", method), named(service, method));
        assert_eq!((client.kind, server.kind), (SpanKind::Client, SpanKind::Server));
        assert_eq!(server.parent_id, client.id);
        assert_eq!(server.attribute("rpc.response.status_code"), Some("OK"));
    }
    let (redis, sql) = (named("auth-svc", "session.validate"), named("profile-svc", "profiles.by_id"));
    assert_eq!((redis.kind, redis.attribute("db.system.name")), (SpanKind::Client, Some("redis")));
    assert_eq!((sql.kind, sql.attribute("db.system.name")), (SpanKind::Client, Some("postgresql")));
    assert!(
        trace.iter().any(|span| {
            span.service == "profile-svc" && span.attribute("db.system.name") == Some("redis")
        })
    );

    // Nothing secret has gone along with any span so far.
    for span in collector.spans() {
        for value in span.attributes.values().chain([&span.name]) {
            for secret in [&ada.token, &ada.person.password, &ada.person.email] {
                assert!(!value.contains(secret.as_str()), "{span:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_problem_names_its_trace() {
    let collector = Collector::start().await;
    let stack = traced(&collector, "1").start();
    let api = stack.api(0);
    let stranger = Person::new().log_in(&api).await;
    let document = stranger.clone().expect_problem(401, "INVALID_CREDENTIALS");
    let trace_id = document["traceId"].as_str().unwrap();
    let has_both = |spans: &[Span]| {
        spans.iter().any(|span| span.parent_id.is_empty())
            && spans.iter().any(|span| span.service == "auth-svc" && span.kind == SpanKind::Server)
            && spans.iter().any(|span| span.name == "password.verify")
    };
    let trace = collector.trace("the refused login is traced", trace_id, has_both).await;
    let root = trace.iter().find(|span| span.parent_id.is_empty()).unwrap();
    assert_eq!((root.name.as_str(), root.failed), ("POST /v1/login", false));
    assert_eq!(root.attribute("http.response.status_code"), Some("401"));

    stack.state.kill().await;
    let outage = stack.api(0).get("/v1/me").bearer(&"A".repeat(64)).await.expect(503);
    let is_failed = |spans: &[Span]| spans.iter().any(|span| span.parent_id.is_empty() && span.failed);
    collector.trace("the outage is traced", outage.trace_id(), is_failed).await;
    // The log tells the same id.
    let is_logged = async || {
        let lines = stack.gateways[0].output().lines();
        lines.iter().any(|line| line.contains("request failed") && line.contains(outage.trace_id()))
    };
    tests::wait::until_true("the log names the trace of the outage", is_logged).await;
}

#[tokio::test]
async fn a_clients_trace_is_continued() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let collector = Collector::start().await;
    let stack = traced(&collector, "1").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await.noted(&api).await;
    stack.cache.flush().await;
    // Whether it is recorded is not the client's to say.
    let traceparent = format!("00-{TRACE}-{PARENT}-00");
    let answer =
        api.get("/v1/profile").bearer(&ada.token).header("traceparent", traceparent).await.expect(200);
    assert_eq!(answer.trace_id(), TRACE);
    let trace = collector.trace("the client's trace is whole", TRACE, is_whole).await;
    let server = trace.iter().find(|span| span.name == "GET /v1/profile").unwrap();
    assert_eq!(server.parent_id, PARENT);

    for invalid in ["", "nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let answer = api.get("/v1/me").bearer(&ada.token).header("traceparent", invalid).await.expect(200);
        assert_ne!(answer.trace_id(), TRACE);
    }
}

#[tokio::test]
async fn at_a_ratio_of_zero_only_what_a_trusted_proxy_asks_for_is_recorded() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let collector = Collector::start().await;
    let stack = traced(&collector, "0").behind_a_trusted_proxy().start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await.noted(&api).await;
    for _ in 0..20 {
        ada.me(&api).await.expect(200);
        ada.profile(&api).await.expect(200);
    }
    stack.cache.flush().await;
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let asked =
        api.get("/v1/profile").bearer(&ada.token).header("traceparent", &traceparent).await.expect(200);
    assert_eq!(asked.trace_id(), TRACE);

    // Spans are sent in their order: what came before would be here by now.
    collector.trace("the trace that was asked for is whole", TRACE, is_whole).await;
    let others: Vec<_> = collector.spans().into_iter().filter(|span| span.trace_id != TRACE).collect();
    assert_eq!(others, []);
}
