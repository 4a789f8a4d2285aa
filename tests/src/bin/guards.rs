//! `guards`: removes one guard after the other from a copy of the project, and says whether the test that is named for its failure
//! goes red. A guard that nothing misses is an error: either it guards nothing, or its test shows nothing.
//!
//! Run through `make guards`; an argument picks the guards whose rule contains it.

#![expect(clippy::print_stdout, reason = "its table is what it is run for")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use tests::guards::{GUARDS, Guard, Kind};

fn main() -> anyhow::Result<ExitCode> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let project =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests are within the project")?;
    let copy = Copy::of(project)?;
    let mut missed_by_nothing = 0;
    for guard in GUARDS.iter().filter(|guard| guard.rule.contains(&wanted)) {
        let began = Instant::now();
        let red = copy.goes_red_without(guard)?;
        missed_by_nothing += usize::from(!red);
        let verdict = if red { "red without it" } else { "NOT MISSED" };
        println!("{verdict:>14}  {:<64} {} ({} s)", guard.rule, guard.test, began.elapsed().as_secs());
    }
    Ok(if missed_by_nothing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The project's files in a folder of their own.
struct Copy {
    folder: tempfile::TempDir,
    /// Where the project's own results are: what it depends on is built there already.
    target: PathBuf,
}

impl Copy {
    fn of(project: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sallyport-guards-").tempdir()?;
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(project).output()?;
        ensure!(listed.status.success(), "git does not list the project's files");
        for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            let (from, to) = (project.join(file), folder.path().join(file));
            // One that was deleted and not committed yet.
            if from.exists() {
                std::fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
                std::fs::copy(&from, &to).with_context(|| format!("cannot copy {file}"))?;
            }
        }
        // This program lies in `<target>/debug`.
        let target = std::env::current_exe()?.ancestors().nth(2).context("cargo built this")?.to_owned();
        Ok(Self { folder, target })
    }

    /// Runs the guard's test without the guard, and puts it back.
    fn goes_red_without(&self, guard: &Guard) -> anyhow::Result<bool> {
        let path = self.folder.path().join(guard.file);
        let whole = std::fs::read_to_string(&path)?;
        std::fs::write(&path, guard.removed_from(&whole)?)?;
        let outcome = self.test(guard);
        std::fs::write(&path, whole)?;
        outcome
    }

    fn test(&self, guard: &Guard) -> anyhow::Result<bool> {
        let arguments: &[&str] = match guard.kind {
            Kind::InPlace { package } => &["test", "--package", package, guard.test],
            Kind::EndToEnd => {
                let built = self.cargo(&["build", "--workspace", "--bins"])?;
                ensure!(built.status.success(), "{}: does not compile without it", guard.rule);
                &["test", "--package", "tests", "--test", "e2e", guard.test]
            }
        };
        let output = self.cargo(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let ran = said.contains("test result: FAILED") || said.contains("1 passed");
        ensure!(ran, "{}: its test did not run: {}", guard.rule, String::from_utf8_lossy(&output.stderr));
        Ok(!output.status.success())
    }

    fn cargo(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(self.folder.path()).env("CARGO_TARGET_DIR", &self.target);
        cargo.stdin(Stdio::null()).output().context("cargo cannot be run")
    }
}
