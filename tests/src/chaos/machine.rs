//! What stands beside the figures: the machine, as far as it matters, and the versions of what ran. No names of hosts or folders.

use std::fs;
use std::process::Command;

/// Lines of a list: what, and which.
pub fn describe() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map(|cores| cores.to_string()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processor = line_of("/proc/cpuinfo", "model name");
    let memory: u64 =
        line_of("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let redis = local::redis::find().map(|program| said(program, &["--version"])).unwrap_or_default();
    let redis = redis.split("v=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
    let postgres = local::postgres::Programs::find();
    let build = if cfg!(debug_assertions) { "dev profile" } else { "release profile" };
    vec![
        ("Processor", format!("{processor}, {cores} cores, {} GiB", memory.div_ceil(1 << 20))),
        ("Kernel", format!("Linux {}", kernel.trim())),
        (
            "Sallyport",
            format!("{} ({})", env!("CARGO_PKG_VERSION"), said("git", &["rev-parse", "--short", "HEAD"])),
        ),
        (
            "Build",
            format!("{}, {build}", said("rustc", &["--version"]).split(" (").next().unwrap_or_default()),
        ),
        ("PostgreSQL", postgres.map(|programs| programs.major().to_string()).unwrap_or_default()),
        ("Redis", redis.to_owned()),
    ]
}

/// What a program prints, or nothing.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().ok().filter(|it| it.status.success());
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

/// The value of the first line `name : value` of a file of /proc.
fn line_of(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    value.unwrap_or_default().trim().to_owned()
}
