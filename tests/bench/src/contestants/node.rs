//! The two Node contestants: their packages, installed from the lock files, and their processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use local::process;

use super::{Contestant, EXPRESS, FASTIFY, WORKERS, sources, variables};
use crate::world::World;

/// The oldest major version that all packages run on.
const OLDEST: u32 = 20;

const INSTALL_LIMIT: Duration = Duration::from_secs(300);

pub fn express(world: &World) -> anyhow::Result<Contestant> {
    start(EXPRESS, world)
}

pub fn fastify(world: &World) -> anyhow::Result<Contestant> {
    start(FASTIFY, world)
}

/// Why the Node contestants cannot run here, if they cannot.
pub fn missing() -> Option<String> {
    let version = version();
    let major =
        version.as_deref().and_then(|it| it.strip_prefix('v')?.split('.').next()?.parse::<u32>().ok());
    match (major, answers("npm")) {
        (Some(major), true) if major >= OLDEST => None,
        (None, _) => Some(format!("Node.js {OLDEST} or newer is not on PATH")),
        (Some(_), true) => {
            Some(format!("Node.js {} is too old: {OLDEST} is needed", version.unwrap_or_default()))
        }
        (Some(_), false) => Some("npm is not on PATH".to_owned()),
    }
}

/// What `node --version` says.
pub fn version() -> Option<String> {
    let output = Command::new("node").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn answers(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Installs the packages of both exactly as locked, unless that is done already. Their scripts are not run: the native part of
/// argon2 comes prebuilt.
pub fn install() -> anyhow::Result<()> {
    for name in [EXPRESS, FASTIFY] {
        let folder = folder(name);
        if is_installed(&folder)? {
            continue;
        }
        let mut command = Command::new("npm");
        command
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder);
        process::run(command, INSTALL_LIMIT).with_context(|| format!("npm ci failed for {name}"))?;
        fs::copy(folder.join("package-lock.json"), stamp(&folder))?;
    }
    Ok(())
}

/// The exact versions of a contestant's own dependencies.
pub fn packages(name: &str) -> anyhow::Result<Vec<(String, String)>> {
    let package: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder(name).join("package.json"))?)?;
    let dependencies = package["dependencies"].as_object().context("package.json has no dependencies")?;
    let version = |version: &serde_json::Value| version.as_str().unwrap_or_default().to_owned();
    Ok(dependencies.iter().map(|(name, it)| (name.clone(), version(it))).collect())
}

/// The lock file that was installed is the one that lies there now.
fn is_installed(folder: &Path) -> io::Result<bool> {
    let wanted = fs::read(folder.join("package-lock.json"))?;
    Ok(fs::read(stamp(folder)).is_ok_and(|installed| installed == wanted))
}

fn stamp(folder: &Path) -> PathBuf {
    folder.join("node_modules").join(".installed-lock.json")
}

fn folder(name: &str) -> PathBuf {
    sources().join("contestants").join(name)
}

fn start(name: &'static str, world: &World) -> anyhow::Result<Contestant> {
    let (folder, variables) = (folder(name), variables(world));
    let command = move |address: std::net::SocketAddr| {
        let mut command = Command::new("node");
        command.arg("server.js").current_dir(&folder);
        command.env("NODE_ENV", "production").env("WORKERS", WORKERS.to_string());
        command
            .env("PORT", address.port().to_string())
            .envs(variables.iter().map(|(name, value)| (name, value)));
        command
    };
    Contestant::of_program(name, command)
}
