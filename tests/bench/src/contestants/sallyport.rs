//! Sallyport whole: a gateway for each core, one auth-svc and one profile-svc with the settings that they ship with, but for a quota
//! that nobody can use up and entries that outlive the run.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use local::output::Output;
use local::server::Running;
use local::service::{self, Service};
use local::sockets;

use super::{BASELINE, Contestant, LIMIT, Member, SALLYPORT, START_LIMIT, WORKERS};
use crate::world::{AUTH_DATABASE, PROFILE_DATABASE, World};

/// A day: what is written before the run stays until after it.
const LIFETIME_SECONDS: &str = "86400";

/// What is traced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tracing {
    /// No collector: no span is built.
    Off,
    /// A share of the requests, 0 to 1, to a collector.
    Sampled(f64, SocketAddr),
}

impl Tracing {
    /// As shipped, beside a collector.
    pub fn as_shipped(collector: SocketAddr) -> Self {
        Self::Sampled(0.01, collector)
    }
}

pub fn sallyport(world: &World, tracing: Tracing) -> anyhow::Result<Contestant> {
    start(SALLYPORT, world, tracing, &|name| service::binary(name))
}

/// Another build of it, from a folder.
pub fn baseline(world: &World, tracing: Tracing, folder: &Path) -> anyhow::Result<Contestant> {
    start(BASELINE, world, tracing, &|name| Ok(folder.join(name)))
}

fn start(
    contestant: &'static str,
    world: &World,
    tracing: Tracing,
    binary: &dyn Fn(&str) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<Contestant> {
    let launch = |name: &'static str, sockets: Sockets, variables: &[(&'static str, String)]| {
        launch(name, binary(name)?, sockets, variables, tracing)
    };
    let began = Instant::now();
    let quota = format!("{LIMIT}/60");
    let (auth, profile) = (Sockets::open()?, Sockets::open()?);
    let gateways = sockets::loopback_shared(WORKERS)?;
    let gateway_variables = [
        ("AUTH_ENDPOINTS", auth.address()?.to_string()),
        ("PROFILE_ENDPOINTS", profile.address()?.to_string()),
        ("CACHE_REDIS_URL", world.cache_url()),
        ("LIMIT_LOGIN_IP", quota.clone()),
        ("LIMIT_LOGIN_ACCOUNT", quota.clone()),
        ("LIMIT_API", quota),
    ];
    let auth_variables = [
        ("DATABASE_URL", world.database_url(AUTH_DATABASE)),
        ("STATE_REDIS_URL", world.state_url()),
        ("CACHE_REDIS_URL", world.cache_url()),
        ("SESSION_IDLE_SECONDS", LIFETIME_SECONDS.to_owned()),
    ];
    let profile_variables = [
        ("DATABASE_URL", world.database_url(PROFILE_DATABASE)),
        ("CACHE_REDIS_URL", world.cache_url()),
        ("CACHE_TTL_SECONDS", LIFETIME_SECONDS.to_owned()),
    ];
    let address = gateways[0].local_addr()?;
    let mut processes =
        vec![launch("auth-svc", auth, &auth_variables)?, launch("profile-svc", profile, &profile_variables)?];
    for listener in gateways {
        let sockets = Sockets { listener, admin: sockets::loopback()? };
        processes.push(launch("gateway", sockets, &gateway_variables)?);
    }
    for process in &mut processes {
        process.wait_ready(START_LIMIT)?;
    }
    let started_in = began.elapsed();
    let processes = processes.into_iter().map(|it| Box::new(it) as Box<dyn Member>).collect();
    Ok(Contestant { name: contestant, address, started_in, processes })
}

/// Open before the process starts, so that others can be told its address.
struct Sockets {
    listener: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    fn open() -> anyhow::Result<Self> {
        Ok(Self { listener: sockets::loopback()?, admin: sockets::loopback()? })
    }

    fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }
}

fn launch(
    name: &'static str,
    binary: PathBuf,
    sockets: Sockets,
    variables: &[(&'static str, String)],
    tracing: Tracing,
) -> anyhow::Result<Running<Service>> {
    let Sockets { listener, admin } = sockets;
    let mut service = Service::new(name, binary, listener, admin, Output::hidden());
    // Whatever the shell that runs the benchmark has set.
    service =
        service.variable("RUST_LOG", "info").variable("LOG_FORMAT", "json").variable("DRAIN_DELAY_MS", "0");
    for (name, value) in variables {
        service = service.variable(name, value);
    }
    if let Tracing::Sampled(ratio, collector) = tracing {
        service = service.variable("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"));
        service = service.variable("OTEL_TRACES_SAMPLER_ARG", ratio.to_string());
    }
    Running::launch(service)
}
