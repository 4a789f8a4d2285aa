//! Call streams from client to server, against real servers that die, hang and drain, and the server's side alone.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};

use super::CallStream;
use crate::shutdown::Shutdown;
use crate::upstream::tests::fake::{Echo, Fake, STREAM, echo, endpoints};
use crate::upstream::tests::{eventually, until_ready};
use crate::upstream::{Settings, Upstream};

mod failover;
mod items;
mod serving;

type Calls = CallStream<Echo, Echo>;

/// The stream to these replicas, all of them connected.
async fn connected(fakes: &[&Fake], settings: Settings) -> (Upstream, Calls) {
    let upstream = Upstream::open("test", endpoints(fakes), settings, &Shutdown::new());
    until_ready(&upstream, fakes.len()).await;
    let calls = upstream.call_stream(STREAM);
    (upstream, calls)
}

async fn call(calls: &Calls, request: Echo) -> Result<Echo, Status> {
    calls.call(&request, Instant::now() + Duration::from_secs(3)).await
}

fn reason(status: &Status) -> (Code, Option<String>) {
    (status.code(), crate::status::reason(status))
}
