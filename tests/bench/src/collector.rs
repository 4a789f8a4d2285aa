//! Where traces go: a process that takes every OTLP/gRPC export, counts it and keeps nothing. What it costs is nobody's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use clap::Args as ClapArgs;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use local::server::Running;
use tokio::net::TcpListener;

use crate::load;
use crate::output::say;
use crate::ready_printer::ReadyPrinter;

/// A message without content, as gRPC frames it.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

const START_LIMIT: Duration = Duration::from_secs(10);

/// The running collector, seen from the benchmark.
pub struct Collector {
    program: Running<ReadyPrinter>,
}

impl Collector {
    pub fn start() -> anyhow::Result<Self> {
        let me = std::env::current_exe()?;
        let command = move |address: SocketAddr| {
            let mut command = Command::new(&me);
            command.args(["collect-traces", "--port", &address.port().to_string()]);
            command
        };
        Ok(Self { program: ReadyPrinter::start("collector", START_LIMIT, command)? })
    }

    pub fn address(&self) -> SocketAddr {
        self.program.socket_address()
    }

    /// Bytes of traces received so far.
    pub async fn received(&self) -> anyhow::Result<u64> {
        let request = b"GET /received HTTP/1.1\r\nHost: bench\r\n\r\n".to_vec();
        let (_, body) = load::once(self.address(), request).await?;
        Ok(body.parse()?)
    }
}

/// The process.
#[derive(ClapArgs)]
pub struct Args {
    /// The loopback port to listen on.
    #[arg(long)]
    port: u16,
}

/// Serves until it is killed.
pub async fn serve(args: &Args) -> anyhow::Result<()> {
    let received = Arc::new(AtomicU64::new(0));
    let app = Router::new()
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(export))
        .route(
            "/received",
            get(async |State(it): State<Arc<AtomicU64>>| it.load(Ordering::Relaxed).to_string()),
        )
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(received);
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    say("ready");
    Ok(axum::serve(listener, app).await?)
}

async fn export(State(received): State<Arc<AtomicU64>>, body: Bytes) -> Response {
    received.fetch_add(body.len() as u64, Ordering::Relaxed);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(Bytes::from_static(EMPTY_MESSAGE)), Frame::trailers(trailers)];
    let frames = futures_util::stream::iter(frames.map(Ok::<_, Infallible>));
    let mut response = Response::new(Body::new(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
