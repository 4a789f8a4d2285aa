//! The user PostgreSQL runs as when we are root, which it refuses. Without root this is never needed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::sys;

/// Users to run as, in order: the one PostgreSQL's packages create, then one that exists everywhere.
const NAMES: [&str; 3] = ["postgres", "_postgres", "nobody"];

#[derive(Clone, Copy, Debug)]
pub struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The user to give root up for: the owner of `data` when that exists. `None` when we are not root.
    pub fn to_drop_to(data: &Path) -> anyhow::Result<Option<Self>> {
        if !sys::is_root() {
            return Ok(None);
        }
        let owner = fs::metadata(data).ok().filter(|it| it.uid() != 0);
        let owner = owner.map(|it| Self { uid: it.uid(), gid: it.gid() });
        let account = owner.or_else(|| NAMES.into_iter().find_map(Self::named));
        account
            .map(Some)
            .context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
    }

    /// Lets that user, when one is needed, pass through `folder` without seeing what is in it.
    pub fn let_through(folder: &Path) -> io::Result<()> {
        let mode = if sys::is_root() { 0o711 } else { 0o700 };
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))
    }

    fn named(name: &str) -> Option<Self> {
        Some(Self { uid: id("-u", name)?, gid: id("-g", name)? })
    }

    /// This user may pass through every folder down to `path`.
    pub fn reaches(self, path: &Path) -> bool {
        self.first_barrier(path).is_none()
    }

    pub(super) fn check_reaches(self, path: &Path) -> anyhow::Result<()> {
        match self.first_barrier(path) {
            None => Ok(()),
            Some(barrier) => anyhow::bail!(
                "PostgreSQL runs as user {} and may not pass through {}",
                self.uid,
                barrier.display()
            ),
        }
    }

    fn first_barrier(self, path: &Path) -> Option<&Path> {
        let passable = |folder: &Path| {
            fs::metadata(folder).is_ok_and(|it| it.uid() == self.uid || it.permissions().mode() & 0o001 != 0)
        };
        // Folders that do not exist yet will be made passable by whoever makes them.
        path.ancestors().filter(|folder| folder.exists()).find(|folder| !passable(folder))
    }

    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    pub(super) fn run_as(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }
}

fn id(kind: &str, name: &str) -> Option<u32> {
    let output = Command::new("id").args([kind, name]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
