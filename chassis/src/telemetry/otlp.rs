//! Traces to an OTLP collector, in batches, from the operations thread. A collector that is away or slow costs spans and nothing
//! else.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::Counter;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::collector::{Collector, is_transient};
use crate::trace::{self, Batch, Queue};

mod collector;

/// A batch that the collector does not take is sent again this much later, for so long: one that restarts misses little.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_FOR: Duration = Duration::from_secs(30);

/// Whose spans they are, as OTLP messages.
#[derive(Debug)]
pub(super) struct Origin {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Origin {
    /// `instance`: the name of this replica; the process id by default. `OTEL_RESOURCE_ATTRIBUTES` adds to what is told here.
    pub(super) fn new(service: &'static str, instance: Option<&str>) -> Self {
        let instance = instance.map_or_else(|| std::process::id().to_string(), str::to_owned);
        let resource = opentelemetry_sdk::Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.namespace", "sallyport"))
            .with_attribute(KeyValue::new("service.instance.id", instance))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let attributes = ResourceAttributesWithSchema::from(&resource).attributes.0;
        let scope = InstrumentationScope { name: service.to_owned(), ..InstrumentationScope::default() };
        Self {
            resource: Resource { attributes, ..Resource::default() }.encode_to_vec(),
            scope: scope.encode_to_vec(),
        }
    }
}

/// The exporter, as the process sees it.
#[derive(Debug)]
pub(super) struct Exporter {
    closing: CancellationToken,
    /// Disconnected when everything has been sent; nothing else ever comes.
    ended: mpsc::Receiver<()>,
}

impl Exporter {
    /// Begins to send what is put into the queue: whatever there is after `delay`, or a batch as soon as it is complete.
    ///
    /// # Errors
    /// An endpoint that is no URL.
    pub(super) fn start(
        queue: &'static Queue,
        endpoint: &str,
        delay: Duration,
        origin: Origin,
        runtime: &Handle,
    ) -> anyhow::Result<Self> {
        let _entered = runtime.enter();
        let (end, ended) = mpsc::channel();
        let closing = CancellationToken::new();
        let sender = Sender {
            queue,
            delay,
            origin,
            collector: Collector::new(endpoint)?,
            closing: closing.clone(),
            lost: metrics::counter!("trace_spans_dropped_total", "reason" => "not_delivered"),
            is_failing: false,
            _end: end,
        };
        runtime.spawn(sender.run());
        Ok(Self { closing, ended })
    }

    /// Sends what is left. Tells whether that was done in time. It blocks the thread.
    pub(super) fn shut_down(self, limit: Duration) -> bool {
        self.closing.cancel();
        self.ended.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout)
    }
}

/// The exporter's task.
struct Sender {
    queue: &'static Queue,
    delay: Duration,
    origin: Origin,
    collector: Collector,
    closing: CancellationToken,
    lost: Counter,
    /// Whether the last batch was lost, so that an outage is told of once.
    is_failing: bool,
    _end: mpsc::Sender<()>,
}

impl Sender {
    async fn run(mut self) {
        while !self.closing.is_cancelled() {
            let batch = tokio::select! {
                batch = self.queue.take(self.delay) => batch,
                () = self.closing.cancelled() => break,
            };
            self.deliver(batch).await;
        }
        self.deliver(self.queue.take_now()).await;
    }

    async fn deliver(&mut self, batch: Batch) {
        if batch.spans == 0 {
            return;
        }
        let request = Bytes::from(trace::request(&self.origin.resource, &self.origin.scope, &batch.bytes));
        let begun = Instant::now();
        let failure = loop {
            match self.collector.export(request.clone()).await {
                Ok(refused) => {
                    self.is_failing = false;
                    return self.lost.increment(refused);
                }
                Err(status) => {
                    let is_last = begun.elapsed() > RETRY_FOR || self.closing.is_cancelled();
                    if is_last || !is_transient(&status) {
                        break status;
                    }
                }
            }
            // The end of the process waits for nothing but one last attempt.
            let _ = timeout(RETRY_AFTER, self.closing.cancelled()).await;
        };
        self.lost.increment(batch.spans);
        if !std::mem::replace(&mut self.is_failing, true) {
            let (spans, code, cause) = (batch.spans, failure.code(), failure.message());
            tracing::warn!(spans, ?code, cause, "the trace collector takes no spans; they are dropped");
        }
    }
}

#[cfg(test)]
mod tests;
