//! Real PostgreSQL and Redis servers for as long as one command runs: what `make test` and the query check use.

use std::path::PathBuf;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::postgres::{Account, Postgres};
use crate::redis::{Redis, Role};

/// Where temporary data goes when PostgreSQL's own user cannot reach the usual folder.
const REACHABLE_BY_ALL: &str = "/var/tmp";

/// One PostgreSQL and one Redis per role on free ports, with their data in a folder that goes when this goes.
pub struct Servers {
    pub postgres: Postgres,
    pub state: Redis,
    pub cache: Redis,
    // The last field: dropped after the servers that use it.
    _folder: TempDir,
}

impl Servers {
    pub fn start() -> anyhow::Result<Self> {
        let folder = folder()?;
        let state = Redis::temporary(Role::State, &folder.path().join("state"))?;
        let cache = Redis::temporary(Role::Cache, &folder.path().join("cache"))?;
        let postgres = Postgres::temporary(&folder.path().join("postgres"))?;
        Ok(Self { postgres, state, cache, _folder: folder })
    }

    /// What tests read to find the servers.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("TEST_POSTGRES_URL", self.postgres.url("postgres")),
            ("TEST_STATE_REDIS_URL", self.state.url()),
            ("TEST_CACHE_REDIS_URL", self.cache.url()),
        ]
    }
}

/// A new folder for temporary servers that PostgreSQL's user can reach.
pub fn folder() -> anyhow::Result<TempDir> {
    let usual = std::env::temp_dir();
    let reached = Account::for_new_data()?.is_none_or(|account| account.reaches(&usual));
    let parent = if reached { usual } else { PathBuf::from(REACHABLE_BY_ALL) };
    let folder = tempfile::Builder::new().prefix("sallyport-").tempdir_in(&parent);
    let folder = folder.with_context(|| format!("cannot create a folder in {}", parent.display()))?;
    Account::let_through(folder.path())?;
    Ok(folder)
}
