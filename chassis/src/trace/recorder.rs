//! For tests: the spans of one trace, in the order in which they ended. The queue is the process's, and so every test's.

use std::sync::{Mutex, PoisonError};

use metrics::Counter;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
use prost::Message as _;

use super::{Batch, Queue, TraceContext, export_into};

static OTHERS: Mutex<Vec<Span>> = Mutex::new(Vec::new());

/// The root of a sampled trace whose spans are kept.
pub(crate) fn sampled() -> TraceContext {
    export_into(Queue::new(Counter::noop()));
    TraceContext::root(true)
}

/// What has ended of a trace, and was not told before.
pub(crate) fn ended(trace: TraceContext) -> Vec<Span> {
    let queue = export_into(Queue::new(Counter::noop()));
    let mut spans = OTHERS.lock().unwrap_or_else(PoisonError::into_inner);
    spans.extend(decode(&queue.take_now()));
    let trace_id = trace.trace_id.to_be_bytes();
    spans.extract_if(.., |span| span.trace_id == trace_id).collect()
}

/// As a collector reads it.
fn decode(batch: &Batch) -> Vec<Span> {
    let spans = ScopeSpans::decode(&*batch.bytes).unwrap().spans;
    assert_eq!(spans.len() as u64, batch.spans);
    spans
}
