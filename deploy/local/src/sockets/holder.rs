//! Finds out which process listens on a port, for error messages only: best effort, no guarantees.

use std::fmt;

/// A process that has a port.
pub(super) struct Holder {
    pid: u32,
    program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// The process listening on `port`, when this user may know.
#[cfg(target_os = "linux")]
pub(super) fn of(port: u16) -> Option<Holder> {
    let inodes = linux::listening_inodes(port);
    let pid = linux::pid_with_socket(&inodes)?;
    Some(Holder { pid, program: crate::identity::program_of(pid)? })
}

/// The process listening on `port`, when `lsof` is there to tell.
#[cfg(not(target_os = "linux"))]
pub(super) fn of(port: u16) -> Option<Holder> {
    let filter = format!("-iTCP:{port}");
    let output =
        std::process::Command::new("lsof").args(["-nP", &filter, "-sTCP:LISTEN", "-Fpc"]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |key: char| text.lines().find_map(|line| line.strip_prefix(key));
    Some(Holder { pid: field('p')?.parse().ok()?, program: field('c')?.to_owned() })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs;

    /// The state column of /proc/net/tcp for a listening socket.
    const LISTEN: &str = "0A";

    pub(super) fn listening_inodes(port: u16) -> HashSet<String> {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let text: String = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
        let suffix = format!(":{port:04X}");
        let inode = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let matches = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == LISTEN;
            matches.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
        };
        text.lines().filter_map(inode).collect()
    }

    pub(super) fn pid_with_socket(sockets: &HashSet<String>) -> Option<u32> {
        let pids = fs::read_dir("/proc").ok()?.flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| has_socket(*pid, sockets))
    }

    fn has_socket(pid: u32, sockets: &HashSet<String>) -> bool {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        targets.any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
    }
}
