//! The version before this one runs beside it, on this one's schema.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use super::generous;
use crate::chaos::bars::Bars;
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::stage::{Form, Stage};
use crate::stack::Part;

const TEXT: &str = "Two of each kind of this version, which has migrated the databases; then one of the version before comes, serves beside them, and goes. \
    The version before is the last tag, or as long as there is none, the commit before the last migration. Nothing fails, and nobody is logged out.";

pub(super) async fn run(form: Form) -> Chapter {
    let (mut rows, mut skipped) = (Vec::new(), Vec::new());
    match Previous::build() {
        Err(error) => skipped.push(format!("the version before could not be built: {error:#}.")),
        Ok(previous) => {
            let stack = generous().gateways(3).auths(3).profiles(3);
            let stack = Part::ALL.into_iter().fold(stack, |stack, part| {
                stack.binary_of(part, 2, previous.folder.path().join(part.binary()))
            });
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
            rows = stage.end().await;
        }
    }
    Chapter { title: "Versions side by side", text: TEXT, rows, skipped }
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
