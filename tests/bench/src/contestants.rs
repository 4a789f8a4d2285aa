//! Who competes: programs that serve the same routes from the same data, each with the processes whose cost counts as its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use local::output::Output;
use local::server::{Running, Server};

use self::sallyport::Tracing;
use crate::processes;
use crate::ready_printer::ReadyPrinter;
use crate::world::{AUTH_DATABASE, PROFILE_DATABASE, World};

pub mod node;
pub mod rust;
pub mod sallyport;

/// How long any of them may take to start.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// The processes that answer HTTP of those that run one for each core: as many as the machine that the bars were set on has.
pub const WORKERS: usize = 2;

/// A quota that is counted for every request and never used up.
pub const LIMIT: u32 = 1_000_000_000;

/// The names under which results are kept.
pub const EXPRESS: &str = "express";
pub const FASTIFY: &str = "fastify";
pub const MONOLITH: &str = "monolith";
pub const HELLO: &str = "hello";
pub const SALLYPORT: &str = "sallyport";
/// Another build of Sallyport, to see what a change brings.
pub const BASELINE: &str = "baseline";

/// Starts one by its name. `baseline`: where the binaries of that one are.
pub fn start(
    name: &str,
    world: &World,
    collector: SocketAddr,
    baseline: Option<&Path>,
) -> anyhow::Result<Contestant> {
    let started = match name {
        EXPRESS => node::express(world),
        FASTIFY => node::fastify(world),
        MONOLITH => rust::monolith(world),
        HELLO => rust::hello(),
        SALLYPORT => sallyport::sallyport(world, Tracing::as_shipped(collector)),
        BASELINE => {
            let folder = baseline.context("--baseline names no folder of binaries")?;
            sallyport::baseline(world, Tracing::as_shipped(collector), folder)
        }
        _ => anyhow::bail!("nobody here is called {name}"),
    };
    started.with_context(|| format!("{name} cannot be started"))
}

/// One of them, running. Its processes end when it is dropped.
pub struct Contestant {
    pub name: &'static str,
    /// Where its HTTP interface is.
    pub address: SocketAddr,
    /// From the start of its first process until all are ready.
    pub started_in: Duration,
    processes: Vec<Box<dyn Member>>,
}

/// A process of a contestant.
pub trait Member: Send {
    fn name(&self) -> &str;
    fn pid(&self) -> Option<u32>;
    fn output(&self) -> &Output;
    fn stop(&mut self) -> bool;
}

impl<S: Server> Member for Running<S> {
    fn name(&self) -> &str {
        Server::name(&**self)
    }

    fn pid(&self) -> Option<u32> {
        self.process().filter(|process| process.status().is_none()).map(local::process::Process::id)
    }

    fn output(&self) -> &Output {
        Server::output(&**self)
    }

    fn stop(&mut self) -> bool {
        Running::stop(self)
    }
}

/// A process with everything that it started, such as the workers of a cluster.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: String,
    pub pids: Vec<u32>,
}

impl Contestant {
    /// Its processes. Fails when one has ended.
    pub fn families(&self) -> anyhow::Result<Vec<Family>> {
        let family = |member: &dyn Member| {
            let (name, last) = (member.name(), member.output().tail(10));
            let pid = member.pid().with_context(|| format!("{name} has ended. It said:{last}"))?;
            Ok(Family { name: name.to_owned(), pids: processes::family(pid) })
        };
        self.processes.iter().map(|member| family(&**member)).collect()
    }

    /// Starts one that is a single program.
    fn of_program(
        name: &'static str,
        command: impl Fn(SocketAddr) -> Command + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let program = ReadyPrinter::start(name, START_LIMIT, command)?;
        let (started_in, address) = (began.elapsed(), program.socket_address());
        Ok(Self { name, address, started_in, processes: vec![Box::new(program)] })
    }

    /// Ends it in good order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        for member in self.processes.iter_mut().rev() {
            anyhow::ensure!(member.stop(), "{} had to be killed", member.name());
        }
        Ok(())
    }
}

/// What the contestants of ours are told about the world.
fn variables(world: &World) -> Vec<(&'static str, String)> {
    vec![
        ("STATE_REDIS_URL", world.state_url()),
        ("CACHE_REDIS_URL", world.cache_url()),
        ("AUTH_DATABASE_URL", world.database_url(AUTH_DATABASE)),
        ("PROFILE_DATABASE_URL", world.database_url(PROFILE_DATABASE)),
        ("LIMIT", LIMIT.to_string()),
    ]
}

/// The folder of this crate, where the Node contestants lie.
fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
