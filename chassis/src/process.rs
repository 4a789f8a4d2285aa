//! The life of a service's process: telemetry, sockets, one thread that serves, signals, drain, end.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin::AdminPort;
use crate::config::ServiceArgs;
use crate::listen::Listeners;
use crate::shutdown::Shutdown;
use crate::telemetry::Telemetry;

/// So many tasks run before the sockets are looked at again. With Tokio's 61 more requests are taken up at once, presumably more than the
/// processor's caches hold: of ten times the load a gateway served 78 to 87 % of its peak with 61 (four runs within the same hour), and 84 to
/// 91 % with 4 to 16 (seven).
const TURN: u32 = 16;

/// What a service runs with.
#[derive(Debug)]
pub struct Process {
    /// Where it accepts its callers.
    pub listener: TcpListener,
    /// When and how it ends.
    pub shutdown: Shutdown,
    /// To be opened as soon as the service knows what it waits for.
    pub admin: AdminPort,
}

/// Has the kernel back this process's memory with small pages alone, on Linux. To be called first of all.
///
/// The allocator asks for huge pages of 2 MiB, of which an idle process uses little: 26 MiB instead of 19.
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        // More memory, and nothing else.
        eprintln!("huge pages stay in use: {error}");
    }
}

/// Runs a service on this thread until it is told to end: 0 when it ended as it should.
pub fn run<F, Fut>(name: &'static str, args: &ServiceArgs, listen: SocketAddr, service: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    install_tls_provider();
    raise_open_files();
    let telemetry = match Telemetry::install(name, &args.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => crate::config::refuse(&format!("{error:#}")),
    };
    let outcome = serve(name, args, listen, &telemetry, service);
    if let Err(error) = &outcome {
        tracing::error!(cause = format!("{error:#}"), "{name} failed");
    }
    telemetry.shut_down();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a task that is not a service, such as a migration, with logs.
pub fn run_once<Fut>(name: &'static str, args: &ServiceArgs, task: impl FnOnce() -> Fut) -> ExitCode
where
    Fut: Future<Output = anyhow::Result<()>>,
{
    install_tls_provider();
    let outcome = Telemetry::install(name, &args.telemetry).and_then(|telemetry| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(task())?;
        telemetry.shut_down();
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve<F, Fut>(
    name: &'static str,
    args: &ServiceArgs,
    listen: SocketAddr,
    telemetry: &Telemetry,
    service: F,
) -> anyhow::Result<()>
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = anyhow::Result<()>>,
{
    let listeners = Listeners::open(listen, args.admin_listen)?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(TURN).build()?;
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::new();
        let (address, admin) = (listeners.service.local_addr()?, listeners.admin.local_addr()?);
        tracing::info!(%address, %admin, version = env!("CARGO_PKG_VERSION"), "{name} listens");
        let signals = shutdown.clone();
        let delay = args.drain_delay();
        #[expect(clippy::disallowed_methods, reason = "it waits for the signal, so nothing may wait for it")]
        tokio::spawn(async move {
            if let Err(error) = signals.on_signal(delay).await {
                tracing::error!(%error, "signals cannot be received");
            }
        });
        let process = Process {
            listener: listeners.service,
            shutdown: shutdown.clone(),
            admin: telemetry.admin_port(listeners.admin),
        };
        service(process).await?;
        if shutdown.finished(args.drain_timeout()).await {
            tracing::info!("{name} ended");
        } else {
            tracing::warn!("{name} ended with work in flight: the drain deadline has passed");
        }
        Ok(())
    });
    // Dropped, it would wait for a name server that does not answer.
    runtime.shutdown_background();
    outcome
}

/// ring is the one TLS provider in the build; rustls panics when it has to choose.
fn install_tls_provider() {
    // Fails only when one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// As many open files as the system grants. The usual 1024 are soon taken by clients that hold their connections and ask nothing.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Refused, it is as it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_as_many_open_files_as_it_is_granted() {
        let granted = getrlimit(Resource::Nofile).maximum.unwrap();
        let lower = Rlimit { current: Some(granted - 1), maximum: Some(granted) };
        setrlimit(Resource::Nofile, lower).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, Some(granted));
    }
}
