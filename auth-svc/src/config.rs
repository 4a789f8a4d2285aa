//! The command line and environment of auth-svc.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chassis::config::ServiceArgs;
use chassis::postgres::PostgresUrl;
use chassis::redis::RedisUrl;
use clap::{Parser, Subcommand};
use lettre::message::Mailbox;

use crate::mail::{Lifetimes, LinkTemplate, Links, MailUrl};

use crate::audit::Head;

/// Sallyport's authentication service: users in Postgres, sessions in Redis, argon2id in a bounded pool.
#[derive(Debug, Clone, Parser)]
#[command(name = "auth-svc", version, args_conflicts_with_subcommands = false)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address and port of the gRPC server.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:50051", global = true)]
    pub listen: SocketAddr,
    /// The database of users, as postgres://user:password@host:port/database.
    #[arg(
        long,
        env = "DATABASE_URL",
        global = true,
        default_value = "postgres://127.0.0.1:15432/auth",
        hide_env_values = true
    )]
    pub database_url: PostgresUrl,
    /// Connections to the database at most.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections: u32,
    /// Redis for both roles, where they are not given one of their own: redis://user:password@host:port/db,
    /// redis+sentinel://user:password@host:port,host:port/master-name/db?sentinel_password=... or
    /// redis+cluster://user:password@host:port,host:port; rediss for TLS.
    #[arg(long, env = "REDIS_URL", default_value = "redis://127.0.0.1:6379", hide_env_values = true)]
    pub redis_url: RedisUrl,
    /// Redis of the sessions: never evicts, keeps an append-only file. Default: --redis-url.
    #[arg(long, env = "STATE_REDIS_URL", hide_env_values = true)]
    pub state_redis_url: Option<RedisUrl>,
    /// Redis of the cache of users: evicts, keeps nothing. Default: --redis-url.
    #[arg(long, env = "CACHE_REDIS_URL", hide_env_values = true)]
    pub cache_redis_url: Option<RedisUrl>,
    /// Days after which the audit trail forgets user, session, address and user agent of an entry. What happened and when stays.
    #[arg(long, env = "AUDIT_RETENTION_DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub audit_retention_days: u32,
    #[command(flatten)]
    pub sessions: SessionArgs,
    #[command(flatten)]
    pub passwords: PasswordArgs,
    #[command(flatten)]
    pub mail: MailArgs,
    #[command(flatten)]
    pub service: ServiceArgs,
}

impl Args {
    pub fn audit_retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.audit_retention_days) * 86_400)
    }
}

/// What a process can be asked to do besides serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Bring the database's schema up to date, and end.
    Migrate,
    /// Look after the audit trail, beside a running service.
    #[command(subcommand)]
    Audit(AuditCommand),
}

#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Check that no entry was changed, removed or put in; exit code 1 and the first one if so.
    Verify {
        /// A head that was kept: check that the trail up to there is still the same. May be given several times.
        #[arg(long)]
        head: Vec<Head>,
    },
    /// Print the head of the trail. Kept out of the database's reach, it later shows that nothing was cut off or written anew.
    Head,
}

/// How long sessions live.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct SessionArgs {
    /// Seconds without a request after which a session ends.
    #[arg(long, env = "SESSION_IDLE_SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub session_idle_seconds: u64,
    /// Seconds after its login when a session ends, used or not.
    #[arg(long, env = "SESSION_ABSOLUTE_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub session_absolute_seconds: u64,
    /// Sessions of one user at most; a login beyond that ends the oldest.
    #[arg(long, env = "SESSIONS_PER_USER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub sessions_per_user: u32,
}

impl SessionArgs {
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.session_idle_seconds)
    }

    pub fn absolute(&self) -> Duration {
        Duration::from_secs(self.session_absolute_seconds)
    }
}

/// What passwords are accepted, and what hashing them may cost.
#[derive(Debug, Clone, clap::Args)]
pub struct PasswordArgs {
    /// Characters (Unicode code points) that a new password has at least. NIST SP 800-63B-4: 15 where it is the only factor.
    #[arg(long, env = "PASSWORD_MIN_LENGTH", default_value_t = 15, value_parser = clap::value_parser!(u64).range(8..=256))]
    pub password_min_length: u64,
    /// File with a secret that goes into every password hash, kept apart from the database: one a line, the current one first. Hashes
    /// made with an earlier one, or without, are made again at the next login.
    #[arg(long, env = "PASSWORD_PEPPER_FILE")]
    pub password_pepper_file: Option<PathBuf>,
    /// Threads that hash passwords. Each takes 19 MiB and one core while there are logins.
    #[arg(long, env = "HASH_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub hash_threads: u16,
    /// Passwords that wait for a hashing thread at most; what comes beyond that is refused at once.
    #[arg(long, env = "HASH_QUEUE", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub hash_queue: u16,
    /// Milliseconds after which a waiting password is refused instead of hashed.
    #[arg(long, env = "HASH_DEADLINE_MS", default_value_t = 1500, value_parser = clap::value_parser!(u64).range(1..))]
    pub hash_deadline_ms: u64,
    /// How much the hashing threads yield to everything else while passwords wait, 0 to 19 as in nice(1); less where hashes would starve.
    #[arg(long, env = "HASH_NICENESS", default_value_t = 15, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub hash_niceness: u8,
}

/// Where mails go, and what they say.
#[derive(Debug, Clone, clap::Args)]
pub struct MailArgs {
    /// Where mails go: smtp://user:password@host:port, smtp+starttls:// or smtps:// likewise, or file:///folder, which gets one .eml file
    /// a mail. Unset: this service sends none, and refuses what needs one.
    #[arg(long, env = "MAIL_URL", hide_env_values = true)]
    pub mail_url: Option<MailUrl>,
    /// Whom mails come from.
    #[arg(long, env = "MAIL_FROM", default_value = "Sallyport <sallyport@localhost>")]
    pub mail_from: Mailbox,
    /// The link in a mail that resets a password, with {token} in place of the token: a page that asks for the new password. Behind a `#`
    /// the token stays out of servers' logs. Unset: the mail tells the token alone.
    #[arg(long, env = "PASSWORD_RESET_LINK")]
    pub password_reset_link: Option<LinkTemplate>,
    /// The link in a mail that verifies an e-mail address, likewise.
    #[arg(long, env = "EMAIL_VERIFICATION_LINK")]
    pub email_verification_link: Option<LinkTemplate>,
    /// Seconds for which a mail that resets a password is good.
    #[arg(long, env = "PASSWORD_RESET_SECONDS", default_value_t = 1800, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub password_reset_seconds: u64,
    /// Seconds for which a mail that verifies an e-mail address is good.
    #[arg(long, env = "EMAIL_VERIFICATION_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=2_592_000))]
    pub email_verification_seconds: u64,
}

impl MailArgs {
    pub fn lifetimes(&self) -> Lifetimes {
        Lifetimes {
            password_reset: Duration::from_secs(self.password_reset_seconds),
            email_verification: Duration::from_secs(self.email_verification_seconds),
        }
    }

    pub fn links(&self) -> Links {
        Links {
            password_reset: self.password_reset_link.clone(),
            email_verification: self.email_verification_link.clone(),
        }
    }
}

impl PasswordArgs {
    pub fn hash_deadline(&self) -> Duration {
        Duration::from_millis(self.hash_deadline_ms)
    }
}
