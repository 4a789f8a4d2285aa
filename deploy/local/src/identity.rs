//! Which process is which: start times tell a process from a later one with the same id, and pid files let the
//! next supervisor end exactly what an earlier one left behind. Starts nothing.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::process::Signal;
use crate::sys;

/// How long a leftover may take to end by itself before it is killed.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(10);

/// A folder with one file per process we started: its id and start time.
pub struct PidFiles {
    folder: PathBuf,
}

/// A process that an earlier supervisor started and left running.
pub struct Leftover {
    pub name: String,
    pub pid: u32,
}

impl PidFiles {
    pub fn open(folder: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self { folder })
    }

    /// Notes that the process `pid` runs as `name`.
    pub fn record(&self, name: &str, pid: u32) -> anyhow::Result<()> {
        let Some(start) = start_of(pid) else {
            return Ok(());
        };
        let file = self.file(name);
        fs::write(&file, format!("{pid}\n{start}\n"))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Notes that nothing runs as `name` any more.
    pub fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.file(name));
    }

    /// The recorded processes that still run. A process that merely got the id of one is not among them.
    pub fn leftovers(&self) -> anyhow::Result<Vec<Leftover>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let content = fs::read_to_string(&path)?;
            let mut lines = content.lines();
            let (pid, start) = (lines.next().and_then(|pid| pid.parse().ok()), lines.next());
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match (pid, start) {
                (Some(pid), Some(start)) if start_of(pid).is_some_and(|current| current == start) => {
                    found.push(Leftover { name, pid });
                }
                _ => fs::remove_file(&path)?,
            }
        }
        Ok(found)
    }

    /// Ends a leftover with everything it started: with SIGINT, then SIGKILL.
    pub fn end(&self, leftover: &Leftover) {
        let family = descendants(leftover.pid);
        // SIGINT is a fast, orderly stop for PostgreSQL (SIGTERM would wait for its clients), Redis and services.
        sys::send(leftover.pid, Signal::Interrupt);
        sys::send(leftover.pid, Signal::Continue);
        if !gone_within(&[leftover.pid], LEFTOVER_LIMIT) {
            sys::send(leftover.pid, Signal::Kill);
            for pid in &family {
                sys::send(*pid, Signal::Kill);
            }
            gone_within(&[leftover.pid], LEFTOVER_LIMIT);
        }
        gone_within(&family, LEFTOVER_LIMIT);
        self.forget(&leftover.name);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pid"))
    }
}

/// Waits until none of `pids` runs, at most `limit`. True when none does.
pub(crate) fn gone_within(pids: &[u32], limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while pids.iter().any(|pid| is_running(*pid)) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// The process exists and is more than a zombie.
pub fn is_running(pid: u32) -> bool {
    sys::exists(pid) && start_of(pid).is_some()
}

/// Every process below `pid`, children first.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (child, parent) in parents() {
        children.entry(parent).or_default().push(child);
    }
    let mut found = children.remove(&pid).unwrap_or_default();
    let mut next = 0;
    while let Some(child) = found.get(next) {
        found.extend(children.remove(child).unwrap_or_default());
        next += 1;
    }
    found
}

/// When the process started, as a text that no later process with the same id can have. `None` when it is gone or
/// a zombie.
#[cfg(target_os = "linux")]
pub(crate) fn start_of(pid: u32) -> Option<String> {
    let stat = Stat::of(pid)?;
    // Start times count from the boot, so the boot is part of the identity.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    (stat.state != "Z" && stat.state != "X").then(|| format!("{} {}", stat.start, boot.trim()))
}

/// The name of the program that the process runs.
#[cfg(target_os = "linux")]
pub(crate) fn program_of(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

#[cfg(target_os = "linux")]
fn parents() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, Stat::of(pid)?.parent))).collect()
}

#[cfg(target_os = "linux")]
struct Stat {
    state: String,
    parent: u32,
    start: String,
}

#[cfg(target_os = "linux")]
impl Stat {
    /// Reads `/proc/<pid>/stat` (proc(5)). The second field is the program's name in parentheses and may hold
    /// anything, so fields are counted from behind the last one.
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_owned();
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.to_owned();
        Some(Self { state, parent, start })
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn start_of(pid: u32) -> Option<String> {
    let line = ps(&["-o", "state=,lstart=", "-p", &pid.to_string()])?;
    let (state, start) = line.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| start.trim().to_owned())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn program_of(pid: u32) -> Option<String> {
    let path = ps(&["-o", "comm=", "-p", &pid.to_string()])?;
    Some(path.trim().rsplit('/').next()?.to_owned())
}

#[cfg(not(target_os = "linux"))]
fn parents() -> Vec<(u32, u32)> {
    let table = ps(&["-A", "-o", "pid=,ppid="]).unwrap_or_default();
    let pair = |line: &str| {
        let (pid, parent) = line.trim().split_once(char::is_whitespace)?;
        Some((pid.parse().ok()?, parent.trim().parse().ok()?))
    };
    table.lines().filter_map(pair).collect()
}

#[cfg(not(target_os = "linux"))]
fn ps(args: &[&str]) -> Option<String> {
    let output = std::process::Command::new("ps").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::output::Output;
    use crate::process::Program;

    #[test]
    fn a_leftover_is_told_from_a_later_process_with_the_same_id() {
        let folder = tempfile::tempdir().unwrap();
        let files = PidFiles::open(folder.path()).unwrap();
        let spawn = || {
            let mut command = Command::new("sleep");
            command.arg("100");
            Program::new(command, Output::kept()).spawn().unwrap()
        };
        let (leftover, bystander) = (spawn(), spawn());
        files.record("leftover", leftover.id()).unwrap();
        fs::write(folder.path().join("bystander.pid"), format!("{}\nanother start\n", bystander.id()))
            .unwrap();

        let found = files.leftovers().unwrap();

        assert_eq!(
            found.iter().map(|it| (it.name.as_str(), it.pid)).collect::<Vec<_>>(),
            [("leftover", leftover.id())]
        );
        files.end(&found[0]);
        assert!(!is_running(leftover.id()));
        assert!(is_running(bystander.id()));
        assert!(files.leftovers().unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
