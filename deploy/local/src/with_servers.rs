//! `local with-servers -- command`: runs a command beside temporary servers and ends with its exit code.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;

use crate::process::{Program, Signal};
use crate::sys;
use crate::temporary::Servers;

/// How long the command may take to end after Ctrl-C.
const STOP_LIMIT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

enum Event {
    Signal(Signal),
    Exit(ExitStatus),
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (events, inbox) = mpsc::channel();
    let on_signal = events.clone();
    sys::catch_signals(move |signal| drop(on_signal.send(Event::Signal(signal))))?;

    let servers = Servers::start()?;
    let (program, arguments) = args.command.split_first().context("no command was given")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(servers.variables());
    let process = Program::sharing_our_output(command)
        .spawn_then(move |status| drop(events.send(Event::Exit(status))))
        .with_context(|| format!("cannot run {}", program.display()))?;

    loop {
        match inbox.recv()? {
            Event::Exit(status) => return Ok(exit_code(status)),
            Event::Signal(signal) => {
                // It runs in a group of its own, so the terminal's Ctrl-C reached only us.
                process.signal_group(signal);
                if process.wait(STOP_LIMIT).is_none() {
                    process.kill();
                }
            }
        }
    }
}

/// What a shell would report: the exit code, or 128 and the signal's number.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
