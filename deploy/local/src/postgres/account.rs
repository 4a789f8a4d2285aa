//! The user PostgreSQL runs as when we are root, which it refuses. Without root this is never needed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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
    /// The user to give root up for; `None` when we are not root.
    pub fn for_new_data() -> anyhow::Result<Option<Self>> {
        if !sys::is_root() {
            return Ok(None);
        }
        let account = NAMES.into_iter().find_map(Self::named);
        account
            .map(Some)
            .context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
    }

    /// The user to run as over data that may exist in `folder` already: whoever it belongs to.
    pub fn for_data_in(folder: &Path) -> anyhow::Result<Option<Self>> {
        let owner = |path: PathBuf| fs::metadata(path).ok().filter(|it| it.uid() != 0);
        match owner(folder.join("cluster")).or_else(|| owner(folder.to_owned())) {
            Some(owner) if sys::is_root() => Ok(Some(Self { uid: owner.uid(), gid: owner.gid() })),
            _ => Self::for_new_data(),
        }
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
