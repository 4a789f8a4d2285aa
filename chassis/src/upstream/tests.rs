//! The pool of replicas and unary calls, against real servers that die, hang, drain and come back.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use self::fake::{Echo, Fake, UNARY, endpoints};
use super::{Settings, Upstream};
use crate::shutdown::Shutdown;

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

fn reason(status: &Status) -> (Code, Option<String>) {
    (status.code(), crate::status::reason(status))
}

fn idempotent() -> Settings {
    Settings { idempotent: &[UNARY], ..Settings::default() }
}
