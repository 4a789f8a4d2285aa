//! What every server we start has in common: a program, a way to tell that it is ready, an orderly end. The
//! servers themselves are `postgres`, `redis` and `service`.

use std::ops::Deref;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::output::Output;
use crate::process::{Process, Program, Signal};

/// How often a server that is starting is asked whether it is ready.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Lines of a server's output that go into an error message.
pub(crate) const LINES_TOLD: usize = 20;

/// A server that can be started, and started again, on the same port and data.
pub trait Server: Send + Sync {
    fn name(&self) -> &str;

    /// Where it serves, as people would type it.
    fn address(&self) -> String;

    /// Where its admin port is, if it has one.
    fn admin(&self) -> Option<String> {
        None
    }

    /// Where its output goes.
    fn output(&self) -> &Output;

    /// The program to run, prepared anew for each start.
    fn program(&self) -> anyhow::Result<Program>;

    /// The process `pid`, started from `program`, serves.
    fn is_ready(&self, pid: u32) -> bool;

    /// The signal for a quick and orderly end.
    fn stop_signal(&self) -> Signal {
        Signal::Terminate
    }

    /// How long the orderly end may take.
    fn stop_limit(&self) -> Duration {
        Duration::from_secs(15)
    }
}

/// A server and its process. Dropping it kills the process.
pub struct Running<S: Server> {
    server: S,
    process: Option<Process>,
}

impl<S: Server> Running<S> {
    /// Starts it and waits until it is ready, at most `limit`.
    pub fn start(server: S, limit: Duration) -> anyhow::Result<Self> {
        let mut running = Self::launch(server)?;
        running.wait_ready(limit)?;
        Ok(running)
    }

    /// Starts it without waiting.
    pub fn launch(server: S) -> anyhow::Result<Self> {
        let mut running = Self { server, process: None };
        running.spawn()?;
        Ok(running)
    }

    /// Waits until it is ready. Fails with its last lines when it ends or takes longer than `limit`.
    pub fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let name = self.server.name();
        let process = self.process.as_ref().with_context(|| format!("{name} was stopped"))?;
        while !self.server.is_ready(process.id()) {
            let last_lines = || self.server.output().tail(LINES_TOLD);
            if let Some(status) = process.status() {
                anyhow::bail!("{name} ended at start ({status}). It said:{}", last_lines());
            }
            if Instant::now() >= deadline {
                anyhow::bail!("{name} was not ready after {} s. It said:{}", limit.as_secs(), last_lines());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts a stopped or killed server again on the same port and data, and waits until it is ready.
    pub fn start_again(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.stop();
        self.spawn()?;
        self.wait_ready(limit)
    }

    /// Ends it in good order, at the latest with a kill. True when it needed no kill.
    pub fn stop(&mut self) -> bool {
        let process = self.process.take();
        process.is_none_or(|process| process.end(self.server.stop_signal(), self.server.stop_limit()))
    }

    /// Kills it and everything it started, as `kill -9` would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Freezes it: connections stay open, nothing answers.
    pub fn pause(&self) {
        self.process.iter().for_each(Process::pause);
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.process.iter().for_each(Process::resume);
    }

    /// Its process, unless it was stopped or killed. The process may have ended by itself.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    fn spawn(&mut self) -> anyhow::Result<()> {
        let program = self.server.program()?;
        let process = program.spawn().with_context(|| format!("cannot start {}", self.server.name()))?;
        self.process = Some(process);
        Ok(())
    }
}

impl<S: Server> Deref for Running<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.server
    }
}
