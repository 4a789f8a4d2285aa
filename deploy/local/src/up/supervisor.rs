//! Keeps servers running: starts them, starts them again when they die, stops them in order. Knows nothing of what
//! they do.

use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::identity::PidFiles;
use crate::output::{Output, say};
use crate::process::{Process, Program};
use crate::server::{LINES_TOLD, POLL, Server};
use crate::sys;

/// A server that lived this long did not fail because of how it was started: its next start is immediate.
const HEALTHY_LIFE: Duration = Duration::from_secs(10);

/// Waits before a server that keeps dying is started again; the last one repeats.
const BACKOFF: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// What depends on what: an earlier tier is stopped before a later one, which it needs to finish its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tier {
    Gateways,
    Services,
    Stores,
}

/// The user wants to stop.
#[derive(Debug)]
pub(super) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

enum Event {
    StopAsked,
    Exit { worker: usize, status: ExitStatus },
}

/// A line of the table of what runs where.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) address: String,
    pub(super) admin: Option<String>,
}

struct Worker {
    server: Arc<dyn Server>,
    tier: Tier,
    process: Option<Process>,
    ready: bool,
    started: Instant,
    /// Deaths in a row that came soon after the start.
    early_deaths: usize,
    /// When to start it again.
    due: Option<Instant>,
}

pub(super) struct Supervisor {
    workers: Vec<Worker>,
    pids: PidFiles,
    sender: Sender<Event>,
    events: Receiver<Event>,
}

impl Supervisor {
    pub(super) fn new(pids: PidFiles) -> Self {
        let (sender, events) = mpsc::channel();
        Self { workers: Vec::new(), pids, sender, events }
    }

    /// Takes over the signals that end a program: from now on they mean that the user wants to stop.
    pub(super) fn obey_signals(&self) -> anyhow::Result<()> {
        let sender = self.sender.clone();
        sys::catch_signals(move |_| drop(sender.send(Event::StopAsked)))?;
        Ok(())
    }

    /// Starts a server, to be kept running from now on.
    pub(super) fn add(&mut self, tier: Tier, server: Arc<dyn Server>) -> anyhow::Result<()> {
        let (started, due) = (Instant::now(), None);
        let worker = Worker { server, tier, process: None, ready: false, started, early_deaths: 0, due };
        self.workers.push(worker);
        self.launch(self.workers.len() - 1)
    }

    /// Waits until every server is ready. Fails with the last lines of one that ends or takes longer than `limit`.
    pub(super) fn wait_ready(&mut self, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            self.workers.iter_mut().filter(|worker| !worker.ready).for_each(Worker::check_ready);
            let Some(waiting) = self.workers.iter().find(|worker| !worker.ready) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(waiting.failure(&format!("was not ready after {} s", limit.as_secs())));
            }
            match self.events.recv_timeout(POLL) {
                Ok(Event::StopAsked) => return Err(Interrupted.into()),
                Ok(Event::Exit { worker, status }) if !self.workers[worker].ready => {
                    return Err(self.workers[worker].failure(&format!("ended at start ({status})")));
                }
                Ok(Event::Exit { worker, status }) => self.schedule(worker, status),
                Err(_) => self.start_due(),
            }
        }
    }

    /// Runs programs that end by themselves, all at once, and waits until each has succeeded.
    pub(super) fn complete(&mut self, tasks: Vec<Task>, limit: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        let mut running = Vec::new();
        for Task { name, program, output } in tasks {
            let process = program.spawn().with_context(|| format!("cannot run {name}"))?;
            running.push((name, process, output));
        }
        while let Some((name, process, output)) = running.first() {
            let said = || output.tail(LINES_TOLD);
            match process.wait(POLL) {
                Some(status) if status.success() => drop(running.remove(0)),
                Some(status) => anyhow::bail!("{name} failed ({status}). It said:{}", said()),
                None if Instant::now() >= deadline => {
                    anyhow::bail!("{name} took longer than {} s. It said:{}", limit.as_secs(), said())
                }
                None => {}
            }
            match self.events.try_recv() {
                Ok(Event::StopAsked) => return Err(Interrupted.into()),
                Ok(Event::Exit { worker, status }) => self.schedule(worker, status),
                Err(_) => self.start_due(),
            }
        }
        Ok(())
    }

    /// Keeps everything running until the user wants to stop.
    pub(super) fn watch(&mut self) -> anyhow::Result<()> {
        loop {
            self.start_due();
            let due = self.workers.iter().filter_map(|worker| worker.due).min();
            let event = match due {
                Some(due) => self.events.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => self.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::StopAsked) => return Ok(()),
                Ok(Event::Exit { worker, status }) => self.schedule(worker, status),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("nothing is left to supervise"),
            }
        }
    }

    /// Stops everything, tier by tier, and kills what takes too long. A signal meanwhile kills the rest at once. True
    /// when everything ended by itself.
    pub(super) fn stop(&mut self) -> bool {
        let mut all_in_order = true;
        for tier in [Tier::Gateways, Tier::Services, Tier::Stores] {
            let mut stopping: Vec<&Worker> = self.workers.iter().filter(|it| it.is_stoppable(tier)).collect();
            if stopping.is_empty() {
                continue;
            }
            let names: Vec<&str> = stopping.iter().map(|worker| worker.server.name()).collect();
            say(&format!("Stopping {} ...", names.join(", ")));
            for worker in &stopping {
                worker.ask_to_stop();
            }
            let began = Instant::now();
            let mut hurried = false;
            loop {
                stopping.retain(|worker| worker.is_running());
                let Some(slowest) = stopping.iter().map(|worker| worker.server.stop_limit()).max() else {
                    break;
                };
                if hurried || began.elapsed() >= slowest {
                    for worker in stopping.drain(..) {
                        say(&format!("{} takes too long: killing it.", worker.server.name()));
                        worker.kill();
                        all_in_order = false;
                    }
                }
                hurried |= matches!(self.events.recv_timeout(POLL), Ok(Event::StopAsked));
            }
        }
        for worker in &self.workers {
            self.pids.forget(worker.server.name());
        }
        if !self.workers.is_empty() {
            say("Everything is stopped.");
        }
        all_in_order
    }

    /// What runs where, from what people talk to down to the stores.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |worker: &Worker| Row {
            name: worker.server.name().to_owned(),
            pid: worker.process.as_ref().map_or(0, Process::id),
            address: worker.server.address(),
            admin: worker.server.admin(),
        };
        let mut workers: Vec<&Worker> = self.workers.iter().collect();
        workers.sort_by_key(|worker| worker.tier);
        workers.into_iter().map(row).collect()
    }

    fn launch(&mut self, index: usize) -> anyhow::Result<()> {
        let worker = &mut self.workers[index];
        let sender = self.sender.clone();
        let name = worker.server.name();
        worker.started = Instant::now();
        let program = worker.server.program()?;
        let process = program
            .spawn_then(move |status| drop(sender.send(Event::Exit { worker: index, status })))
            .with_context(|| format!("cannot start {name}"))?;
        self.pids.record(name, process.id())?;
        worker.process = Some(process);
        Ok(())
    }

    /// Notes that a worker died, and when to start it again.
    fn schedule(&mut self, index: usize, status: ExitStatus) {
        let worker = &mut self.workers[index];
        worker.process = None;
        let output = worker.server.output();
        let unseen = if output.is_hidden() { output.tail(LINES_TOLD) } else { String::new() };
        worker.plan_restart(&format!("ended ({status})"), &unseen);
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        for index in 0..self.workers.len() {
            if self.workers[index].due.is_none_or(|due| due > now) {
                continue;
            }
            self.workers[index].due = None;
            match self.launch(index) {
                Ok(()) => self.workers[index].tell_restart(),
                Err(error) => self.workers[index].plan_restart(&format!("did not start ({error:#})"), ""),
            }
        }
    }
}

/// A program that ends by itself, such as a migration.
pub(super) struct Task {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) output: Output,
}

impl Worker {
    fn check_ready(&mut self) {
        let pid = self.process.as_ref().map(Process::id);
        self.ready = pid.is_some_and(|pid| self.server.is_ready(pid));
    }

    fn failure(&self, what: &str) -> anyhow::Error {
        anyhow::anyhow!("{} {what}. It said:{}", self.server.name(), self.server.output().tail(LINES_TOLD))
    }

    fn plan_restart(&mut self, why: &str, last_lines: &str) {
        self.early_deaths = if self.started.elapsed() < HEALTHY_LIFE { self.early_deaths + 1 } else { 0 };
        let wait = BACKOFF[self.early_deaths.saturating_sub(1).min(BACKOFF.len() - 1)];
        let when = if wait.is_zero() { "now".to_owned() } else { format!("in {} ms", wait.as_millis()) };
        say(&format!("{} {why}; starting it again {when}.{last_lines}", self.server.name()));
        self.due = Some(Instant::now() + wait);
    }

    fn tell_restart(&self) {
        let pid = self.process.as_ref().map_or(0, Process::id);
        say(&format!("{} started again (pid {pid}).", self.server.name()));
    }

    fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.status().is_none())
    }

    fn is_stoppable(&self, tier: Tier) -> bool {
        self.tier == tier && self.is_running()
    }

    fn ask_to_stop(&self) {
        self.process.iter().for_each(|process| process.signal(self.server.stop_signal()));
    }

    fn kill(&self) {
        self.process.iter().for_each(Process::kill);
    }
}

#[cfg(test)]
mod tests;
