//! Command line and environment: one clap struct per binary, and the part of it that all binaries share.
//!
//! A configuration that makes no sense ends the process with one line and exit code 64 (`EX_USAGE` of sysexits.h) before
//! anything binds.

use std::net::SocketAddr;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser};

use crate::telemetry::TelemetryArgs;

/// `EX_USAGE` of sysexits.h.
pub const EXIT_USAGE: i32 = 64;

/// What every service is told.
#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// Address and port of the admin server: `/metrics`, `/livez`, `/readyz`.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:0")]
    pub admin_listen: SocketAddr,
    /// Milliseconds between the first sign of a shutdown (readiness 503, health NOT_SERVING, go-away) and the moment when
    /// listeners close: the time that load balancers and clients have to look elsewhere.
    #[arg(long, env = "DRAIN_DELAY_MS", default_value_t = 500)]
    pub drain_delay_ms: u64,
    /// Milliseconds that requests in flight get after the listeners closed, before the process ends all the same.
    #[arg(long, env = "DRAIN_TIMEOUT_MS", default_value_t = 10_000)]
    pub drain_timeout_ms: u64,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

impl ServiceArgs {
    /// How long a draining process goes on serving before its listeners close.
    pub fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    /// How long requests in flight may still take after that.
    pub fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

/// Reads flags and environment. `--help` and `--version` print and exit 0; anything invalid prints one line and exits 64.
pub fn parse<A: Parser>() -> A {
    A::try_parse().unwrap_or_else(|error| {
        if error.use_stderr() {
            refuse(&one_line(&error));
        }
        error.exit()
    })
}

/// Ends the process over a configuration that parses but cannot work: one line, exit code 64.
pub fn refuse(reason: &str) -> ! {
    eprintln!("configuration: {reason}");
    std::process::exit(EXIT_USAGE)
}

/// clap's message without its prefix, its usage text and its line breaks, and of a URL no more than its scheme: there may be a password in
/// it.
fn one_line(error: &clap::Error) -> String {
    let mut rendered = error.render().to_string();
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && let Some((scheme, _)) = value.split_once("://")
    {
        rendered = rendered.replace(value, &format!("{scheme}://..."));
    }
    let message = rendered.split("\n\nUsage:").next().unwrap_or(&rendered);
    let message = message.split("\n\nFor more information").next().unwrap_or(message);
    message.strip_prefix("error: ").unwrap_or(message).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Sample {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        database: String,
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_that_names_the_flag() {
        let error = Sample::try_parse_from(["sample", "--listen", "nowhere", "--database", "x"]).unwrap_err();
        let line = one_line(&error);
        assert!(line.contains("--listen") && line.contains("nowhere"), "{line}");
        assert!(!line.contains('\n') && !line.contains("Usage"), "{line}");
    }

    #[test]
    fn a_url_that_cannot_be_read_shows_no_password() {
        #[derive(Debug, Parser)]
        struct Stores {
            #[arg(long)]
            redis: crate::redis::RedisUrl,
            #[arg(long)]
            postgres: Option<crate::postgres::PostgresUrl>,
        }
        for arguments in [
            ["--redis", "redis://ada:hush@127.0.0.1:port"],
            ["--redis", "redis+sentinel://ada:hush@127.0.0.1:26379"],
            ["--postgres", "postgres://ada:hush@127.0.0.1:port/auth"],
        ] {
            let error = Stores::try_parse_from(["stores"].iter().chain(&arguments)).unwrap_err();
            let line = one_line(&error);
            assert!(line.contains(arguments[0]) && !line.contains("hush"), "{line}");
        }
    }

    #[test]
    fn a_missing_value_is_told_in_one_line_that_names_the_flag() {
        let error = Sample::try_parse_from(["sample", "--listen", "127.0.0.1:1"]).unwrap_err();
        let line = one_line(&error);
        assert!(line.contains("--database") && !line.contains('\n'), "{line}");
    }
}
