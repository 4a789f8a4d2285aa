//! The floor: axum that answers a constant, on one thread. No Redis, no session, no JSON.

use std::io::Write as _;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use clap::Parser;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Answers every request with a greeting.
#[derive(Parser)]
struct Args {
    /// The loopback port to listen on.
    #[arg(long, env = "PORT")]
    port: u16,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let app = Router::new().route("/v1/profile", get(async || "Hello, World!"));
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
    writeln!(std::io::stdout(), "ready")?;
    Ok(axum::serve(listener, app).await?)
}
