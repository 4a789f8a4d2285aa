//! The command line and environment of profile-svc.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::ServiceArgs;
use chassis::postgres::PostgresUrl;
use chassis::redis::RedisUrl;
use clap::{Parser, Subcommand};

/// Sallyport's profile service: profiles in Postgres, read through a Redis cache that is never out of date.
#[derive(Debug, Clone, Parser)]
#[command(name = "profile-svc", version, args_conflicts_with_subcommands = false)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address and port of the gRPC server.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:50151", global = true)]
    pub listen: SocketAddr,
    /// The database of profiles, as postgres://user:password@host:port/database.
    #[arg(
        long,
        env = "DATABASE_URL",
        global = true,
        default_value = "postgres://127.0.0.1:15432/profile",
        hide_env_values = true
    )]
    pub database_url: PostgresUrl,
    /// Connections to the database at most.
    #[arg(
        long,
        env = "DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub database_connections: u32,
    /// Redis for every role that is not given one of its own: redis://user:password@host:port/db,
    /// redis+sentinel://user:password@host:port,host:port/master-name/db?sentinel_password=... or
    /// redis+cluster://user:password@host:port,host:port; rediss for TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: RedisUrl,
    /// Redis of the events of other services: never evicts, keeps an append-only file. Default: --redis-url.
    #[arg(long, env = "STATE_REDIS_URL", hide_env_values = true)]
    pub state_redis_url: Option<RedisUrl>,
    /// Redis of the cache: evicts, keeps nothing. Default: --redis-url.
    #[arg(long, env = "CACHE_REDIS_URL", hide_env_values = true)]
    pub cache_redis_url: Option<RedisUrl>,
    /// Seconds that a profile stays in the cache, give or take a tenth. A change replaces it at once.
    #[arg(
        long,
        env = "CACHE_TTL_SECONDS",
        default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=604_800)
    )]
    pub cache_ttl_seconds: u64,
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// What a process can be asked to do besides serving.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Bring the database's schema up to date, and end.
    Migrate,
}

impl Args {
    pub fn cache_ttl(&self) -> Duration {
        Duration::from_secs(self.cache_ttl_seconds)
    }
}
