//! The trace context of the request at hand: W3C `traceparent` in, out, and on every log line between.
//!
//! Whether a request is sampled is decided here, before any span exists: spans are built inside a sampled scope alone, so
//! that an unsampled request pays for an id and nothing else.

use std::future::Future;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Which trace a request belongs to, and whether that trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Never zero.
    pub trace_id: u128,
    /// The span that the next hop takes for its parent. Never zero.
    pub span_id: u64,
    pub sampled: bool,
    /// Whether `span_id` names a span of another process, to become the parent of the first one here.
    pub remote: bool,
}

impl TraceContext {
    /// Begins a trace.
    pub fn root(sampled: bool) -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), sampled, remote: false }
    }

    /// Reads a W3C `traceparent`. All-zero ids, upper-case digits and version `ff` are invalid; of a higher version the first four
    /// fields count.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        if bytes.len() < 55 || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let version = hex(&bytes[..2])? as u8;
        let known_length =
            if version == 0 { bytes.len() == 55 } else { bytes.len() == 55 || bytes[55] == b'-' };
        let trace_id = hex(&bytes[3..35])?;
        let span_id = hex(&bytes[36..52])? as u64;
        let flags = hex(&bytes[53..55])? as u8;
        (version != 0xff && known_length && trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
            remote: true,
        })
    }

    /// The context to hand to the next hop: that of the scope at hand, with the current span as the parent when there is one.
    pub fn current() -> Option<Self> {
        let mut context = CURRENT.try_with(|context| *context).ok()?;
        if context.sampled {
            let span = Span::current().context().span().span_context().clone();
            if span.is_valid() {
                context.span_id = u64::from_be_bytes(span.span_id().to_bytes());
            }
        }
        Some(context)
    }

    /// Runs a future as part of this trace.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Makes a span the child of this context when that came from another process; a trace that begins here has no parent.
    /// To be called before the span is entered.
    pub fn adopt(self, span: &Span) {
        if !self.remote {
            return;
        }
        let parent = SpanContext::new(
            TraceId::from_bytes(self.trace_id.to_be_bytes()),
            SpanId::from_bytes(self.span_id.to_be_bytes()),
            if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() },
            true,
            TraceState::default(),
        );
        // Fails only when the span is disabled or no exporter is set up, and then there is nothing to adopt.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(parent));
    }

    /// As the `traceparent` header has it. Every request writes it several times, and the machinery of `format!` would show.
    pub fn traceparent(self) -> Traceparent {
        let mut text = *b"00-________________________________-________________-0_";
        put_hex(&mut text[3..35], self.trace_id);
        put_hex(&mut text[36..52], self.span_id.into());
        put_hex(&mut text[54..], u8::from(self.sampled).into());
        Traceparent(text)
    }

    /// 32 hexadecimal digits, as Jaeger's search box takes them.
    pub fn trace_id_hex(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

/// A `traceparent` in ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; Self::LENGTH]);

impl Traceparent {
    pub const LENGTH: usize = 55;

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Fills `digits` with the lowest digits of a number.
fn put_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// The id of the scope's trace; for the log formatters, which need neither span nor parent.
pub(crate) fn current_trace_id() -> Option<u128> {
    CURRENT.try_with(|context| context.trace_id).ok()
}

/// Whether spans are to be built here.
pub(crate) fn is_sampled() -> bool {
    CURRENT.try_with(|context| context.sampled).unwrap_or(false)
}

/// Lower-case hexadecimal digits alone, as the standard demands.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        let context = TraceContext::parse(VALID).unwrap();
        assert!(context.sampled);
        assert_eq!(context.traceparent().as_str(), VALID);
        assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn invalid_traceparents_are_refused() {
        for invalid in [
            "",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\u{e9}",
        ] {
            assert_eq!(TraceContext::parse(invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_higher_version_is_read_by_its_first_four_fields() {
        let context =
            TraceContext::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-future").unwrap();
        assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(!context.sampled);
    }

    #[tokio::test]
    async fn the_scope_is_what_current_tells() {
        assert_eq!(TraceContext::current(), None);
        let context = TraceContext::root(false);
        assert_eq!(context.scope(async { TraceContext::current() }).await, Some(context));
    }
}
