//! `local buf -- arguments`: runs buf, the linter of protocol files, fetching it when it is not on PATH.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::output::say;

/// The version that is fetched: rules come and go with versions.
const VERSION: &str = "1.75.0";

#[derive(clap::Args)]
pub struct Args {
    /// Where to fetch it to.
    #[arg(long, env = "LOCAL_TOOLS", default_value = ".local/tools")]
    tools: PathBuf,
    /// buf's own arguments.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// A package registry to fetch it from with shell commands, in which `$1` is the folder and `$2` the version.
struct Source {
    name: &'static str,
    script: &'static str,
    /// The program, below the folder.
    binary: &'static str,
}

const SOURCES: [Source; 3] = [
    Source {
        name: "PyPI",
        script: r#"python3 -m venv "$1" && "$1/bin/pip" install --quiet "buf-bin==$2""#,
        binary: "bin/buf",
    },
    Source {
        name: "its Go module",
        script: r#"GOBIN="$1/bin" go install "github.com/bufbuild/buf/cmd/buf@v$2""#,
        binary: "bin/buf",
    },
    Source {
        name: "npm",
        script: r#"npm install --silent --no-audit --no-fund --prefix "$1" "@bufbuild/buf@$2""#,
        binary: "node_modules/.bin/buf",
    },
];

pub fn run(args: &Args) -> anyhow::Result<()> {
    let buf = find_or_fetch(&args.tools)?;
    let status = Command::new(&buf).args(&args.arguments).status();
    anyhow::ensure!(status.context("cannot run buf")?.success(), "buf found something to mend");
    Ok(())
}

fn find_or_fetch(tools: &Path) -> anyhow::Result<PathBuf> {
    let folder = tools.join(format!("buf-{VERSION}"));
    let fetched = SOURCES.iter().map(|source| folder.join(source.binary));
    if let Some(buf) = [PathBuf::from("buf")].into_iter().chain(fetched).find(|buf| works(buf)) {
        return Ok(buf);
    }
    fs::create_dir_all(tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let folder = tools.canonicalize()?.join(format!("buf-{VERSION}"));
    for Source { name, script, binary } in SOURCES {
        say(&format!("Fetching buf {VERSION} from {name} into {} ...", folder.display()));
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&folder).arg(VERSION).stdin(Stdio::null());
        let done = command.output().context("cannot run sh")?;
        let buf = folder.join(binary);
        if done.status.success() && works(&buf) {
            return Ok(buf);
        }
        say(String::from_utf8_lossy(&done.stderr).trim_end());
        let _ = fs::remove_dir_all(&folder);
    }
    anyhow::bail!(
        "buf could not be fetched: install it (https://buf.build/docs/cli/installation) and try again"
    )
}

fn works(buf: &Path) -> bool {
    let mut command = Command::new(buf);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
