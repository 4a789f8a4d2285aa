//! What stands beside the figures: the machine, as far as it matters, and the versions of everything that ran. No names of hosts
//! or folders.

use std::fs;
use std::process::Command;

use serde::Serialize;

use crate::contestants::{EXPRESS, FASTIFY, node};
use crate::world::{AUTH_DATABASE, World};

#[derive(Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: u64,
    pub kernel: String,
    /// Name and version, in the order in which they are told.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    pub fn describe(world: &World, contestants: &[&str]) -> anyhow::Result<Self> {
        let mut versions = vec![
            ("Sallyport".to_owned(), sallyport_version()),
            ("rustc".to_owned(), word(&said("rustc", &["--version"]), 1)),
            ("PostgreSQL".to_owned(), postgres_version(world)?),
            ("Redis".to_owned(), redis_version(world)),
        ];
        if contestants.contains(&EXPRESS) {
            versions.push(("Node.js".to_owned(), node::version().unwrap_or_default()));
            for name in [EXPRESS, FASTIFY] {
                for package in node::packages(name)? {
                    if !versions.contains(&package) {
                        versions.push(package);
                    }
                }
            }
        }
        let memory =
            line_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse::<u64>().unwrap_or_default();
        Ok(Self {
            processor: line_of("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory.div_ceil(1 << 20),
            kernel: format!(
                "Linux {}",
                fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()
            ),
            versions,
        })
    }
}

fn sallyport_version() -> String {
    let commit = said("git", &["rev-parse", "--short", "HEAD"]);
    let version = env!("CARGO_PKG_VERSION");
    if commit.is_empty() { version.to_owned() } else { format!("{version} ({commit})") }
}

fn postgres_version(world: &World) -> anyhow::Result<String> {
    let lines = world.servers.postgres.execute(AUTH_DATABASE, &["SHOW server_version"])?;
    Ok(lines.first().map(|line| word(line, 0)).unwrap_or_default())
}

/// From `redis_version:7.0.15` in the answer to `INFO server`.
fn redis_version(world: &World) -> String {
    let info = crate::seed::command(&world.state_url(), &["INFO", "server"]).ok();
    let info: String = info.and_then(|info| redis::from_redis_value(info).ok()).unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().to_owned()
}

/// What a program prints, or nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|it| it.status.success());
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

fn word(text: &str, index: usize) -> String {
    text.split_whitespace().nth(index).unwrap_or_default().to_owned()
}

/// The value of the first line `name : value` of a file of /proc.
fn line_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}
