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

fn of(pid: u32) -> Option<Vitals> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // Its own alone: of the program's file as much is in memory as was ever run.
    let resident = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let memory_kib = resident.split_whitespace().next()?.parse().ok()?;
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64;
    Some(Vitals { memory_kib, files })
}
