//! What all contestants share: one PostgreSQL, one Redis for state and one for caches, and the people in them.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use local::process;
use local::service;
use local::temporary::Servers;

use crate::people::{self, PASSWORD, People};
use crate::{argon, seed};

/// How long a migration may take.
const MIGRATION_LIMIT: Duration = Duration::from_secs(60);

/// So many rows at a time: a statement stays well within its limit.
const ROWS_AT_ONCE: usize = 100_000;

/// Room for what a million people need in the cache; `make up` gives 256 MB, and evicts.
const CACHE_BYTES: &str = "2gb";

pub const AUTH_DATABASE: &str = "auth";
pub const PROFILE_DATABASE: &str = "profile";

/// Servers of the benchmark's own, on free ports. They end when it is dropped.
pub struct World {
    pub servers: Servers,
    pub people: Arc<People>,
}

impl World {
    /// Starts the servers and fills the databases; nobody is signed in yet.
    pub fn start(count: usize) -> anyhow::Result<Self> {
        let servers = Servers::start()?;
        servers.postgres.create_databases(&[AUTH_DATABASE, PROFILE_DATABASE])?;
        let world = Self { servers, people: People::new(count).into() };
        seed::command(&world.cache_url(), &["CONFIG", "SET", "maxmemory", CACHE_BYTES])?;
        world.migrate("auth-svc", AUTH_DATABASE)?;
        world.migrate("profile-svc", PROFILE_DATABASE)?;
        world.fill_databases()?;
        Ok(world)
    }

    pub fn state_url(&self) -> String {
        self.servers.state.url()
    }

    pub fn cache_url(&self) -> String {
        self.servers.cache.url()
    }

    pub fn database_url(&self, database: &str) -> String {
        self.servers.postgres.url(database)
    }

    fn migrate(&self, binary: &str, database: &str) -> anyhow::Result<()> {
        let mut command = Command::new(service::binary(binary)?);
        command.arg("migrate").env("DATABASE_URL", self.database_url(database));
        process::run(command, MIGRATION_LIMIT).with_context(|| format!("{binary} cannot migrate"))?;
        Ok(())
    }

    fn fill_databases(&self) -> anyhow::Result<()> {
        let password_hash = argon::phc(PASSWORD)?;
        for first in (0..self.people.count()).step_by(ROWS_AT_ONCE) {
            let end = (first + ROWS_AT_ONCE).min(self.people.count());
            let users = people::insert_users(first, end, &password_hash);
            let profiles = people::insert_profiles(first, end);
            self.servers.postgres.execute(AUTH_DATABASE, &[&users])?;
            self.servers.postgres.execute(PROFILE_DATABASE, &[&profiles])?;
        }
        for database in [AUTH_DATABASE, PROFILE_DATABASE] {
            self.servers.postgres.execute(database, &["VACUUM ANALYZE"])?;
        }
        Ok(())
    }
}
