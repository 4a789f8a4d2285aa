//! The connection pool to a Postgres: every statement bounded in time, every broken connection thrown away.
//!
//! It knows no table. A service's store hands it one unit of work at a time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::trace::{Kind, Span};

mod outage;

use outage::Outage;

/// How long a unit of work waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a unit of work may take once it has a connection; the server gives up on a statement a little later.
const WORK_TIMEOUT: Duration = Duration::from_millis(900);
const STATEMENT_TIMEOUT: &str = "2s";
/// A connection that lay idle for longer is asked whether it still lives before it is used.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);
/// How long it may take to say so.
const PING_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a command waits for its connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);

/// How long a migration keeps those waiting who come after it.
const MIGRATION_LOCK_TIMEOUT: &str = "SET lock_timeout = '200ms'";
/// How long it tries again.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The longest that a transaction begun by this process can go on, on either side of the connection.
pub const LONGEST_TRANSACTION: Duration = Duration::from_secs(10);

/// Where a Postgres is: `postgres://`. Its `Debug` shows no password.
#[derive(Clone)]
pub struct PostgresUrl(PgConnectOptions);

impl FromStr for PostgresUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err("has to be a postgres:// URL".into());
        }
        let options = PgConnectOptions::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self(options))
    }
}

impl PostgresUrl {
    /// One connection without a pool, for a command that ends: a statement on it may take a minute.
    ///
    /// # Errors
    /// The database does not answer, or does not let us in.
    pub async fn connect(&self, application: &str) -> Result<PgConnection, sqlx::Error> {
        let options = self.0.clone().application_name(application);
        let options = options.options([("statement_timeout", "60s")]).disable_statement_logging();
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
        connected.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({}:{})", self.0.get_host(), self.0.get_port())
    }
}

/// One database, as one replica sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    answered: Arc<AtomicBool>,
    outage: Arc<Outage>,
}

impl Postgres {
    /// Connects when there is work: a service starts without its database. `size`: connections at most.
    pub fn open(url: &PostgresUrl, application: &str, size: u32) -> Self {
        let options = url
            .0
            .clone()
            .application_name(application)
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("idle_in_transaction_session_timeout", "5s"),
            ])
            .disable_statement_logging();
        // Spread out, so that replicas which started together do not reconnect together.
        let lifetime = MAX_LIFETIME.mul_f64(0.8 + 0.4 * fastrand::f64());
        let outage = Arc::new(Outage::new(size));
        let seen = outage.clone();
        let pool = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(lifetime)
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let outage = seen.clone();
                Box::pin(async move {
                    if !outage.trusts(meta.age) {
                        return Ok(false);
                    }
                    if meta.idle_for <= TRUSTED_IDLE {
                        return Ok(true);
                    }
                    let lives = tokio::time::timeout(PING_TIMEOUT, connection.ping()).await;
                    let lives = matches!(lives, Ok(Ok(())));
                    if !lives {
                        outage.mute();
                    }
                    Ok(lives)
                })
            })
            .connect_lazy_with(options);
        Self { pool, answered: Arc::default(), outage }
    }

    /// Whether it has answered at least once.
    pub fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Asks until it answers, for readiness without traffic.
    pub async fn first_answer(self) {
        let mut pause = Duration::from_millis(50);
        while self.run("SELECT 1", async |connection| connection.ping().await).await.is_err() {
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Runs one unit of work: a statement, or a transaction that it begins and commits itself. `operation` names it in
    /// traces and metrics.
    ///
    /// # Errors
    /// `PoolTimedOut` when no connection could be had or the work took too long; after the latter nobody knows whether it
    /// was done. At once while the database is away and as many as have connections try it already.
    pub async fn run<T>(
        &self,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        metrics::counter!("db_client_operations_total", "operation" => operation).increment(1);
        let Some(trial) = self.outage.begin() else {
            metrics::counter!("db_client_failures_total", "operation" => operation).increment(1);
            return Err(sqlx::Error::PoolTimedOut);
        };
        let mut span = Span::begin(Kind::Client, operation);
        span.set("db.system.name", "postgresql").set("db.operation.name", operation);
        let outcome = async {
            let mut in_use = InUse(Some(self.pool.acquire().await?));
            let Some(connection) = &mut in_use.0 else { return Err(sqlx::Error::PoolClosed) };
            let outcome = tokio::time::timeout(WORK_TIMEOUT, work(connection)).await;
            let outcome = outcome.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            match outcome {
                Err(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut) => {
                    self.outage.mute();
                }
                _ => in_use.give_back(),
            }
            outcome
        }
        .await;
        match &outcome {
            Err(error) if is_away(error) => {
                trial.failed();
                span.fail();
                metrics::counter!("db_client_failures_total", "operation" => operation).increment(1);
            }
            _ => {
                trial.answered();
                self.answered.store(true, Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Applies what is missing of the migrations. Safe to run by several processes at once: one does the work while the others try
    /// again to get its advisory lock. So does that one while somebody holds a table that it needs: whoever comes after a statement
    /// that waits for a lock waits behind it, so it never waits for long.
    ///
    /// # Errors
    /// A migration cannot be applied, or a lock could not be had in ten minutes.
    pub async fn migrate(&self, migrations: &sqlx::migrate::Migrator) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut connection = self.pool.acquire().await?;
            sqlx::query("SET statement_timeout = 0").execute(&mut *connection).await?;
            sqlx::query(MIGRATION_LOCK_TIMEOUT).execute(&mut *connection).await?;
            let applied = migrations.run_direct(None, &mut *connection, false).await;
            // In any case, for after a failure it still holds the lock.
            connection.close().await?;
            match applied {
                Err(error) if is_locked(&error) && began.elapsed() < MIGRATION_PATIENCE => {
                    tracing::info!(%error, "a migration waits until others are done");
                    tokio::time::sleep(Duration::from_secs_f64(0.2 + 0.6 * fastrand::f64())).await;
                }
                applied => return Ok(applied?),
            }
        }
    }
}

/// Whether a lock could not be had in time.
fn is_locked(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().is_some_and(|error| error.code().is_some_and(|code| code == "55P03"))
}

/// A connection with work on it. It is closed unless the work ended: when time is up, when the connection breaks, and when the caller goes
/// away in the middle. Whatever it still answers belongs to a question that nobody asks any more; worse, sqlx forgets a transaction
/// whose `BEGIN` was not waited for, and whatever came next on that connection would be acknowledged and never committed.
struct InUse(Option<PoolConnection<sqlx::Postgres>>);

impl InUse {
    fn give_back(mut self) {
        self.0.take();
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// What a server says that cannot do its work now, whatever is asked of it: SQLSTATE codes, or classes of them
/// (PostgreSQL, Appendix A). Some need an operator: a server that came back without its data, or with other passwords.
const CANNOT_SERVE: [&str; 9] = [
    "08",    // connection exception
    "25006", // read only, after a failover
    "28",    // lets nobody in
    "3D",    // has no such database
    "3F",    // nor schema
    "42P01", // nor table
    "53",    // insufficient resources
    "57",    // operator intervention, and the statement time-out
    "58",    // system error
];

/// Whether the database could not be asked, as opposed to an answer that the caller does not like.
pub fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| CANNOT_SERVE.iter().any(|cannot_serve| code.starts_with(cannot_serve))),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_password() {
        let url: PostgresUrl = "postgres://user:hush@127.0.0.1:5432/auth".parse().unwrap();
        let shown = format!("{url:?}");
        assert!(shown.contains("127.0.0.1:5432") && !shown.contains("hush"), "{shown}");
        assert!("mysql://127.0.0.1".parse::<PostgresUrl>().is_err());
    }

    #[tokio::test]
    async fn work_without_a_server_fails_within_its_time() {
        let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("postgres://nobody@{closed_port}/none").parse().unwrap();
        let postgres = Postgres::open(&url, "test", 1);
        let ping = postgres.run("ping", async |connection| connection.ping().await);
        let error = tokio::time::timeout(Duration::from_secs(20), ping).await.unwrap().unwrap_err();
        assert!(is_away(&error), "{error}");
        assert!(!postgres.answered());

        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut trial = std::pin::pin!(postgres.run("ping", async |connection| connection.ping().await));
        assert!(futures_util::poll!(trial.as_mut()).is_pending());
        let other = postgres.run("ping", async |connection| connection.ping().await);
        let refused = futures_util::FutureExt::now_or_never(other);
        assert!(refused.is_some_and(|outcome| outcome.is_err()), "others fail at once");
    }
}
