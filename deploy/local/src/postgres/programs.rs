//! Where PostgreSQL's server programs are. Package systems keep several versions side by side, mostly not on PATH.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The oldest major version the services' SQL is written for.
const OLDEST: u32 = 14;

/// Folders that hold one folder per installed version, and where the programs are below that.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),         // Debian and its family
    ("/usr", "pgsql-", "bin"),                  // PostgreSQL's own RPMs
    ("/usr/libexec", "postgresql", ""),         // Alpine
    ("/opt/homebrew/opt", "postgresql", "bin"), // Homebrew on ARM
    ("/usr/local/opt", "postgresql", "bin"),    // Homebrew on Intel
];

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `None`: they are on PATH.
    folder: Option<PathBuf>,
    major: u32,
}

impl Programs {
    /// The newest installation that is new enough.
    pub fn find() -> Option<Self> {
        let mut installed = Self::installed();
        installed.retain(|programs| programs.major >= OLDEST);
        installed.into_iter().max_by_key(|programs| programs.major)
    }

    /// Its major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The installation for data that `version` (the content of its PG_VERSION) wrote: the newest one for new data.
    pub(super) fn for_data(version: Option<&str>) -> anyhow::Result<Self> {
        let Some(version) = version else {
            return Self::find().with_context(|| format!("PostgreSQL {OLDEST} or newer was not found"));
        };
        let major: u32 = version.trim().parse().context("the data has an unknown PG_VERSION")?;
        Self::installed().into_iter().find(|programs| programs.major == major).with_context(|| {
            format!("the data was written by PostgreSQL {major}, which is not installed: install it, or `make reset`")
        })
    }

    pub(super) fn command(&self, program: &str) -> Command {
        Command::new(program_in(self.folder.as_deref(), program))
    }

    fn installed() -> Vec<Self> {
        let folders = std::iter::once(None).chain(candidate_folders().into_iter().map(Some));
        folders.filter_map(Self::in_folder).collect()
    }

    fn in_folder(folder: Option<PathBuf>) -> Option<Self> {
        let version = |program| {
            let output =
                Command::new(program_in(folder.as_deref(), program)).arg("--version").output().ok()?;
            major_version(&String::from_utf8_lossy(&output.stdout))
        };
        let major = version("postgres")?;
        // A server without its companions is of no use: they come in packages of their own here and there.
        (version("initdb")? == major).then_some(())?;
        version("psql")?;
        Some(Self { folder, major })
    }
}

fn program_in(folder: Option<&Path>, program: &str) -> PathBuf {
    folder.map_or_else(|| PathBuf::from(program), |folder| folder.join(program))
}

fn candidate_folders() -> Vec<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let versioned = VERSIONED.iter().flat_map(|(parent, prefix, below)| {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let named = entries.filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix));
        named.map(move |entry| entry.path().join(below))
    });
    told.into_iter().chain(versioned).filter(|folder| folder.join("postgres").exists()).collect()
}

/// The major version in `postgres (PostgreSQL) 15.4 (Debian 15.4-1)`.
fn major_version(line: &str) -> Option<u32> {
    let number = line.split_once("(PostgreSQL) ")?.1;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(major_version("postgres (PostgreSQL) 15.4 (Debian 15.4-1)"), Some(15));
        assert_eq!(major_version("psql (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_version("something else"), None);
    }
}
