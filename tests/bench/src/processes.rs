//! What processes cost: processor time and memory, read from /proc.

use std::fs;

use anyhow::Context as _;
use local::identity;

/// Clock ticks a second in /proc/<pid>/stat: the same on every Linux of today.
const TICKS: f64 = 100.0;

/// The processes of one program: the one that was started, and what it started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = identity::descendants(pid);
    family.push(pid);
    family
}

/// Seconds of processor time (user and system, all threads) that the processes have used so far.
pub fn cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        let stat = stat.with_context(|| format!("process {pid} has ended, or this is no Linux"))?;
        ticks += ticks_of(&stat).context("/proc/<pid>/stat is unlike proc(5)")?;
    }
    Ok(ticks as f64 / TICKS)
}

/// Fields 14 and 15; the second one, the program's name in parentheses, may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Bytes of memory that the processes hold, shared pages counted in each.
pub fn resident_bytes(pids: &[u32]) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        bytes += kib * 1024;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 2 3";
        assert_eq!(ticks_of(stat), Some(300));
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let me = [std::process::id()];
        assert!(cpu_seconds(&me).unwrap() >= 0.0);
        assert!(resident_bytes(&me).unwrap() > 1024 * 1024);
    }
}
