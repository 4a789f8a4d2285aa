//! The databases of a stack: each new and empty, on the server that all tests share or on one that a test can stop.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr as _;

use anyhow::Context as _;
use local::postgres::{Cluster, Postgres};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection as _};
use tempfile::TempDir;

use crate::controlled::Controlled;

/// One database.
pub struct Database {
    url: String,
    own: Option<OwnServer>,
}

/// Dropped in this order: the server before its folder.
struct OwnServer {
    server: Controlled<Cluster>,
    _folder: Option<TempDir>,
}

impl Database {
    /// A new database on the tests' server; when there is none, on a server of its own.
    pub fn shared(name: &str) -> anyhow::Result<Self> {
        let Some(server) = shared_server() else { return Self::own(name) };
        let name = format!("{name}_{:016x}", fastrand::u64(..));
        let (base, _) = server.rsplit_once('/').context("TEST_POSTGRES_URL names no database")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&server).await?;
            let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
            sqlx::raw_sql(create).execute(&mut connection).await?;
            connection.close().await
        })?;
        Ok(Self { url: format!("{base}/{name}"), own: None })
    }

    /// A new database on a server that nobody else uses.
    pub fn own(name: &str) -> anyhow::Result<Self> {
        let folder = local::temporary::folder()?;
        let mut database = Self::own_in(name, &folder.path().join("postgres"))?;
        database.own = database.own.map(|own| OwnServer { _folder: Some(folder), ..own });
        Ok(database)
    }

    /// The same with its data in a folder that the caller removes.
    pub fn own_in(name: &str, folder: &Path) -> anyhow::Result<Self> {
        let postgres = Postgres::temporary(folder)?;
        postgres.create_databases(&[name])?;
        let url = postgres.url(name);
        Ok(Self { url, own: Some(OwnServer { server: Controlled::new(postgres), _folder: None }) })
    }

    /// A standby that follows this database's own server, which from then on commits nothing without it.
    pub async fn standby(&self) -> Self {
        let follow = |cluster: &Cluster| {
            let folder = local::temporary::folder()?;
            let standby = cluster.standby(&folder.path().join("standby"))?;
            anyhow::Ok(OwnServer { server: Controlled::new(standby), _folder: Some(folder) })
        };
        let own = self.server().with(follow).await;
        let own = own.unwrap_or_else(|error| panic!("no standby: {error:#}"));
        let name = self.name().to_owned();
        let url = own.server.with(move |cluster| cluster.url(&name)).await;
        Self { url, own: Some(own) }
    }

    /// Where its server listens.
    pub fn address(&self) -> SocketAddr {
        let place = self.url.rsplit('@').next().and_then(|rest| rest.split('/').next());
        let address = place.and_then(|place| place.parse().ok());
        address.unwrap_or_else(|| panic!("the URL of a database names no address"))
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name on its server.
    pub fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }

    /// The password within the URL.
    pub fn password(&self) -> Option<&str> {
        let (credentials, _) = self.url.strip_prefix("postgres://")?.rsplit_once('@')?;
        Some(credentials.split_once(':')?.1)
    }

    /// The server. Panics when others use it too.
    pub fn server(&self) -> &Controlled<Cluster> {
        match &self.own {
            Some(own) => &own.server,
            None => panic!("this stack shares its PostgreSQL with others: ask for one of its own"),
        }
    }

    /// Runs statements as the services' own user.
    pub async fn execute(&self, statements: &str) {
        let outcome = async {
            let mut connection = self.connect().await;
            sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection).await?;
            connection.close().await
        };
        outcome.await.unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// How many rows a table has, or what else comes after FROM.
    pub async fn count(&self, of: &str) -> i64 {
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {of}"));
        let count = sqlx::query_scalar(count).fetch_one(&mut self.connect().await).await;
        count.unwrap_or_else(|error| panic!("{of} cannot be counted: {error}"))
    }

    /// Makes every statement about a table take its time after it has looked: so many seconds, an SQL expression. What it answers is
    /// old by then.
    pub async fn slow_down(&self, table: &str, seconds: &str) {
        let slow = format!(
            "ALTER TABLE {table} RENAME TO {table}_stored;
             CREATE FUNCTION dawdle() RETURNS boolean LANGUAGE plpgsql VOLATILE COST 100000 AS
                 'BEGIN PERFORM pg_sleep({seconds}); RETURN true; END';
             CREATE VIEW {table} AS SELECT * FROM {table}_stored WHERE dawdle()"
        );
        self.execute(&slow).await;
    }

    /// Keeps everybody else out of a table until the connection is closed.
    pub async fn lock(&self, table: &str) -> PgConnection {
        let mut connection = self.connect().await;
        let lock = AssertSqlSafe(format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
        let locked = sqlx::raw_sql(lock).execute(&mut connection).await;
        locked.unwrap_or_else(|error| panic!("{table} cannot be locked: {error}"));
        connection
    }

    /// A connection of the test's own.
    pub async fn connect(&self) -> PgConnection {
        let connection = async { PgConnection::connect_with(&PgConnectOptions::from_str(&self.url)?).await };
        connection.await.unwrap_or_else(|error| panic!("the database cannot be reached: {error}"))
    }

    /// The same where it may be refused.
    pub async fn try_connect(&self) -> Option<PgConnection> {
        PgConnection::connect(&self.url).await.ok()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test runner says in the environment where its servers are"
)]
fn shared_server() -> Option<String> {
    std::env::var("TEST_POSTGRES_URL").ok()
}
