//! The floor for the same work: one axum process on one thread that asks Redis itself. No hop between services, no telemetry, no
//! metrics, no validation beyond what JSON needs, no problem documents, no care for outages.

use std::io::Write as _;

use axum::serve::ListenerExt as _;
use clap::Parser;
use tokio::net::TcpListener;

mod app;
mod documents;
mod passwords;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Serves sessions and profiles from one process.
#[derive(Parser)]
struct Args {
    /// The loopback port to listen on.
    #[arg(long, env = "PORT")]
    port: u16,
    /// Requests per session and minute.
    #[arg(long, env = "LIMIT")]
    limit: u64,
    /// Redis of the sessions.
    #[arg(long, env = "STATE_REDIS_URL")]
    state_redis_url: String,
    /// Redis of the cached profiles and the limit.
    #[arg(long, env = "CACHE_REDIS_URL")]
    cache_redis_url: String,
    /// The database of users.
    #[arg(long, env = "AUTH_DATABASE_URL", hide_env_values = true)]
    auth_database_url: String,
    /// The database of profiles.
    #[arg(long, env = "PROFILE_DATABASE_URL", hide_env_values = true)]
    profile_database_url: String,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let app = app::router(&args).await?;
        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
        writeln!(std::io::stdout(), "ready")?;
        Ok(axum::serve(listener, app).await?)
    })
}
