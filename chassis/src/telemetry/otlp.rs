//! Traces to an OTLP collector, in batches, off the service's thread.

use std::time::Duration;

use opentelemetry::trace::{SpanId, TraceId, TracerProvider as _};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// The exporter's transport runs on `runtime`; its batching has a thread of its own in the SDK.
pub(super) fn provider(
    service: &'static str,
    endpoint: &str,
    instance: Option<&str>,
    runtime: &tokio::runtime::Handle,
) -> anyhow::Result<SdkTracerProvider> {
    let _entered = runtime.enter();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(2))
        .build()?;
    let instance = instance.map_or_else(|| std::process::id().to_string(), str::to_owned);
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.namespace", "sallyport"))
        .with_attribute(KeyValue::new("service.instance.id", instance))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .with_id_generator(ScopeIds)
        .build())
}

pub(super) fn layer<S>(
    provider: &SdkTracerProvider,
    service: &'static str,
) -> OpenTelemetryLayer<S, SdkTracer>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(InstrumentationScope::builder(service).build()))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
}

/// A trace that begins here takes the id that its scope already has: the one in the log lines and in the answer.
#[derive(Debug)]
struct ScopeIds;

impl IdGenerator for ScopeIds {
    fn new_trace_id(&self) -> TraceId {
        let id = crate::trace::current_trace_id().unwrap_or_else(|| fastrand::u128(1..));
        TraceId::from_bytes(id.to_be_bytes())
    }

    fn new_span_id(&self) -> SpanId {
        SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
    }
}
