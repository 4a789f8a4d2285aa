//! A standby: a copy of a server's data that follows every change, and takes its place when it is told to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Instant;

use super::{Account, Cluster, INIT_LIMIT, Options, Postgres, ROLE, START_LIMIT, write_private};
use crate::output::Output;
use crate::server::POLL;
use crate::{process, sockets};

impl Cluster {
    /// A standby of this server on a free port, with its data in `folder`, which the caller removes at the end. From then on nothing
    /// is committed here before it is there. For tests.
    pub fn standby(&self, folder: &Path) -> anyhow::Result<Postgres> {
        fs::create_dir_all(folder)?;
        Account::let_through(folder)?;
        let (unfinished, password_file) = (folder.join("unfinished"), folder.join("password"));
        fs::create_dir(&unfinished)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o700))?;
        write_private(&password_file, &self.password)?;
        if let Some(account) = &self.account {
            account.give(&unfinished)?;
            account.give(&password_file)?;
        }
        let mut copy = self.command("pg_basebackup");
        copy.args(["--host", "127.0.0.1", "--port", &self.port.to_string(), "--username", ROLE])
            .args(["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"])
            .arg("--pgdata")
            .arg(&unfinished)
            .env("PGPASSWORD", &self.password);
        process::run(copy, INIT_LIMIT)?;
        fs::rename(&unfinished, folder.join("cluster"))?;
        let cluster = Self::open(folder, sockets::free_port()?, Options::TEMPORARY, Output::kept())?;
        let standby = Postgres::start(cluster, START_LIMIT)?;
        self.execute(
            "postgres",
            &["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"],
        )?;
        let deadline = Instant::now() + START_LIMIT;
        let waits = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        while self.execute("postgres", &[waits])? != ["1"] {
            anyhow::ensure!(Instant::now() < deadline, "the standby does not follow");
            thread::sleep(POLL);
        }
        Ok(standby)
    }

    /// Makes a standby a server of its own that takes writes, and waits until it does.
    pub fn promote(&self) -> anyhow::Result<()> {
        let promoted = self.execute("postgres", &["SELECT pg_promote(true, 30)"])?;
        anyhow::ensure!(promoted == ["t"], "the standby was not promoted");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_has_what_was_committed_and_takes_over() {
        let folder = crate::temporary::folder().unwrap();
        let mut primary = Postgres::temporary(&folder.path().join("primary")).unwrap();
        primary.create_databases(&["auth"]).unwrap();
        let standby = primary.standby(&folder.path().join("standby")).unwrap();
        primary.execute("auth", &["CREATE TABLE t (n int)", "INSERT INTO t VALUES (42)"]).unwrap();

        primary.kill();
        standby.promote().unwrap();

        assert_eq!(standby.execute("auth", &["SELECT n FROM t"]).unwrap(), ["42"]);
        standby.execute("auth", &["INSERT INTO t VALUES (43)"]).unwrap();
    }
}
