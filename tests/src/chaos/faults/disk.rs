//! A database whose disk is full. It takes a file system of our own, and so it takes root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::generous;
use super::stores::{without_profiles, without_users};
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::database::Database;

const TEXT: &str = "Two of each; the data of each Postgres lies on a small file system of its own. A file takes all that is left of it, until the server has no \
    place for its log any more and ends; then the file goes, and the server is started again if it has to be. What was acknowledged before is there.";
const SIZE: &str = "size=320m";
const FULL: Duration = Duration::from_secs(6);

pub(super) async fn run(form: Form) -> Chapter {
    let (Some(users), Some(profiles)) = (SmallDisk::mount(), SmallDisk::mount()) else {
        let skipped = vec!["a full disk: a file system of its own can only be mounted by root.".to_owned()];
        return Chapter { title: "Full disks", text: TEXT, rows: Vec::new(), skipped };
    };
    let stack = generous().gateways(2).auths(2).profiles(2);
    let stack = stack.auth_postgres_in(users.folder()).profile_postgres_in(profiles.folder());
    let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    for (name, disk, bars) in [
        ("Disk of the Postgres of users full", &users, without_users()),
        ("Disk of the Postgres of profiles full", &profiles, without_profiles()),
    ] {
        let of_users = std::ptr::eq(disk, &raw const users);
        let full = async |stage: &Stage| {
            let database = if of_users { &stage.stack.auth_database } else { &stage.stack.profile_database };
            disk.fill();
            fill_log(database).await;
            stage.hold(FULL).await;
            disk.clear();
            if database.try_connect().await.is_none() {
                database.server().start().await;
            }
        };
        stage.fault(name, bars, full).await;
    }
    let rows = stage.end().await;
    Chapter { title: "Full disks", text: TEXT, rows, skipped: Vec::new() }
}

/// Has the server write its log until it has no place for it.
async fn fill_log(database: &Database) {
    let fill = "SELECT pg_logical_emit_message(true, 'filler', repeat('x', 1000000))";
    for _ in 0..400 {
        let Some(mut connection) = database.try_connect().await else { return };
        while sqlx::raw_sql(fill).execute(&mut connection).await.is_ok() {}
    }
}

/// A file system in memory, unmounted when this is dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = local::temporary::folder().ok()?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(folder.path())
            .output()
            .ok()?;
        if !mounted.status.success() {
            return None;
        }
        let disk = Self { folder };
        local::postgres::Account::let_through(disk.folder.path()).ok()?;
        Some(disk)
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("postgres")
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Takes what is left.
    fn fill(&self) {
        let block = vec![1_u8; 1 << 16];
        let Ok(mut file) = std::fs::File::create(self.filler()) else { return };
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    fn clear(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = |folder: &Path| Command::new("umount").arg("--lazy").arg(folder).output();
        let _ = unmount(self.folder.path());
    }
}
