//! `local with-servers` as a process: its exit code, and that its servers end with it however it ends.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use local::output::Output;
use local::process::{Process, Program, Signal};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// Prints where the servers are, and stays until Ctrl-C. The trap matters: a shell that is about to start a program may
/// otherwise swallow the signal.
const TELL_AND_STAY: &str = "trap 'exit 130' INT; echo $TEST_POSTGRES_URL; echo $TEST_STATE_REDIS_URL; \
                             echo $TEST_CACHE_REDIS_URL; while :; do sleep 0.05; done";

fn with_servers(temporary: &Path, script: &str) -> anyhow::Result<(Process, Output)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.args(["with-servers", "--", "sh", "-c", script]).env("TMPDIR", temporary);
    let output = Output::kept();
    Ok((Program::new(command, output.clone()).spawn()?, output))
}

/// Starts a command that stays, and returns once the servers serve it.
fn started(temporary: &TempDir) -> anyhow::Result<(Process, Vec<SocketAddr>)> {
    let (process, output) = with_servers(temporary.path(), TELL_AND_STAY)?;
    let deadline = Instant::now() + LIMIT;
    while output.lines().len() < 3 {
        assert!(Instant::now() < deadline && process.status().is_none(), "{:?}", output.lines());
        thread::yield_now();
    }
    let address = |url: &String| {
        let address = url.rsplit("//").next()?.rsplit('@').next()?.split('/').next()?;
        address.parse().ok()
    };
    let addresses: Vec<SocketAddr> = output.lines().iter().filter_map(address).collect();
    assert_eq!(addresses.len(), 3);
    for address in &addresses {
        TcpStream::connect(address)?;
    }
    Ok((process, addresses))
}

fn nothing_listens_any_more(addresses: &[SocketAddr]) {
    let deadline = Instant::now() + LIMIT;
    while addresses.iter().any(|address| TcpStream::connect(address).is_ok()) {
        assert!(Instant::now() < deadline, "a server was left running");
        thread::yield_now();
    }
}

#[test]
fn the_commands_exit_code_is_passed_on_and_nothing_is_left() {
    let temporary = local::temporary::folder().unwrap();

    let (process, _) = with_servers(temporary.path(), "exit 7").unwrap();

    assert_eq!(process.wait(LIMIT).and_then(|status| status.code()), Some(7));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn ctrl_c_ends_the_command_and_the_servers() {
    let temporary = local::temporary::folder().unwrap();
    let (process, addresses) = started(&temporary).unwrap();

    process.signal(Signal::Interrupt);

    let status = process.wait(LIMIT).unwrap();
    assert_eq!(status.code(), Some(130), "{status}");
    nothing_listens_any_more(&addresses);
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_servers_end_also_when_their_parent_is_killed() {
    let temporary = local::temporary::folder().unwrap();
    let (process, addresses) = started(&temporary).unwrap();

    process.signal(Signal::Kill);

    nothing_listens_any_more(&addresses);
}
