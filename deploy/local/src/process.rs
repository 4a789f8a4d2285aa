//! Child processes that do not outlive us: spawned in a group of their own, told to end when this process dies
//! however it dies (Linux), their output captured, their exit announced. Knows nothing of what they serve.

use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::output::Output;
use crate::{identity, sys};

/// How long a killed process may take to vanish before we stop waiting for it.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How long the exit of a process is held back for its last lines, should others keep its output open.
const LAST_LINES_LIMIT: Duration = Duration::from_millis(300);

/// A signal, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Hangup,
    Interrupt,
    Quit,
    Terminate,
    Kill,
    Stop,
    Continue,
}

/// A command that is ready to be spawned as a [`Process`].
pub struct Program {
    command: Command,
    /// `None`: ours.
    output: Option<Output>,
    death_signal: Signal,
    listeners: Vec<TcpListener>,
}

impl Program {
    /// `command` with stdin closed and its output going to `output`.
    pub fn new(command: Command, output: Output) -> Self {
        Self { command, output: Some(output), death_signal: Signal::Terminate, listeners: Vec::new() }
    }

    /// `command` with stdin closed, printing where this process prints.
    pub fn sharing_our_output(command: Command) -> Self {
        Self { command, output: None, death_signal: Signal::Terminate, listeners: Vec::new() }
    }

    /// What the child gets when this process dies without stopping it. SIGTERM unless set.
    pub fn death_signal(mut self, signal: Signal) -> Self {
        self.death_signal = signal;
        self
    }

    /// Passes listening sockets down the way systemd does: descriptors 3 and up, counted in `LISTEN_FDS`.
    /// `LISTEN_PID` stays unset, since a parent cannot know it.
    pub fn listeners<'a>(mut self, listeners: impl IntoIterator<Item = &'a TcpListener>) -> io::Result<Self> {
        self.listeners = listeners.into_iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        self.command.env("LISTEN_FDS", self.listeners.len().to_string());
        self.command.env_remove("LISTEN_PID").env_remove("LISTEN_FDNAMES");
        Ok(self)
    }

    pub fn spawn(self) -> io::Result<Process> {
        self.spawn_then(|_| {})
    }

    /// Spawns it; `on_exit` runs once, on another thread, after the last line of output was read.
    pub fn spawn_then(mut self, on_exit: impl FnOnce(ExitStatus) + Send + 'static) -> io::Result<Process> {
        self.command.stdin(Stdio::null()).process_group(0);
        let capture = self.output.map(|output| io::pipe().map(|pipe| (output, pipe))).transpose()?;
        let (at_end, output_ended) = mpsc::channel();
        if let Some((output, (reader, writer))) = capture {
            self.command.stdout(writer.try_clone()?).stderr(writer);
            thread::spawn(move || {
                output.read_from(reader);
                let _ = at_end.send(());
            });
        }
        sys::prepare_child(&mut self.command, self.death_signal, &self.listeners)?;
        // Consumes the command, and with it our copies of the sockets and of the pipe's writing end.
        let child = spawn_from_lasting_thread(self.command)?;

        let process = Process { id: child.id(), exit: Arc::default() };
        let exit = Arc::clone(&process.exit);
        thread::spawn(move || exit.watch(child, &output_ended, on_exit));
        Ok(process)
    }
}

/// Linux ties the death signal to the thread that spawned the child, not to its process. A test's or a pool's
/// thread may end at any time, so one thread that lasts as long as the process spawns for all.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Order>> = LazyLock::new(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                let _ = answer.send(command.spawn());
            }
        });
        orders
    });
    let (answer, child) = mpsc::channel();
    SPAWNER.send((command, answer)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}

/// A child process. Dropping it kills it and everything it started.
pub struct Process {
    id: u32,
    exit: Arc<Exit>,
}

#[derive(Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    announced: Condvar,
}

impl Exit {
    fn watch(&self, mut child: Child, output_ended: &mpsc::Receiver<()>, on_exit: impl FnOnce(ExitStatus)) {
        sys::wait_unreaped(child.id());
        let _ = output_ended.recv_timeout(LAST_LINES_LIMIT);
        let mut status = self.lock();
        // Reaped under the lock: `Process::signal` cannot hit another process that got the same id.
        let exit = child.wait().unwrap_or_default();
        *status = Some(exit);
        drop(status);
        self.announced.notify_all();
        on_exit(exit);
    }

    fn lock(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, or `None` while it runs.
    pub fn status(&self) -> Option<ExitStatus> {
        *self.exit.lock()
    }

    /// Sends a signal to this one process; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let status = self.exit.lock();
        if status.is_none() {
            sys::send(self.id, signal);
        }
    }

    /// Sends a signal to its process group: to everything it started that did not move to a group of its own.
    pub fn signal_group(&self, signal: Signal) {
        let status = self.exit.lock();
        if status.is_none() {
            sys::send_to_group(self.id, signal);
        }
    }

    /// Freezes it and everything it started: alive, but answering nobody.
    pub fn pause(&self) {
        self.stop_family();
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        let status = self.exit.lock();
        if status.is_none() {
            sys::send(self.id, Signal::Continue);
            send_all(&identity::descendants(self.id), Signal::Continue);
        }
    }

    /// Stops it first, so that it starts nothing while its family is listed. Returns the family.
    fn stop_family(&self) -> Vec<u32> {
        let status = self.exit.lock();
        if status.is_some() {
            return Vec::new();
        }
        sys::send(self.id, Signal::Stop);
        let family = identity::descendants(self.id);
        send_all(&family, Signal::Stop);
        family
    }

    /// Waits until it has ended, at most `limit`.
    pub fn wait(&self, limit: Duration) -> Option<ExitStatus> {
        let (status, _) = self
            .exit
            .announced
            .wait_timeout_while(self.exit.lock(), limit, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }

    /// Asks it to end with `signal` and kills it when it has not after `limit`. True when it needed no kill.
    pub fn end(&self, signal: Signal, limit: Duration) -> bool {
        self.signal(signal);
        let ended = self.wait(limit).is_some();
        if !ended {
            self.kill();
        }
        ended
    }

    /// Kills it and everything it started, and waits until all of them are gone.
    pub fn kill(&self) {
        let family = self.stop_family();
        send_all(&family, Signal::Kill);
        self.signal(Signal::Kill);
        self.wait(KILL_LIMIT);
        identity::gone_within(&family, KILL_LIMIT);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status().is_none() {
            self.kill();
        }
    }
}

fn send_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        sys::send(*pid, signal);
    }
}

/// Runs a command to its end and returns the lines it printed. Fails with them when it fails or takes longer than
/// `limit`.
pub fn run(command: Command, limit: Duration) -> anyhow::Result<Vec<String>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = Output::kept();
    let process = Program::new(command, output.clone())
        .death_signal(Signal::Kill)
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    match process.wait(limit) {
        Some(status) if status.success() => Ok(output.lines()),
        Some(status) => anyhow::bail!("{name} failed ({status}). It said:{}", output.tail(20)),
        None => anyhow::bail!("{name} took longer than {} s. It said:{}", limit.as_secs(), output.tail(20)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::sockets;

    const LIMIT: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> (Program, Output) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let output = Output::kept();
        (Program::new(command, output.clone()), output)
    }

    #[test]
    fn everything_a_program_printed_is_there_when_its_exit_is_announced() {
        let (program, output) = shell("echo to stdout; echo to stderr >&2; exit 3");
        let (announce, announced) = mpsc::channel();
        let at_exit = output.clone();
        let process = program.spawn_then(move |_| announce.send(at_exit.lines()).unwrap()).unwrap();

        assert_eq!(announced.recv_timeout(LIMIT).unwrap(), ["to stdout", "to stderr"]);
        assert_eq!(process.status().and_then(|status| status.code()), Some(3));
    }

    #[test]
    fn a_program_lives_on_when_the_thread_that_asked_for_it_ends() {
        let process = thread::spawn(|| shell("sleep 100").0.spawn().unwrap()).join().unwrap();

        assert!(process.wait(Duration::from_millis(200)).is_none());
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_also_with_sockets_to_pass() {
        let listeners = [sockets::loopback().unwrap(), sockets::loopback().unwrap()];
        let program = Program::new(Command::new("/no/such/program"), Output::kept());

        let error = program.listeners(&listeners).unwrap().spawn().err().unwrap();

        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn passed_sockets_are_counted_and_stay_open_in_the_program_alone() {
        let (first, second) = (sockets::loopback().unwrap(), sockets::loopback().unwrap());
        let addresses = [first.local_addr().unwrap(), second.local_addr().unwrap()];
        let (program, output) =
            shell("echo $LISTEN_FDS ${LISTEN_PID-unset}; : <&3 <&4 && echo open; exec sleep 100");
        let process = program.listeners([&first, &second]).unwrap().spawn().unwrap();
        while output.lines().len() < 2 {
            thread::yield_now();
        }
        assert_eq!(output.lines(), ["2 unset", "open"]);

        drop((first, second));
        for address in addresses {
            TcpStream::connect(address).unwrap();
        }
        process.kill();
        for address in addresses {
            assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn killing_a_program_kills_what_it_started() {
        let (program, output) = shell("setsid sleep 100 & echo $!; wait");
        let process = program.spawn().unwrap();
        while output.lines().is_empty() {
            thread::yield_now();
        }
        let grandchild = output.lines()[0].parse().unwrap();
        assert!(identity::is_running(grandchild));

        process.kill();

        assert!(!identity::is_running(grandchild));
        assert!(process.status().is_some());
    }

    #[test]
    fn a_program_that_ignores_the_polite_signal_is_killed() {
        let (program, output) = shell("trap '' TERM; echo ready; while :; do sleep 0.02; done");
        let process = program.spawn().unwrap();
        while output.lines().is_empty() {
            thread::yield_now();
        }

        assert!(!process.end(Signal::Terminate, Duration::from_millis(100)));
        assert!(process.status().is_some());
    }
}
