//! The messages of OTLP that spans are made of, as bytes: `opentelemetry/proto/trace/v1/trace.proto`. Fields may stand in any order, so
//! that each is written as soon as it is known.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{Kind, Parent, TraceContext, Value};

/// Room for a usual span, given once.
const USUAL_LENGTH: usize = 480;

/// Field numbers of `Span`.
mod field {
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START_TIME: u32 = 7;
    pub(super) const END_TIME: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
}

/// Bits of `SpanFlags`: sampled, as in `traceparent`; it is known whether the parent is remote; it is.
const SAMPLED: u32 = 0x01;
const REMOTE_IS_KNOWN: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// A `Span` with all that is known when it begins.
pub(super) fn begin(context: TraceContext, id: u64, kind: Kind, name: &str, started: SystemTime) -> Vec<u8> {
    let mut span = Vec::with_capacity(USUAL_LENGTH);
    put_bytes(&mut span, field::TRACE_ID, &context.trace_id.to_be_bytes());
    put_bytes(&mut span, field::SPAN_ID, &id.to_be_bytes());
    if context.parent != Parent::None {
        put_bytes(&mut span, field::PARENT_SPAN_ID, &context.span_id.to_be_bytes());
    }
    put_bytes(&mut span, field::NAME, name.as_bytes());
    encode_key(field::KIND, WireType::Varint, &mut span);
    span.put_u8(match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    });
    let remote = if context.parent == Parent::Remote { REMOTE } else { 0 };
    encode_key(field::FLAGS, WireType::ThirtyTwoBit, &mut span);
    span.put_u32_le(SAMPLED | REMOTE_IS_KNOWN | remote);
    put_time(&mut span, field::START_TIME, started);
    span
}

/// Adds a `KeyValue`, whose value is an `AnyValue`.
pub(super) fn put_attribute(span: &mut Vec<u8>, name: &str, value: Value<'_>) {
    let value_length = match value {
        Value::Text(text) => field_length(text.len()),
        Value::Number(number) => 1 + encoded_len_varint(number as u64),
    };
    put_header(span, field::ATTRIBUTES, field_length(name.len()) + field_length(value_length));
    put_bytes(span, 1, name.as_bytes());
    put_header(span, 2, value_length);
    match value {
        Value::Text(text) => put_bytes(span, 1, text.as_bytes()),
        Value::Number(number) => {
            encode_key(3, WireType::Varint, span);
            encode_varint(number as u64, span);
        }
    }
}

/// Adds a `Status` of `STATUS_CODE_ERROR`. Twice is as good as once.
pub(super) fn put_failed(span: &mut Vec<u8>) {
    put_header(span, field::STATUS, 2);
    encode_key(3, WireType::Varint, span);
    span.put_u8(2);
}

pub(super) fn put_end(span: &mut Vec<u8>, ended: SystemTime) {
    put_time(span, field::END_TIME, ended);
}

/// Adds a span to the list that a `ScopeSpans` has.
pub(super) fn put_span(list: &mut Vec<u8>, span: &[u8]) {
    put_bytes(list, 2, span);
}

/// An `ExportTraceServiceRequest` with one `ResourceSpans` with one `ScopeSpans`, of a `Resource`, an `InstrumentationScope` and a
/// list of spans.
pub(crate) fn request(resource: &[u8], scope: &[u8], spans: &[u8]) -> Vec<u8> {
    let scope_spans = field_length(scope.len()) + spans.len();
    let resource_spans = field_length(resource.len()) + field_length(scope_spans);
    let mut request = Vec::with_capacity(field_length(resource_spans));
    put_header(&mut request, 1, resource_spans);
    put_bytes(&mut request, 1, resource);
    put_header(&mut request, 2, scope_spans);
    put_bytes(&mut request, 1, scope);
    request.put_slice(spans);
    request
}

fn put_time(message: &mut Vec<u8>, field: u32, time: SystemTime) {
    let since_1970 = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    encode_key(field, WireType::SixtyFourBit, message);
    message.put_u64_le(since_1970.as_nanos() as u64);
}

fn put_bytes(message: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_header(message, field, bytes.len());
    message.put_slice(bytes);
}

/// What a field begins with that has a length.
fn put_header(message: &mut Vec<u8>, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, message);
    encode_varint(length as u64, message);
}

/// The length of such a field, with a number below 16.
fn field_length(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}
