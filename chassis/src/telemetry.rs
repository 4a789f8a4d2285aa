//! Logs, traces and metrics of a process.
//!
//! Logs go to standard output, readable on a terminal and JSON elsewhere. Traces go to an OTLP collector when one is
//! configured. Metrics are kept for the admin port. Exporter and admin server live on a thread and runtime of their own, and
//! take no time of those who are served.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::admin::AdminPort;
use crate::trace::{self, Queue};

mod log;
mod otlp;
pub(crate) mod process_metrics;
mod sampling;

use otlp::{Exporter, Origin};

pub use sampling::Sampler;

/// What a process tells about itself, and to whom.
#[derive(Debug, Clone, Args)]
pub struct TelemetryArgs {
    /// Which log lines to write, in tracing-subscriber's directive syntax.
    #[arg(long, env = "RUST_LOG", default_value = "info", value_parser = parse_directives)]
    pub log: String,
    /// Shape of the log lines; `auto` is human-readable on a terminal and JSON elsewhere.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Auto)]
    pub log_format: LogFormat,
    /// OTLP/gRPC endpoint of the trace collector, such as http://127.0.0.1:4317. Without one no span is built.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = parse_otlp_endpoint)]
    pub otlp_endpoint: Option<String>,
    /// Share of the traces begun here that are recorded, 0 to 1. The decision of whoever began a trace goes along with it.
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 0.01, value_parser = parse_ratio)]
    pub trace_sample_ratio: f64,
    /// How long spans wait for others to be sent with, in milliseconds.
    #[arg(long, env = "OTEL_BSP_SCHEDULE_DELAY", default_value_t = 5000, value_parser = value_parser!(u64).range(1..))]
    pub trace_export_delay_ms: u64,
    /// Name of this replica in traces; the process id by default.
    #[arg(long, env = "OTEL_SERVICE_INSTANCE_ID")]
    pub service_instance_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

fn parse_directives(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("has to be a number from 0 to 1".into()),
    }
}

fn parse_otlp_endpoint(text: &str) -> Result<String, String> {
    match text.parse::<::http::Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => Ok(text.to_owned()),
        _ => Err("has to be an http:// URL: a collector beside this process takes the traces on".into()),
    }
}

impl TelemetryArgs {
    /// Who decides which traces begun by this process are recorded: nobody's, when there is no collector.
    pub fn sampler(&self) -> Sampler {
        Sampler::new(if self.otlp_endpoint.is_some() { self.trace_sample_ratio } else { 0.0 })
    }
}

/// The running telemetry of a process; to be shut down last.
#[derive(Debug)]
pub struct Telemetry {
    metrics: PrometheusHandle,
    exporter: Option<Exporter>,
    runtime: tokio::runtime::Handle,
}

impl Telemetry {
    /// Installs the process's logger, tracer and metrics recorder. Once per process.
    ///
    /// # Errors
    /// Log directives that do not parse, an exporter that cannot be built, or a thread that cannot be started.
    pub fn install(service: &'static str, args: &TelemetryArgs) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&args.log)?;
        let runtime = start_operations_runtime()?;
        let human = match args.log_format {
            LogFormat::Auto => std::io::stdout().is_terminal(),
            LogFormat::Human => true,
            LogFormat::Json => false,
        };
        // The spans that libraries make with `tracing` would show nowhere.
        let events = filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
        tracing_subscriber::registry()
            .with(log::layer(service, human).with_filter(filter.and(events)))
            .try_init()?;
        let metrics = install_metrics()?;
        let exporter = args.otlp_endpoint.as_deref().map(|endpoint| {
            let full = metrics::counter!("trace_spans_dropped_total", "reason" => "queue_full");
            let queue = trace::export_into(Queue::new(full));
            let delay = Duration::from_millis(args.trace_export_delay_ms);
            let origin = Origin::new(service, args.service_instance_id.as_deref());
            Exporter::start(queue, endpoint, delay, origin, &runtime)
        });
        let exporter = exporter.transpose()?;
        let upkeep = metrics.clone();
        runtime.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { metrics, exporter, runtime })
    }

    /// The admin server of this process, on the operations thread.
    pub fn admin_port(&self, listener: std::net::TcpListener) -> AdminPort {
        AdminPort::new(listener, self.metrics.clone(), self.runtime.clone())
    }

    /// Sends what traces are left. Called from a plain thread, outside any runtime.
    pub fn shut_down(self) {
        if let Some(exporter) = self.exporter
            && !exporter.shut_down(LAST_SPANS_TIMEOUT)
        {
            tracing::warn!("traces were left unsent");
        }
    }
}

/// How long the end of a process waits for the collector.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_secs(2);

fn start_operations_runtime() -> anyhow::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new()
        .name("operations".into())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}

/// Durations in seconds, from 0.25 ms: finer than the OpenTelemetry advice at the low end, where this system lives.
const DURATION_BUCKETS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

fn install_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), DURATION_BUCKETS)?
        .install_recorder()?;
    Ok(handle)
}
