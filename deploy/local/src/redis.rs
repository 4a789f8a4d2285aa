//! A private Redis server in one of its two roles: the truth about sessions, or a cache; alone, or several of them as a Cluster or
//! under Sentinels. Knows no key.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::output::Output;
use crate::process::{Program, Signal};
use crate::server::{POLL, Running, Server};
use crate::sockets;

mod cluster;
mod sentinel;

pub use cluster::Cluster;
pub use sentinel::{Sentinel, Watched};

/// The oldest major version the services' scripts are written for.
const OLDEST: u32 = 7;

/// Names the server goes by; Valkey is the fork that several distributions ship in its place.
const NAMES: [&str; 4] =
    ["redis-server", "valkey-server", "/opt/homebrew/bin/redis-server", "/usr/local/bin/redis-server"];

/// How long it may take to answer whether it is ready.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

/// How long a temporary server may take until it is ready.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How long a set of servers may take until all of them know each other.
const SET_LIMIT: Duration = Duration::from_secs(60);

/// Says at which port others are to find a port of the server of that number in a set, such as a proxy's.
type Detour<'a> = &'a mut dyn FnMut(usize, u16) -> u16;

/// A running Redis server.
pub type Redis = Running<Instance>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sessions: never evicts, and an acknowledged write is on disk.
    State,
    /// Profiles, limits, fan-out: evicts, keeps nothing on disk.
    Cache,
}

/// A data folder and how to serve it.
pub struct Instance {
    program: &'static str,
    role: Role,
    folder: PathBuf,
    port: u16,
    /// Settings besides those of the role.
    settings: Vec<String>,
    output: Output,
}

impl Redis {
    /// A server on a free port with its data in `folder`, which the caller removes at the end. For tests.
    pub fn temporary(role: Role, folder: &Path) -> anyhow::Result<Self> {
        let instance = Instance::open(role, folder, sockets::free_port()?, Output::kept())?;
        Self::start(instance, START_LIMIT)
    }
}

impl Instance {
    pub fn open(role: Role, folder: &Path, port: u16, output: Output) -> anyhow::Result<Self> {
        let program = find().with_context(|| format!("redis-server {OLDEST} or newer was not found"))?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { program, role, folder: folder.to_owned(), port, settings: Vec::new(), output })
    }

    /// Adds a setting, as in a configuration file; what is set later wins.
    #[must_use]
    pub fn set(mut self, name: &str, values: &[&str]) -> Self {
        self.settings.push(format!("--{name}"));
        self.settings.extend(values.iter().map(|value| (*value).to_owned()));
        self
    }

    /// The member of a set that goes on when one of them is lost: writes only while a replica follows closely.
    fn replicated(self) -> Self {
        self.set("min-replicas-to-write", &["1"])
            .set("min-replicas-max-lag", &["1"])
            .set("repl-diskless-sync-delay", &["0"])
            .set("repl-timeout", &["10"])
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The answer to `INFO`, or `None` when nobody answers in time.
    fn info(&self) -> Option<String> {
        ask(self.port, "INFO")
    }

    /// The answer to a command, as it comes over the wire.
    fn told(&self, command: &str) -> anyhow::Result<String> {
        let answer = ask(self.port, command).with_context(|| format!("no answer to {command}"))?;
        anyhow::ensure!(!answer.starts_with('-'), "{command}: {}", answer.trim());
        Ok(answer)
    }

    /// Whether the answer to a command has all of these lines.
    fn says(&self, command: &str, lines: &[&str]) -> bool {
        let answer = ask(self.port, command).unwrap_or_default();
        lines.iter().all(|line| answer.lines().any(|it| it == *line))
    }
}

impl Server for Instance {
    fn name(&self) -> &'static str {
        match self.role {
            Role::State => "redis-state",
            Role::Cache => "redis-cache",
        }
    }

    fn address(&self) -> String {
        self.url()
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        let mut command = Command::new(self.program);
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
            .args(["--loglevel", "warning", "--logfile", "", "--save", ""])
            .arg("--dir")
            .arg(&self.folder);
        command.args(match self.role {
            Role::State => {
                ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
                    .as_slice()
            }
            Role::Cache => {
                &["--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]
            }
        });
        command.args(&self.settings);
        Ok(Program::new(command, self.output.clone()).death_signal(Signal::Terminate))
    }

    /// It is this very process that answers on the port, and its data is loaded.
    fn is_ready(&self, pid: u32) -> bool {
        let info = self.info().unwrap_or_default();
        let says = |line: &str| info.lines().any(|it| it == line);
        says(&format!("process_id:{pid}")) && says("loading:0")
    }
}

/// Sends an inline command and returns what comes back; `None` when it does not come in time.
fn ask(port: u16, command: &str) -> Option<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Waits until something is true of a set of servers.
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + SET_LIMIT;
    while !condition() {
        anyhow::ensure!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(POLL);
    }
    Ok(())
}

/// A Redis server program that is new enough, on PATH or where Homebrew puts it.
pub fn find() -> Option<&'static str> {
    NAMES.into_iter().find(|name| {
        let output = Command::new(name).arg("--version").output();
        let version = output.ok().and_then(|it| major_version(&String::from_utf8_lossy(&it.stdout)));
        version.is_some_and(|major| major >= OLDEST)
    })
}

/// The major version in `Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64`.
fn major_version(line: &str) -> Option<u32> {
    line.split_once("v=")?.1.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends inline commands and returns the lines of the answer; nothing when it does not come in time.
    fn ask(redis: &Redis, commands: &str) -> Vec<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
        stream.set_read_timeout(Some(ANSWER_LIMIT)).unwrap();
        stream.write_all(format!("{commands}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.lines().map(str::to_owned).collect()
    }

    #[test]
    fn state_survives_a_kill_and_a_cache_starts_empty() {
        for (role, expected) in [(Role::State, vec!["$5", "value", "+OK"]), (Role::Cache, vec!["$-1", "+OK"])]
        {
            let folder = tempfile::tempdir().unwrap();
            let mut redis = Redis::temporary(role, folder.path()).unwrap();
            let port = redis.port();
            assert_eq!(ask(&redis, "SET key value"), ["+OK", "+OK"]);

            redis.kill();
            assert!(redis.process().is_none());
            redis.start_again(START_LIMIT).unwrap();

            assert_eq!(redis.port(), port);
            assert_eq!(ask(&redis, "GET key"), expected);
            assert!(redis.stop());
        }
    }

    #[test]
    fn a_paused_server_answers_nobody_until_it_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let redis = Redis::temporary(Role::Cache, folder.path()).unwrap();

        redis.pause();
        assert!(ask(&redis, "PING").is_empty());
        redis.resume();
        assert_eq!(ask(&redis, "PING"), ["+PONG", "+OK"]);
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let taken = sockets::loopback().unwrap();
        let port = taken.local_addr().unwrap().port();
        let instance = Instance::open(Role::State, folder.path(), port, Output::kept()).unwrap();

        let error = Redis::start(instance, START_LIMIT).err().unwrap().to_string();

        assert!(error.contains("redis-state ended at start"), "{error}");
        assert!(error.contains("Address already in use"), "{error}");
    }

    #[test]
    fn the_major_version_is_read_from_redis_and_from_valkey() {
        assert_eq!(major_version("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some(7));
        assert_eq!(major_version("Valkey server v=8.1.0 sha=00000000:0"), Some(8));
        assert_eq!(major_version("something else"), None);
    }
}
