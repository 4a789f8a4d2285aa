//! Flags and environment of the gateway. Every field's comment is its reference; defaults that make sense together.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::ServiceArgs;
use chassis::redis::RedisUrl;
use chassis::upstream::Endpoints;
use clap::{Args as ClapArgs, Parser, ValueEnum};

use crate::client_address::TrustedProxies;
use crate::cross_site::Origins;
use crate::limits::Quota;

/// The REST gateway: HTTP in, gRPC out.
#[derive(Debug, Clone, Parser)]
#[command(name = "gateway", version)]
pub struct Args {
    /// Address and port of the REST interface, HTTP/1.1 and HTTP/2 without TLS.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Replicas of auth-svc: comma-separated `host:port`, or `dns:///name:port` that is resolved again and again.
    #[arg(long, env = "AUTH_ENDPOINTS", default_value = "127.0.0.1:50051")]
    pub auth_endpoints: Endpoints,
    /// Replicas of profile-svc, likewise.
    #[arg(long, env = "PROFILE_ENDPOINTS", default_value = "127.0.0.1:50151")]
    pub profile_endpoints: Endpoints,
    /// Redis that stands in for those that are not named apart: redis://user:password@host:port/db,
    /// redis+sentinel://user:password@host:port,host:port/master-name/db?sentinel_password=... or
    /// redis+cluster://user:password@host:port,host:port; rediss for TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:16380", hide_env_values = true)]
    pub redis_url: RedisUrl,
    /// Redis for the rate limits, which may forget; `--redis-url` when it is not set.
    #[arg(long, env = "CACHE_REDIS_URL", hide_env_values = true)]
    pub cache_redis_url: Option<RedisUrl>,
    /// Proxies whose `Forwarded`, `X-Forwarded-For`, `X-Forwarded-Proto` and sampling decision are believed:
    /// comma-separated addresses or networks, such as `10.0.0.0/8,::1`.
    #[arg(long, env = "TRUSTED_PROXIES", default_value = "")]
    pub trusted_proxies: TrustedProxies,
    /// Origins of other sites whose pages may call this API: comma-separated, such as `https://app.example.com`. None by default.
    #[arg(long, env = "CORS_ORIGINS", default_value = "")]
    pub cors_origins: Origins,
    #[command(flatten)]
    pub bounds: Bounds,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
}

impl Args {
    /// The Redis that counts.
    pub fn cache_redis_url(&self) -> &RedisUrl {
        self.cache_redis_url.as_ref().unwrap_or(&self.redis_url)
    }
}

/// How much and how long.
#[derive(Debug, Clone, ClapArgs)]
pub struct Bounds {
    /// Bytes of a request's body; 413 beyond.
    #[arg(long, env = "BODY_LIMIT_BYTES", default_value_t = 64 * 1024)]
    pub body_limit_bytes: usize,
    /// Milliseconds for the headers of a request to arrive; the connection is closed beyond.
    #[arg(long, env = "HEADER_TIMEOUT_MS", default_value_t = 10_000)]
    pub header_timeout_ms: u64,
    /// Milliseconds for the body of a request to arrive; 408 beyond.
    #[arg(long, env = "BODY_TIMEOUT_MS", default_value_t = 3_000)]
    pub body_timeout_ms: u64,
    /// Milliseconds for a whole request, whatever it waits for; 504 beyond.
    #[arg(long, env = "REQUEST_TIMEOUT_MS", default_value_t = 5_000)]
    pub request_timeout_ms: u64,
    /// Milliseconds for a session check.
    #[arg(long, env = "SESSION_TIMEOUT_MS", default_value_t = 1_000)]
    pub session_timeout_ms: u64,
    /// Milliseconds for each other upstream call that only reads; twice what a service waits for its database, so that
    /// its own answer comes first.
    #[arg(long, env = "READ_TIMEOUT_MS", default_value_t = 2_500)]
    pub read_timeout_ms: u64,
    /// Milliseconds for an upstream call that writes, the wait for a password hash included.
    #[arg(long, env = "WRITE_TIMEOUT_MS", default_value_t = 3_000)]
    pub write_timeout_ms: u64,
    /// Requests in flight at once; what comes on top waits a moment, and is refused with 503. Three quarters of them may wait for profile-svc,
    /// an eighth for a password; an eighth on top is there for what needs no session, and one for ends of sessions.
    #[arg(long, env = "MAX_IN_FLIGHT", default_value_t = 512, value_parser = clap::value_parser!(u32).range(8..=65_536))]
    pub max_in_flight: u32,
}

impl Bounds {
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.body_timeout_ms)
    }

    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.session_timeout_ms)
    }

    pub fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    pub fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }
}

/// Who may ask how often. A quota is written as requests per seconds: `10/60`.
#[derive(Debug, Clone, ClapArgs)]
pub struct LimitArgs {
    /// Whether requests are limited at all.
    #[arg(long, env = "RATE_LIMITS", value_enum, default_value_t = Switch::On)]
    pub rate_limits: Switch,
    /// Logins per client address that did not succeed.
    #[arg(long, env = "LIMIT_LOGIN_IP", default_value = "10/60")]
    pub limit_login_ip: Quota,
    /// Logins per account that did not succeed, from wherever. Each time it is used up the next window is twice as long.
    #[arg(long, env = "LIMIT_LOGIN_ACCOUNT", default_value = "10/60")]
    pub limit_login_account: Quota,
    /// Logins that did not succeed, of each device and session that is known to be the user's own: they are let in when the two limits
    /// above let nobody else in. Its windows grow as well.
    #[arg(long, env = "LIMIT_LOGIN_KNOWN", default_value = "5/60")]
    pub limit_login_known: Quota,
    /// Seconds that windows grow to at most.
    #[arg(long, env = "LIMIT_LOGIN_LONGEST_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub limit_login_longest_seconds: u64,
    /// Registrations per client address.
    #[arg(long, env = "LIMIT_REGISTER_IP", default_value = "10/60")]
    pub limit_register_ip: Quota,
    /// Mails that are asked for per client address.
    #[arg(long, env = "LIMIT_MAIL_IP", default_value = "20/3600")]
    pub limit_mail_ip: Quota,
    /// Mails that are asked for per account, as it is named, from wherever.
    #[arg(long, env = "LIMIT_MAIL_ACCOUNT", default_value = "5/3600")]
    pub limit_mail_account: Quota,
    /// Tokens of mails per client address that were not good.
    #[arg(long, env = "LIMIT_TOKEN_IP", default_value = "20/60")]
    pub limit_token_ip: Quota,
    /// Other requests per session, or per client address where there is no session.
    #[arg(long, env = "LIMIT_API", default_value = "1000/60")]
    pub limit_api: Quota,
    /// First part of the names of the counters in Redis, for a Redis that is shared with others.
    #[arg(long, env = "RATE_LIMIT_PREFIX", default_value = "rl:")]
    pub rate_limit_prefix: String,
}

/// A flag that is told in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_parse_and_empty_lists_are_none() {
        let args = Args::try_parse_from(["gateway", "--cors-origins", "", "--trusted-proxies", ""]).unwrap();
        assert!(args.trusted_proxies.is_empty() && args.cors_origins.is_empty());
        assert_eq!(args.limits.rate_limits, Switch::On);
    }

    #[test]
    fn every_flag_has_its_environment_variable_and_its_reference() {
        use clap::CommandFactory as _;
        for argument in Args::command().get_arguments().filter(|argument| argument.get_long().is_some()) {
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "{name} has no help");
            assert!(argument.get_env().is_some(), "{name} has no environment variable");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for flags in [
            ["--limit-api", "many"],
            ["--trusted-proxies", "proxy.example.com"],
            ["--cors-origins", "*"],
            ["--rate-limits", "maybe"],
            ["--auth-endpoints", ""],
            ["--redis-url", "http://x"],
        ] {
            assert!(Args::try_parse_from(["gateway"].iter().chain(&flags)).is_err(), "{flags:?}");
        }
    }
}
