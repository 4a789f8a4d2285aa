//! What a process holds: memory and open files. On systems without `/proc` nothing is known.

use std::fs;

use crate::controlled::Replica;

/// Of one process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    pub memory_kib: u64,
    pub files: u64,
}

/// Of each process of ours, nothing where it is away, by its place in the list.
pub fn of_all<'a>(replicas: impl IntoIterator<Item = &'a Replica>) -> Vec<Option<Vitals>> {
    replicas.into_iter().map(|replica| of(replica.process_id()?)).collect()
}

/// The most memory that a process has ever held, in KiB.
pub fn peak_kib(replica: &Replica) -> Option<u64> {
    memory_kib(replica.process_id()?, "VmHWM:")
}

fn memory_kib(pid: u32, what: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(what))?.split_whitespace().next()?.parse().ok()
}

fn of(pid: u32) -> Option<Vitals> {
    // Its own alone: of the program's file as much is in memory as was ever run.
    let memory_kib = memory_kib(pid, "RssAnon:")?;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Vitals { memory_kib, files })
}
