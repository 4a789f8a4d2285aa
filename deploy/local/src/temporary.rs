//! Real PostgreSQL and Redis servers, and a Redis Cluster, for as long as one command runs: what `make test` and the query check use.

use std::path::PathBuf;
use std::thread;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::postgres::{Account, Postgres};
use crate::redis::{Cluster, Redis, Role};

/// Where temporary data goes when PostgreSQL's own user cannot reach the usual folder.
const REACHABLE_BY_ALL: &str = "/var/tmp";

/// One PostgreSQL, one Redis per role and one Redis Cluster on free ports, with their data in a folder that goes when this goes.
pub struct Servers {
    pub postgres: Postgres,
    pub state: Redis,
    pub cache: Redis,
    pub cluster: Cluster,
    // The last field: dropped after the servers that use it.
    _folder: TempDir,
}

impl Servers {
    pub fn start() -> anyhow::Result<Self> {
        let folder = folder()?;
        let state = Redis::temporary(Role::State, &folder.path().join("state"))?;
        let cache = Redis::temporary(Role::Cache, &folder.path().join("cache"))?;
        let (postgres, cluster) = thread::scope(|scope| {
            let cluster = scope.spawn(|| Cluster::temporary(Role::State, &folder.path().join("cluster")));
            let postgres = Postgres::temporary(&folder.path().join("postgres"))?;
            let cluster = cluster.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            anyhow::Ok((postgres, cluster))
        })?;
        Ok(Self { postgres, state, cache, cluster, _folder: folder })
    }

    /// What tests read to find the servers.
    pub fn variables(&self) -> [(&'static str, String); 4] {
        [
            ("TEST_POSTGRES_URL", self.postgres.url("postgres")),
            ("TEST_STATE_REDIS_URL", self.state.url()),
            ("TEST_CACHE_REDIS_URL", self.cache.url()),
            ("TEST_CLUSTER_REDIS_URL", self.cluster.url()),
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
