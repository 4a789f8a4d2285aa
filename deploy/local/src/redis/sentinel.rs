//! A Redis master with two replicas under three Sentinels, for tests.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use super::{Detour, Instance, Redis, Role, START_LIMIT, find, wait_until};
use crate::output::Output;
use crate::process::{Program, Signal};
use crate::server::{Running, Server};
use crate::sockets;

/// What the Sentinels call the master.
const MASTER: &str = "main";
const SENTINELS: usize = 3;
const REPLICAS: usize = 2;
/// A Sentinel that says nothing for so long has said all.
const SILENCE: Duration = Duration::from_millis(50);
/// How long the master may be silent before another one takes its place.
const DOWN_AFTER: Duration = Duration::from_millis(3500);

/// A running set of servers and those who watch over them. Dropping it kills them all.
pub struct Watched {
    /// The first one is the master, as long as nothing fails.
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Running<Sentinel>>,
}

impl Watched {
    /// All of them on free ports, with their data in `folder`, which the caller removes at the end.
    pub fn temporary(role: Role, folder: &Path) -> anyhow::Result<Self> {
        Self::through(role, folder, &mut |_, port| port)
    }

    /// The same where `detour` says at which port everybody else is to find the server of a number.
    pub fn through(role: Role, folder: &Path, detour: Detour<'_>) -> anyhow::Result<Self> {
        let (mut servers, mut master) = (Vec::new(), None);
        for number in 0..=REPLICAS {
            let (folder, port) = (folder.join(number.to_string()), sockets::free_port()?);
            let told = detour(number, port);
            let mut instance = Instance::open(role, &folder, port, Output::kept())?.replicated();
            if told != port {
                instance = instance.set("replica-announce-port", &[&told.to_string()]);
            }
            if let Some(master) = master {
                instance = instance.set("replicaof", &["127.0.0.1", &u16::to_string(&master)]);
            }
            servers.push(Redis::start(instance, START_LIMIT)?);
            master.get_or_insert(told);
        }
        let master = master.context("there is a master")?;
        wait_until("the replicas follow their master", || {
            servers[0].says("INFO replication", &["connected_slaves:2", "min_slaves_good_slaves:2"])
        })?;
        let sentinels = (0..SENTINELS)
            .map(|number| {
                let folder = folder.join(format!("sentinel-{number}"));
                Running::start(Sentinel::open(&folder, master)?, START_LIMIT)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        wait_until("the Sentinels know each other and all servers", || {
            sentinels.iter().all(|sentinel| sentinel.knows_all())
        })?;
        Ok(Self { servers, sentinels })
    }

    pub fn url(&self) -> String {
        self.url_of(&[0, 1, 2])
    }

    /// The same for one who knows only some of the Sentinels.
    pub fn url_of(&self, sentinels: &[usize]) -> String {
        let places = sentinels.iter().map(|number| format!("127.0.0.1:{}", self.sentinels[*number].port));
        format!("redis+sentinel://{}/{MASTER}", places.collect::<Vec<_>>().join(","))
    }
}

/// One Sentinel.
pub struct Sentinel {
    program: &'static str,
    configuration: PathBuf,
    port: u16,
    output: Output,
}

impl Sentinel {
    /// Has it take a server for down only after such a silence.
    pub fn set_patience(&self, silence: Duration) {
        ask(self.port, &format!("SENTINEL SET {MASTER} down-after-milliseconds {}", silence.as_millis()));
    }

    /// What it knows about each replica under a name such as `flags`, which is a list with commas.
    pub fn of_replicas(&self, field: &str) -> Vec<String> {
        let answer = ask(self.port, &format!("SENTINEL REPLICAS {MASTER}"));
        let lines: Vec<_> = answer.lines().collect();
        // Name, length of the value, value.
        lines.windows(3).filter(|it| it[0] == field).map(|it| it[2].to_owned()).collect()
    }

    fn open(folder: &Path, master: u16) -> anyhow::Result<Self> {
        let program = find().context("redis-server was not found")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let (configuration, port) = (folder.join("sentinel.conf"), sockets::free_port()?);
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.display()),
            format!("sentinel monitor {MASTER} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {MASTER} {}", DOWN_AFTER.as_millis()),
            format!("sentinel failover-timeout {MASTER} 10000"),
            format!("sentinel parallel-syncs {MASTER} {REPLICAS}"),
        ];
        fs::write(&configuration, lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", configuration.display()))?;
        Ok(Self { program, configuration, port, output: Output::kept() })
    }

    /// It knows of all other Sentinels and of all replicas.
    fn knows_all(&self) -> bool {
        let answer = ask(self.port, &format!("SENTINEL MASTER {MASTER}"));
        let lines: Vec<_> = answer.lines().collect();
        let is = |name: &str, value: usize| {
            let place = lines.iter().position(|line| *line == name);
            place.and_then(|place| lines.get(place + 2)).is_some_and(|line| *line == value.to_string())
        };
        is("num-slaves", REPLICAS) && is("num-other-sentinels", SENTINELS - 1)
    }
}

impl Server for Sentinel {
    fn name(&self) -> &'static str {
        "redis-sentinel"
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        let mut command = Command::new(self.program);
        command.arg(&self.configuration).arg("--sentinel");
        Ok(Program::new(command, self.output.clone()).death_signal(Signal::Terminate))
    }

    fn is_ready(&self, pid: u32) -> bool {
        ask(self.port, "INFO server").lines().any(|line| line == format!("process_id:{pid}"))
    }
}

/// Sends a command to a Sentinel, which knows no `QUIT`, and returns what comes back before it falls silent.
fn ask(port: u16, command: &str) -> String {
    let mut answer = Vec::new();
    let mut exchange = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        stream.read_to_end(&mut answer).map(drop)
    };
    // It always ends with a time-out.
    let _ = exchange();
    String::from_utf8_lossy(&answer).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_server_becomes_master_when_it_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut watched = Watched::temporary(Role::State, folder.path()).unwrap();
        watched.servers[0].kill();
        wait_until("another one is master", || {
            watched.servers[1..].iter().any(|server| server.says("INFO replication", &["role:master"]))
        })
        .unwrap();
        assert!(watched.url().ends_with("/main"));
    }
}
