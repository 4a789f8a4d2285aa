//! The trace context of the request at hand: W3C `traceparent` in, out, and on every log line between.
//!
//! Whether a request is sampled is decided here, before any span exists: spans are built inside a sampled scope alone, so
//! that an unsampled request pays for an id and nothing else. A [`Span`] is made inside a sampled scope, becomes the parent of what
//! its own scope holds, and waits in a queue for the exporter when it ends. It is no span of the `tracing` crate, which is for logs here.

use std::future::Future;

mod queue;
#[cfg(test)]
pub(crate) mod recorder;
mod span;
mod wire;

pub(crate) use queue::{Batch, Queue};
pub(crate) use span::export_into;
pub use span::{Kind, Span, Value};
pub(crate) use wire::request;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// Which trace a request belongs to, and whether that trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Never zero.
    pub trace_id: u128,
    /// The parent of the next span, here or at the next hop. Never zero.
    pub span_id: u64,
    pub sampled: bool,
    pub parent: Parent,
}

/// What the `span_id` of a context names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    /// Nothing: the trace begins here. The id is made up, for the next hop when the trace is not sampled.
    None,
    /// A span of this process.
    Local,
    /// A span of the process that called.
    Remote,
}

impl TraceContext {
    /// Begins a trace.
    pub fn root(sampled: bool) -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), sampled, parent: Parent::None }
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
            parent: Parent::Remote,
        })
    }

    /// The context of the scope at hand, which is the one for the next hop.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Runs a future as part of this trace.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
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
