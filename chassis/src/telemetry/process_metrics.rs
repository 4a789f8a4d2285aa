//! What the kernel knows about this process, read when somebody asks: CPU, memory, open files.
//!
//! Linux tells through `/proc`; elsewhere these gauges are absent.

use std::fs;

/// Sets `process_cpu_seconds_total`, `process_resident_memory_bytes` and `process_open_fds`.
pub(crate) fn record() {
    if let Some((cpu_seconds, resident_bytes)) = read_stat() {
        metrics::gauge!("process_cpu_seconds_total").set(cpu_seconds);
        metrics::gauge!("process_resident_memory_bytes").set(resident_bytes);
    }
    if let Ok(entries) = fs::read_dir("/proc/self/fd") {
        metrics::gauge!("process_open_fds").set(entries.count() as f64);
    }
}

/// Clock ticks per second in `/proc`: 100 on every Linux architecture that Rust supports (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// `/proc/self/stat` counts resident memory in pages; 4 KiB on the machines this runs on.
const PAGE_BYTES: f64 = 4096.0;

fn read_stat() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold spaces: count from behind it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(((number(11)? + number(12)?) / TICKS_PER_SECOND, number(21)? * PAGE_BYTES))
}
