//! The folder `.local`: what is where in it, and that one supervisor at a time has it.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::identity::PidFiles;
use crate::output::say;
use crate::postgres::Account;

/// Where PostgreSQL's data goes when its own user cannot reach the folder (a checkout in root's home).
const REACHABLE_BY_ALL: &str = "/var/lib/sallyport";

/// The folder, locked: for as long as this lives, no other supervisor uses it.
pub struct LocalFolder {
    path: PathBuf,
    _lock: File,
}

impl LocalFolder {
    /// Takes the folder, creating it when there is none, and ends whatever an earlier supervisor that was killed
    /// left running. Fails when one is running now.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        if !path.exists() {
            fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
            Account::let_through(path)?;
        }
        let path = path.canonicalize()?;
        let lock_file = path.join("lock");
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(&lock_file)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&lock_file).unwrap_or_default();
                anyhow::bail!("`make up` runs here already (pid {}); stop it with Ctrl-C first", pid.trim());
            }
            Err(TryLockError::Error(error)) => return Err(error).context("cannot lock .local"),
        }
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())?;
        let folder = Self { path, _lock: lock };
        let pids = folder.pid_files()?;
        for leftover in pids.leftovers()? {
            say(&format!("Ending {} (pid {}), left over from an earlier run.", leftover.name, leftover.pid));
            pids.end(&leftover);
        }
        Ok(folder)
    }

    pub fn pid_files(&self) -> anyhow::Result<PidFiles> {
        PidFiles::open(self.path.join("run"))
    }

    pub fn redis_state(&self) -> PathBuf {
        self.path.join("redis-state")
    }

    pub fn redis_cache(&self) -> PathBuf {
        self.path.join("redis-cache")
    }

    /// Mails that nobody delivers here, one file each.
    pub fn mail(&self) -> PathBuf {
        self.path.join("mail")
    }

    /// PostgreSQL's data, in the folder unless its user could not reach it there.
    pub fn postgres(&self) -> anyhow::Result<PathBuf> {
        let inside = self.path.join("postgres");
        let reached = Account::for_data_in(&inside)?.is_none_or(|account| account.reaches(&inside));
        if reached {
            return Ok(inside);
        }
        // A name per checkout that shows which one it is.
        let checkout = inside.display().to_string().replace('/', "%");
        Ok(Path::new(REACHABLE_BY_ALL).join(checkout))
    }

    /// Deletes all data. Tools that were installed into the folder stay.
    pub fn delete_data(&self) -> anyhow::Result<()> {
        for data in [self.postgres()?, self.redis_state(), self.redis_cache(), self.mail()] {
            if data.exists() {
                fs::remove_dir_all(&data).with_context(|| format!("cannot delete {}", data.display()))?;
                say(&format!("Deleted {}.", data.display()));
            }
        }
        Ok(())
    }
}
