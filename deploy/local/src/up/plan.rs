//! What `up` starts and with which settings: the ports, the data folders, every service's variables.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;

use super::jaeger::Jaeger;
use super::supervisor::{Task, Tier};
use super::{Args, Limits};
use crate::folder::LocalFolder;
use crate::output::Output;
use crate::postgres::{self, Cluster};
use crate::process::Program;
use crate::redis::{Instance, Role};
use crate::service::{self, Service};
use crate::sockets::{self, Claim};

const GATEWAY: &str = "gateway";
const AUTH: &str = "auth-svc";
const PROFILE: &str = "profile-svc";

const AUTH_DATABASE: &str = "auth";
const PROFILE_DATABASE: &str = "profile";
pub(super) const DATABASES: [&str; 2] = [AUTH_DATABASE, PROFILE_DATABASE];

/// The width of the longest usual name in front of a log line.
const NAME_WIDTH: usize = "profile-svc-0".len();

/// Terminal colours (SGR codes) for names, in turn.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];

/// What to start, its ports bound or known to be free.
pub(super) struct Plan<'a> {
    args: &'a Args,
    gateways: Vec<Replica>,
    auth: Vec<Replica>,
    profile: Vec<Replica>,
}

/// The sockets of one replica.
struct Replica {
    listener: TcpListener,
    admin: TcpListener,
}

/// Where traces go.
pub(super) struct Collector {
    pub(super) jaeger: Option<Jaeger>,
    endpoint: Option<String>,
    sample_ratio: Option<String>,
}

impl<'a> Plan<'a> {
    pub(super) fn bind(args: &'a Args) -> anyhow::Result<Self> {
        let stores = [
            ("PostgreSQL", args.postgres_port, "postgres-port"),
            ("Redis for state", args.state_redis_port, "state-redis-port"),
            ("Redis for cache", args.cache_redis_port, "cache-redis-port"),
        ];
        for (who, port, flag) in stores {
            sockets::check_free(loopback(port), Claim { who, flag })?;
        }
        let claim = Claim { who: GATEWAY, flag: "gateway-port" };
        let gateways = sockets::bind_shared(loopback(args.gateway_port), args.gateways.into(), claim)?;
        let gateway_admins =
            bind_range(GATEWAY, "gateway-admin-port", args.gateway_admin_port, args.gateways)?;
        let auth = bind_range(AUTH, "auth-port", args.auth_port, args.auth)?;
        let auth_admins = bind_range(AUTH, "auth-admin-port", args.auth_admin_port, args.auth)?;
        let profile = bind_range(PROFILE, "profile-port", args.profile_port, args.profile)?;
        let profile_admins =
            bind_range(PROFILE, "profile-admin-port", args.profile_admin_port, args.profile)?;
        Ok(Self {
            args,
            gateways: replicas(gateways, gateway_admins),
            auth: replicas(auth, auth_admins),
            profile: replicas(profile, profile_admins),
        })
    }

    /// Neither Redis nor PostgreSQL is shown: their greetings and farewells drown what the services say, who also tell
    /// what fails there. The last lines of one that ends unasked are told.
    pub(super) fn redis(&self, folder: &LocalFolder) -> anyhow::Result<[Instance; 2]> {
        let args = self.args;
        let (state, cache) = (Output::hidden(), Output::hidden());
        Ok([
            Instance::open(Role::State, &folder.redis_state(), args.state_redis_port, state)?,
            Instance::open(Role::Cache, &folder.redis_cache(), args.cache_redis_port, cache)?,
        ])
    }

    pub(super) fn postgres(&self, folder: &LocalFolder) -> anyhow::Result<Cluster> {
        let (port, options) = (self.args.postgres_port, postgres::Options::DURABLE);
        Cluster::open(&folder.postgres()?, port, options, Output::hidden())
    }

    /// What the user chose, or a Jaeger of our own that gets every trace.
    pub(super) fn collector(&self) -> Collector {
        let args = self.args;
        let jaeger = if args.otlp_endpoint.is_none() { Jaeger::find() } else { None };
        let (ours, every) = (Jaeger::ENDPOINT.to_owned(), "1".to_owned());
        let endpoint = args.otlp_endpoint.clone().or(jaeger.is_some().then_some(ours));
        let sample_ratio = args.trace_sample_ratio.clone().or(jaeger.is_some().then_some(every));
        Collector { jaeger, endpoint, sample_ratio }
    }

    pub(super) fn migrations(&self, postgres: &Cluster) -> anyhow::Result<Vec<Task>> {
        let task = |(binary, database)| {
            let mut command = Command::new(service::binary(binary)?);
            command.arg("migrate").env("DATABASE_URL", postgres.url(database));
            command.env("LOG_FORMAT", &self.args.log_format);
            let output = Output::kept();
            Ok(Task {
                name: format!("{binary} migrate"),
                program: Program::new(command, output.clone()),
                output,
            })
        };
        [(AUTH, AUTH_DATABASE), (PROFILE, PROFILE_DATABASE)].into_iter().map(task).collect()
    }

    /// The services, with the tier each belongs to.
    pub(super) fn services(
        self,
        folder: &LocalFolder,
        postgres: &Cluster,
        collector: &Collector,
    ) -> anyhow::Result<Vec<(Tier, Service)>> {
        let args = self.args;
        let mail_url = format!("file://{}", folder.mail().display());
        let state_url = format!("redis://127.0.0.1:{}", args.state_redis_port);
        let cache_url = format!("redis://127.0.0.1:{}", args.cache_redis_port);
        let limits = if args.limits == Limits::On { "on" } else { "off" };
        let auth = vec![
            ("DATABASE_URL", postgres.url(AUTH_DATABASE)),
            ("STATE_REDIS_URL", state_url.clone()),
            ("CACHE_REDIS_URL", cache_url.clone()),
            ("MAIL_URL", args.mail_url.clone().unwrap_or(mail_url)),
        ];
        let profile = vec![
            ("DATABASE_URL", postgres.url(PROFILE_DATABASE)),
            ("STATE_REDIS_URL", state_url),
            ("CACHE_REDIS_URL", cache_url.clone()),
        ];
        let gateway = vec![
            ("AUTH_ENDPOINTS", endpoints(&self.auth)?),
            ("PROFILE_ENDPOINTS", endpoints(&self.profile)?),
            ("CACHE_REDIS_URL", cache_url),
            ("RATE_LIMITS", limits.to_owned()),
        ];

        let mut services = Vec::new();
        for (binary, tier, replicas, own) in [
            (AUTH, Tier::Services, self.auth, auth),
            (PROFILE, Tier::Services, self.profile, profile),
            (GATEWAY, Tier::Gateways, self.gateways, gateway),
        ] {
            for (index, Replica { listener, admin }) in replicas.into_iter().enumerate() {
                let name = format!("{binary}-{index}");
                let output = output(&name, args);
                let service = Service::new(name, service::binary(binary)?, listener, admin, output);
                let variables = own.iter().cloned().chain(shared_variables(args, collector));
                let service = variables.fold(service, |service, (name, value)| service.variable(name, value));
                services.push((tier, service));
            }
        }
        Ok(services)
    }
}

fn shared_variables(args: &Args, collector: &Collector) -> impl Iterator<Item = (&'static str, String)> {
    let always =
        [("LOG_FORMAT", args.log_format.clone()), ("DRAIN_DELAY_MS", args.drain_delay_ms.to_string())];
    let endpoint = collector.endpoint.clone().map(|it| ("OTEL_EXPORTER_OTLP_ENDPOINT", it));
    let ratio = collector.sample_ratio.clone().map(|it| ("OTEL_TRACES_SAMPLER_ARG", it));
    always.into_iter().chain(endpoint).chain(ratio)
}

/// `host:port` of each replica, separated by commas, as the gateway takes them.
fn endpoints(replicas: &[Replica]) -> anyhow::Result<String> {
    let addresses = replicas.iter().map(|replica| Ok(replica.listener.local_addr()?.to_string()));
    Ok(addresses.collect::<anyhow::Result<Vec<_>>>()?.join(","))
}

fn replicas(listeners: Vec<TcpListener>, admins: Vec<TcpListener>) -> Vec<Replica> {
    let pairs = listeners.into_iter().zip(admins);
    pairs.map(|(listener, admin)| Replica { listener, admin }).collect()
}

/// Binds `count` ports from `first` on.
fn bind_range(who: &str, flag: &str, first: u16, count: u16) -> anyhow::Result<Vec<TcpListener>> {
    let ports = (0..count).map(|index| first.saturating_add(index));
    let mut listeners = Vec::new();
    for port in ports {
        listeners.extend(sockets::bind_shared(loopback(port), 1, Claim { who, flag })?);
    }
    Ok(listeners)
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// Shows a program's lines behind its name, in a colour of its own on a terminal.
fn output(name: &str, args: &Args) -> Output {
    let name = format!("{name:NAME_WIDTH$} |");
    if args.no_color || !std::io::stdout().is_terminal() {
        return Output::shown(format!("{name} "));
    }
    let turn = name.bytes().map(usize::from).sum::<usize>() % COLOURS.len();
    Output::shown(format!("\x1b[{}m{name}\x1b[0m ", COLOURS[turn]))
}
