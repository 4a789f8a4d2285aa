//! The pool of replicas and unary calls, against real servers that die, hang, drain and come back.

use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry_sdk::trace::{IdGenerator, SdkTracerProvider};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tracing_subscriber::layer::SubscriberExt as _;

use self::fake::{Echo, Fake, UNARY, endpoints};
use super::{Settings, Upstream};
use crate::shutdown::Shutdown;
use crate::trace::TraceContext;

mod away;
pub(crate) mod fake;
mod pick;
mod resolve;
mod retry;

/// An upstream over these replicas, all of them connected.
async fn connected(fakes: &[&Fake], settings: Settings) -> Upstream {
    let upstream = Upstream::open("test", endpoints(fakes), settings, &Shutdown::new());
    until_ready(&upstream, fakes.len()).await;
    upstream
}

pub(crate) async fn until_ready(upstream: &Upstream, count: usize) {
    eventually(Duration::from_secs(5), || upstream.inner.pool.ready() == count).await;
}

/// Waits until a condition holds; fails the test when it does not within the time.
pub(crate) async fn eventually(within: Duration, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + within;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {within:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One unary call through a generated client's eyes.
async fn call(upstream: &Upstream, request: Echo) -> Result<Echo, Status> {
    call_with(upstream, Request::new(request)).await
}

async fn call_with(upstream: &Upstream, request: Request<Echo>) -> Result<Echo, Status> {
    let mut client = tonic::client::Grpc::new(upstream.clone());
    client.ready().await?;
    let path = http::uri::PathAndQuery::from_static(UNARY);
    client.unary(request, path, ProstCodec::default()).await.map(tonic::Response::into_inner)
}

/// A sampled trace on this thread, with a tracer that keeps nothing.
pub(crate) fn sampled_scope() -> (tracing::subscriber::DefaultGuard, TraceContext) {
    let context = TraceContext::root(true);
    let provider = SdkTracerProvider::builder().with_id_generator(TraceOf(context.trace_id)).build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans));
    (guard, context)
}

/// Spans belong to this trace, as in production they belong to their scope's.
#[derive(Debug)]
struct TraceOf(u128);

impl IdGenerator for TraceOf {
    fn new_trace_id(&self) -> TraceId {
        TraceId::from_bytes(self.0.to_be_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
    }
}

fn reason(status: &Status) -> (Code, Option<String>) {
    (status.code(), crate::status::reason(status))
}

fn idempotent() -> Settings {
    Settings { idempotent: &[UNARY], ..Settings::default() }
}
