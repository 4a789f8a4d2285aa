//! The supervisor over shell scripts in the place of servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

/// A shell script in the place of a server. It keeps a journal through the function `note`, and is ready once it
/// noted that it started.
struct Script {
    name: &'static str,
    body: String,
    journal: PathBuf,
    output: Output,
}

impl Script {
    fn new(name: &'static str, journal: &Path, script: &str) -> Arc<Self> {
        let body = format!("note() {{ echo {name}-$1 >> {}; }}; {script}", journal.display());
        Arc::new(Self { name, body, journal: journal.to_owned(), output: Output::hidden() })
    }

    fn starts(&self) -> usize {
        lines(&self.journal).iter().filter(|it| **it == format!("{}-starts", self.name)).count()
    }
}

impl Server for Script {
    fn name(&self) -> &str {
        self.name
    }

    fn address(&self) -> String {
        String::new()
    }

    fn output(&self) -> &Output {
        &self.output
    }

    fn program(&self) -> anyhow::Result<Program> {
        let mut command = Command::new("sh");
        command.args(["-c", &self.body]);
        Ok(Program::new(command, self.output.clone()))
    }

    fn is_ready(&self, _pid: u32) -> bool {
        self.starts() > 0
    }
}

fn lines(journal: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Serves until it is asked to stop, and notes that too.
const SERVE: &str = "trap 'note stops; exit 0' TERM; note starts; while :; do sleep 0.02; done";

fn supervisor() -> (Supervisor, PathBuf, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new(PidFiles::open(folder.path().join("run")).unwrap());
    (supervisor, folder.path().join("journal"), folder)
}

/// Lets the supervisor watch until `condition` holds.
fn watch_until(supervisor: &mut Supervisor, condition: impl Fn() -> bool + Send + 'static) {
    let stop = supervisor.sender.clone();
    let deadline = Instant::now() + LIMIT;
    std::thread::spawn(move || {
        while !condition() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        stop.send(Event::StopAsked)
    });
    supervisor.watch().unwrap();
}

#[test]
fn a_worker_that_dies_is_started_again_and_recorded_under_its_new_id() {
    let (mut supervisor, journal, folder) = supervisor();
    let server = Script::new("worker", &journal, SERVE);
    supervisor.add(Tier::Services, server.clone()).unwrap();
    supervisor.wait_ready(LIMIT).unwrap();
    let first = supervisor.rows()[0].pid;
    supervisor.workers[0].process.as_ref().unwrap().signal(crate::process::Signal::Kill);

    watch_until(&mut supervisor, move || server.starts() == 2);

    let second = supervisor.rows()[0].pid;
    assert_ne!(first, second);
    let recorded = std::fs::read_to_string(folder.path().join("run/worker.pid")).unwrap();
    assert_eq!(recorded.lines().next(), Some(second.to_string().as_str()));
    assert!(supervisor.stop());
    assert!(!folder.path().join("run/worker.pid").exists());
}

#[test]
fn a_worker_that_keeps_dying_is_started_ever_more_slowly() {
    let (mut supervisor, journal, _folder) = supervisor();
    let server = Script::new("worker", &journal, "note starts; exit 3");
    let began = Instant::now();
    supervisor.add(Tier::Services, server.clone()).unwrap();

    watch_until(&mut supervisor, move || server.starts() == 4);

    assert!(began.elapsed() >= BACKOFF[0] + BACKOFF[1] + BACKOFF[2]);
    assert!(began.elapsed() < LIMIT);
}

#[test]
fn a_worker_that_ends_at_start_is_reported_with_its_last_words() {
    let (mut supervisor, journal, _folder) = supervisor();
    let server = Script::new("worker", &journal, "echo no such database >&2; exit 64");
    supervisor.add(Tier::Services, server).unwrap();

    let error = supervisor.wait_ready(LIMIT).unwrap_err().to_string();

    assert!(error.contains("worker ended at start (exit status: 64)"), "{error}");
    assert!(error.contains("no such database"), "{error}");
}

#[test]
fn gateways_stop_before_services_and_services_before_stores() {
    let (mut supervisor, journal, _folder) = supervisor();
    for (tier, name) in [(Tier::Stores, "store"), (Tier::Services, "service"), (Tier::Gateways, "gateway")] {
        supervisor.add(tier, Script::new(name, &journal, SERVE)).unwrap();
    }
    supervisor.wait_ready(LIMIT).unwrap();

    assert!(supervisor.stop());

    let stops: Vec<String> = lines(&journal).into_iter().filter(|it| it.ends_with("stops")).collect();
    assert_eq!(stops, ["gateway-stops", "service-stops", "store-stops"]);
}

#[test]
fn a_second_signal_kills_what_does_not_stop() {
    let (mut supervisor, journal, _folder) = supervisor();
    let stubborn = Script::new("worker", &journal, "trap '' TERM; note starts; while :; do sleep 0.02; done");
    supervisor.add(Tier::Services, stubborn).unwrap();
    supervisor.wait_ready(LIMIT).unwrap();
    supervisor.sender.send(Event::StopAsked).unwrap();
    let began = Instant::now();

    assert!(!supervisor.stop());

    assert!(began.elapsed() < LIMIT);
    assert!(!supervisor.workers[0].is_running());
}

#[test]
fn a_task_that_fails_is_reported_with_its_last_words() {
    let (mut supervisor, _journal, _folder) = supervisor();
    let output = Output::kept();
    let mut command = Command::new("sh");
    command.args(["-c", "echo relation exists; exit 1"]);
    let program = Program::new(command, output.clone());
    let task = Task { name: "migrate".into(), program, output };

    let error = supervisor.complete(vec![task], LIMIT).unwrap_err().to_string();

    assert!(error.contains("migrate failed (exit status: 1)"), "{error}");
    assert!(error.contains("relation exists"), "{error}");
}
