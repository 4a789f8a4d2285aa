//! `local up`: the whole stack on this machine, from nothing to a table of what runs where, until Ctrl-C. What is
//! started with which settings is in `plan`; keeping it running and stopping it is `supervisor`'s.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::folder::LocalFolder;
use crate::output::say;
use crate::packages;

mod jaeger;
mod plan;
mod supervisor;
mod table;

use plan::Plan;
use supervisor::{Interrupted, Supervisor, Tier};

/// How long each step of the start may take before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Every replica's port is counted up from its service's first port.
#[derive(clap::Args)]
pub struct Args {
    /// Gateway processes; they share one port.
    #[arg(long, env = "GATEWAYS", default_value_t = 1, value_parser = replicas())]
    gateways: u16,
    /// Auth service processes.
    #[arg(long, env = "AUTH", default_value_t = 1, value_parser = replicas())]
    auth: u16,
    /// Profile service processes.
    #[arg(long, env = "PROFILE", default_value_t = 1, value_parser = replicas())]
    profile: u16,
    /// Rate limits; off for load tests.
    #[arg(long, env = "LIMITS", default_value = "on")]
    limits: Limits,
    /// The port all gateways share.
    #[arg(long, env = "GATEWAY_PORT", default_value_t = 8080)]
    gateway_port: u16,
    /// The first gateway's admin port.
    #[arg(long, env = "GATEWAY_ADMIN_PORT", default_value_t = 9080)]
    gateway_admin_port: u16,
    /// The first auth service's gRPC port.
    #[arg(long, env = "AUTH_PORT", default_value_t = 50051)]
    auth_port: u16,
    /// The first auth service's admin port.
    #[arg(long, env = "AUTH_ADMIN_PORT", default_value_t = 9151)]
    auth_admin_port: u16,
    /// The first profile service's gRPC port.
    #[arg(long, env = "PROFILE_PORT", default_value_t = 50151)]
    profile_port: u16,
    /// The first profile service's admin port.
    #[arg(long, env = "PROFILE_ADMIN_PORT", default_value_t = 9251)]
    profile_admin_port: u16,
    /// PostgreSQL's port.
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 15432)]
    postgres_port: u16,
    /// The port of the Redis that holds sessions.
    #[arg(long, env = "STATE_REDIS_PORT", default_value_t = 16379)]
    state_redis_port: u16,
    /// The port of the Redis for caches and limits.
    #[arg(long, env = "CACHE_REDIS_PORT", default_value_t = 16380)]
    cache_redis_port: u16,
    /// The folder for all data.
    #[arg(long, env = "LOCAL_FOLDER", default_value = ".local")]
    folder: PathBuf,
    /// Where mails go. Unset: into the folder `mail` beside the data.
    #[arg(long, env = "MAIL_URL", hide_env_values = true)]
    mail_url: Option<String>,
    /// Where traces go. Unset: to a Jaeger that is started along when one is on PATH.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// The share of requests to trace. Unset: all of them when Jaeger is started along, else what the services choose.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG")]
    trace_sample_ratio: Option<String>,
    /// How services write their logs. Unset: for people.
    #[arg(long, env = "LOG_FORMAT", default_value = "human")]
    log_format: String,
    /// How long a service that stops waits for load balancers to notice. There are none here.
    #[arg(long, env = "DRAIN_DELAY_MS", default_value_t = 0)]
    drain_delay_ms: u32,
    /// Print without colours.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    no_color: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Limits {
    On,
    Off,
}

/// More replicas than this, and the ranges of ports would meet.
fn replicas() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=64)
}

/// Fails when something did not start, or did not stop in good order.
pub fn run(args: Args) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = LocalFolder::take(&args.folder)?;
    let mut supervisor = Supervisor::new(folder.pid_files()?);
    supervisor.obey_signals()?;
    packages::ensure_servers()?;
    let result = start(&args, &folder, &mut supervisor, began).and_then(|()| supervisor.watch());
    let result = result.or_else(|error| if error.is::<Interrupted>() { Ok(()) } else { Err(error) });
    if result.is_err() {
        say("Something failed; the reason is told at the end.");
    }
    let stopped_in_order = supervisor.stop();
    result?;
    anyhow::ensure!(stopped_in_order, "not everything stopped by itself");
    Ok(())
}

fn start(
    args: &Args,
    folder: &LocalFolder,
    supervisor: &mut Supervisor,
    began: Instant,
) -> anyhow::Result<()> {
    // Every port is checked or bound before anything starts: a taken one costs no clean-up.
    let plan = Plan::bind(args)?;

    say("Starting PostgreSQL and Redis ...");
    for redis in plan.redis(folder)? {
        supervisor.add(Tier::Stores, Arc::new(redis))?;
    }
    let postgres = Arc::new(plan.postgres(folder)?);
    supervisor.add(Tier::Stores, postgres.clone())?;
    let mut collector = plan.collector();
    if let Some(jaeger) = collector.jaeger.take() {
        supervisor.add(Tier::Stores, Arc::new(jaeger))?;
    }
    supervisor.wait_ready(START_LIMIT)?;

    say("Migrating the databases ...");
    postgres.create_databases(&plan::DATABASES)?;
    supervisor.complete(plan.migrations(&postgres)?, START_LIMIT)?;

    say("Starting the services ...");
    for (tier, service) in plan.services(folder, &postgres, &collector)? {
        supervisor.add(tier, Arc::new(service))?;
    }
    supervisor.wait_ready(START_LIMIT)?;
    say(&table::render(&supervisor.rows(), args, began.elapsed()));
    Ok(())
}
