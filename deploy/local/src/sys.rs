//! The few system calls the standard library has no safe form for: preparing a child between fork and exec,
//! sending and catching signals, waiting for a child without reaping it. Every `unsafe` of this crate is here;
//! nothing here knows what the processes are for.
#![expect(unsafe_code, reason = "fork hooks, signals and waitid exist only as C functions")]

use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::process::Signal;

/// The first descriptor a child finds its sockets at, as systemd's socket units number them.
const FIRST_PASSED_FD: RawFd = 3;

/// The effective user is root.
pub(crate) fn is_root() -> bool {
    effective_uid() == 0
}

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Sends `signal` to one process. A process that is gone already is not an error for anyone here.
pub(crate) fn send(pid: u32, signal: Signal) {
    // SAFETY: kill takes plain numbers and touches no memory of ours.
    unsafe { libc::kill(pid.cast_signed(), number(signal)) };
}

/// Sends `signal` to every process of the group that `leader` leads.
pub(crate) fn send_to_group(leader: u32, signal: Signal) {
    // SAFETY: kill takes plain numbers and touches no memory of ours.
    unsafe { libc::kill(-leader.cast_signed(), number(signal)) };
}

/// A process with this id exists (a zombie counts).
pub(crate) fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 only asks whether the process exists.
    let answer = unsafe { libc::kill(pid.cast_signed(), 0) };
    answer == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Blocks until the child `pid` has ended, and leaves it unreaped: its id cannot be given to another process
/// before the caller reaps it.
pub(crate) fn wait_unreaped(pid: u32) {
    loop {
        // SAFETY: an all-zero siginfo_t is a valid value for waitid to write over.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is valid for writes for the whole call.
        let answer = unsafe { libc::waitid(libc::P_PID, pid, &raw mut info, libc::WEXITED | libc::WNOWAIT) };
        if answer == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Arranges that the child gets `death_signal` when the thread that spawns it ends (Linux), and finds `listeners`
/// at descriptor 3 and up, open across exec.
pub(crate) fn prepare_child(
    command: &mut Command,
    death_signal: Signal,
    listeners: &[TcpListener],
) -> io::Result<()> {
    let first_free = FIRST_PASSED_FD + RawFd::try_from(listeners.len()).map_err(io::Error::other)?;
    // Copies above the target range, so that no dup2 below overwrites the source of a later one.
    let sources = listeners
        .iter()
        .map(|listener| duplicate_from(listener.as_raw_fd(), first_free))
        .collect::<io::Result<Vec<_>>>()?;
    // The standard library reports a failed exec through a pipe of its own. Occupying the target range until the
    // command is dropped keeps that pipe out of it.
    let mut reserved = Vec::new();
    while let Some(listener) = listeners.first() {
        let fd = duplicate_from(listener.as_raw_fd(), FIRST_PASSED_FD)?;
        if fd.as_raw_fd() >= first_free {
            break;
        }
        reserved.push(fd);
    }
    let parent = std::process::id();
    let hook = move || {
        die_with_parent(death_signal, parent)?;
        let _reserved_until_exec = &reserved;
        for (target, source) in (FIRST_PASSED_FD..).zip(&sources) {
            // SAFETY: `source` is open; dup2 is async-signal-safe and its copy has no close-on-exec flag.
            if unsafe { libc::dup2(source.as_raw_fd(), target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the hook calls only async-signal-safe functions (prctl, getppid, dup2) and
    // allocates nothing: everything it needs was made above.
    unsafe { command.pre_exec(hook) };
    Ok(())
}

fn duplicate_from(fd: RawFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and returns a new descriptor or -1.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fcntl just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(target_os = "linux")]
fn die_with_parent(signal: Signal, parent: u32) -> io::Result<()> {
    // SAFETY: prctl with PR_SET_PDEATHSIG and getppid are async-signal-safe and take plain numbers. A change of
    // user would clear the setting, and the standard library changes the user before it runs hooks.
    let (answer, current_parent) =
        unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, number(signal)), libc::getppid()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    // The parent may have died between fork and prctl, and then nobody would send the signal any more.
    if current_parent != parent.cast_signed() {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

/// No system but Linux offers this; there the pid files alone help.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail where it does something")]
fn die_with_parent(_signal: Signal, _parent: u32) -> io::Result<()> {
    Ok(())
}

/// The descriptor the signal handler writes to; -1 until `catch_signals` ran.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn write_signal_to_pipe(signal: libc::c_int) {
    let byte = signal.to_ne_bytes();
    // SAFETY: write is async-signal-safe, and the descriptor stays open for the life of the process. A full pipe
    // means that plenty of signals wait to be read already.
    unsafe { libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), byte.len()) };
}

/// Calls `on_signal` (on a thread of its own) for every SIGINT, SIGTERM and SIGHUP from now on, instead of dying
/// of them. To be called once, from `main`. A SIGHUP that was ignored at start (`nohup`) stays ignored.
pub(crate) fn catch_signals(on_signal: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    for signal in [Signal::Interrupt, Signal::Terminate, Signal::Hangup] {
        install_handler(signal)?;
    }
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut bytes = [0; size_of::<libc::c_int>()];
        while reader.read_exact(&mut bytes).is_ok() {
            match libc::c_int::from_ne_bytes(bytes) {
                libc::SIGINT => on_signal(Signal::Interrupt),
                libc::SIGHUP => on_signal(Signal::Hangup),
                _ => on_signal(Signal::Terminate),
            }
        }
    })?;
    Ok(())
}

fn install_handler(signal: Signal) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value (no flags, empty mask, default handler).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with a null new action, sigaction only writes the current one to `action`.
    let answer = unsafe { libc::sigaction(number(signal), std::ptr::null(), &raw mut action) };
    if answer == 0 && signal == Signal::Hangup && action.sa_sigaction == libc::SIG_IGN {
        return Ok(());
    }
    action.sa_sigaction = write_signal_to_pipe as *const () as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler is an `extern "C"` function that only calls write.
    if unsafe { libc::sigaction(number(signal), &raw const action, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn number(signal: Signal) -> libc::c_int {
    match signal {
        Signal::Hangup => libc::SIGHUP,
        Signal::Interrupt => libc::SIGINT,
        Signal::Quit => libc::SIGQUIT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    }
}
