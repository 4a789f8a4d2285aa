//! `local sqlx-data`: writes (or checks) the `.sqlx` folders that let sqlx check the services' queries without a
//! database. Does what sqlx's own command-line tool does, with a temporary server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context as _;

use crate::postgres::Postgres;
use crate::temporary;

/// The crates with queries, and the database each has.
const CRATES: [(&str, &str); 2] = [("auth-svc", "auth"), ("profile-svc", "profile")];

#[derive(clap::Args)]
pub struct Args {
    /// Change nothing; fail when a `.sqlx` folder does not fit the queries and migrations.
    #[arg(long)]
    check: bool,
    /// The workspace.
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = temporary::folder()?;
    let postgres = Postgres::temporary(&folder.path().join("postgres"))?;
    let databases: Vec<&str> = CRATES.iter().map(|(_, database)| *database).collect();
    postgres.create_databases(&databases)?;
    for (name, database) in CRATES {
        let source = args.root.join(name);
        migrate(&postgres, database, &source.join("migrations"))?;
        let fresh = folder.path().join(name);
        fs::create_dir(&fresh)?;
        describe_queries(name, &source, &postgres.url(database), &fresh)?;
        let (wanted, committed) = (read_all(&fresh)?, read_all(&source.join(".sqlx"))?);
        if args.check {
            anyhow::ensure!(
                wanted == committed,
                "{name}/.sqlx does not fit the queries and migrations: run `make sqlx-data` and commit it"
            );
        } else {
            replace(&source.join(".sqlx"), &committed, &wanted)?;
        }
    }
    Ok(())
}

/// Applies the migrations as `<service> migrate` would. The service itself cannot do it here: without query data
/// that fits, it does not compile.
fn migrate(postgres: &Postgres, database: &str, folder: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_sql = path.extension().is_some_and(|extension| extension == "sql");
        if is_sql && !name.ends_with(".down") {
            let version = name.split('_').next().and_then(|version| version.parse::<i64>().ok());
            files.insert(version.with_context(|| format!("{} has no version", path.display()))?, path);
        }
    }
    for file in files.values() {
        let atomic = !fs::read_to_string(file)?.starts_with("-- no-transaction");
        postgres.execute_file(database, file, atomic)?;
    }
    Ok(())
}

/// Compiles the crate with sqlx's macros asking the database at `url`; they write what they learn to `folder`.
fn describe_queries(name: &str, source: &Path, url: &str, folder: &Path) -> anyhow::Result<()> {
    // Cargo does not know that the macros depend on the database, so the crate has to look changed.
    touch_sources(source)?;
    let status = Command::new("cargo")
        .args(["check", "--quiet", "--all-targets", "--package", name])
        .current_dir(source)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder)
        .env("DATABASE_URL", url)
        .status()
        .context("cannot run cargo")?;
    anyhow::ensure!(status.success(), "{name} does not compile against its migrated database");
    Ok(())
}

fn touch_sources(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            touch_sources(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            #[expect(
                clippy::disallowed_methods,
                reason = "cargo compares file times with this machine's clock"
            )]
            let now = SystemTime::now();
            File::options().append(true).open(&path)?.set_modified(now)?;
        }
    }
    Ok(())
}

type QueryFiles = BTreeMap<OsString, Vec<u8>>;

fn read_all(folder: &Path) -> anyhow::Result<QueryFiles> {
    let mut files = QueryFiles::new();
    if folder.exists() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

/// Makes `folder` hold exactly `wanted`, touching only what differs.
fn replace(folder: &Path, committed: &QueryFiles, wanted: &QueryFiles) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    for name in committed.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(folder.join(name))?;
    }
    for (name, content) in wanted.iter().filter(|(name, content)| committed.get(*name) != Some(content)) {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}
