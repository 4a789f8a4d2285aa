//! The version before this one runs beside it, on this one's schema, and is replaced by it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use local::service;
use tempfile::TempDir;

use super::generous;
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::row::Row;
use crate::chaos::stage::{Form, Stage};
use crate::stack::{Part, migrate};

const TEXT: &str = "Two of each kind of this version, which has migrated the databases; then one of the version before comes, serves beside them, and goes. And a deploy: two \
    of each kind of the version before, on their own schema; the databases are migrated under them, by two at once, and this version takes their places. \
    The version before is the last tag, or as long as there is none, the commit before the last migration. Nothing fails, and nobody is logged out.";

pub(super) async fn run(form: Form) -> Chapter {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    match Previous::build() {
        Err(error) => skipped.push(format!("the version before could not be built: {error:#}.")),
        Ok(previous) => {
            rows.extend(side_by_side(&previous, form).await);
            rows.extend(deploy(&previous, form).await);
        }
    }
    Chapter { title: "Versions side by side", text: TEXT, rows, skipped }
}

async fn side_by_side(previous: &Previous, form: Form) -> Vec<Row> {
    let stack = generous().gateways(3).auths(3).profiles(3);
    let stack = Part::ALL
        .into_iter()
        .fold(stack, |stack, part| stack.binary_of(part, 2, previous.folder.path().join(part.binary())));
    let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    stage.ground().use_gateways(vec![0, 1]);
    for part in Part::ALL {
        stage.stack.of(part)[2].stop().await;
    }
    stage.hold(Duration::from_secs(1)).await;
    for part in Part::ALL {
        let beside = async |stage: &Stage| {
            let old = &stage.stack.of(part)[2];
            old.start().await;
            if part == Part::Gateway {
                stage.ground().use_gateways(vec![0, 1, 2]);
            }
            stage.hold(Duration::from_secs(6)).await;
            if part == Part::Gateway {
                stage.ground().use_gateways(vec![0, 1]);
            }
            old.stop().await;
        };
        let name = format!("{} of {} beside two of this version", part.binary(), previous.name);
        stage.fault(name, Bars::nothing_fails(), beside).await;
    }
    stage.end().await
}

/// The schema moves on under the version before, and then this version takes its place.
async fn deploy(previous: &Previous, form: Form) -> Vec<Row> {
    let installed = previous.folder.path().join("installed");
    install(&installed, |part| Ok(previous.folder.path().join(part.binary())));
    let stack = generous().gateways(2).auths(2).profiles(2).migrated_by(installed.clone());
    let replicas = Part::ALL.into_iter().flat_map(|part| [(part, 0), (part, 1)]);
    let stack = replicas
        .fold(stack, |stack, (part, index)| stack.binary_of(part, index, installed.join(part.binary())));
    let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    let migrated = async |stage: &Stage| {
        let databases = [
            (Part::Auth, stage.stack.auth_database.url().to_owned()),
            (Part::Profile, stage.stack.profile_database.url().to_owned()),
        ];
        let migrations =
            databases.iter().flat_map(|database| [database.clone(), database.clone()]).map(|(part, url)| {
                tokio::task::spawn_blocking(move || migrate(&service::binary(part.binary())?, &url))
            });
        for migration in join_all(migrations).await {
            let migrated = migration.unwrap_or_else(|error| panic!("{error}"));
            migrated.unwrap_or_else(|error| panic!("{error:#}"));
        }
        stage.hold(Duration::from_secs(3)).await;
    };
    let name = format!("The databases are migrated under {}", previous.name);
    stage.fault(name, Bars::nothing_fails(), migrated).await;
    let replaced = async |stage: &Stage| {
        install(&installed, |part| service::binary(part.binary()));
        for replica in
            [Part::Auth, Part::Profile, Part::Gateway].iter().flat_map(|part| stage.stack.of(*part))
        {
            replica.restart().await;
            stage.settle().await;
        }
    };
    let name = format!("This version takes the place of {}", previous.name);
    stage.fault(name, Bars::nothing_fails(), replaced).await;
    stage.end().await
}

/// Puts programs into a folder from which others may be running.
fn install(folder: &Path, program: impl Fn(Part) -> anyhow::Result<PathBuf>) {
    let install = |part: Part| {
        let (new, place) = (folder.join("new"), folder.join(part.binary()));
        std::fs::create_dir_all(folder)?;
        std::fs::copy(program(part)?, &new)?;
        anyhow::Ok(std::fs::rename(new, place)?)
    };
    for part in Part::ALL {
        install(part).unwrap_or_else(|error| panic!("{} cannot be installed: {error:#}", part.binary()));
    }
}

/// The programs of the version before.
struct Previous {
    name: String,
    folder: TempDir,
}

impl Previous {
    fn build() -> anyhow::Result<Self> {
        let project =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests are within the project")?;
        let tag = said(project, &["describe", "--tags", "--abbrev=0"]);
        let commit = tag.or_else(|_| {
            let last = ["log", "-1", "--format=%h", "--diff-filter=A", "--", "*/migrations/*"];
            said(project, &["rev-parse", "--short", &format!("{}^", said(project, &last)?)])
        })?;
        let folder = tempfile::Builder::new().prefix("sallyport-previous-").tempdir()?;
        let source = folder.path().join("source");
        let path = source.to_str().context("a path that is not UTF-8")?;
        said(project, &["worktree", "add", "--detach", path, &commit])?;
        let built = build_in(&source, folder.path());
        said(project, &["worktree", "remove", "--force", path])?;
        built?;
        Ok(Self { name: commit, folder })
    }
}

/// Into a folder beside the one that this version was built in: cargo would take the one's crates for the other's.
fn build_in(source: &Path, folder: &Path) -> anyhow::Result<()> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("cargo built this")?.join("previous");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--workspace", "--bins"]).current_dir(source).env("CARGO_TARGET_DIR", &target);
    finished(cargo.output()?)?;
    for part in Part::ALL {
        std::fs::copy(target.join("debug").join(part.binary()), folder.join(part.binary()))?;
    }
    Ok(())
}

fn said(project: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    finished(Command::new("git").args(arguments).current_dir(project).output()?)
}

fn finished(output: Output) -> anyhow::Result<String> {
    let last = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
    ensure!(output.status.success(), "{last}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
