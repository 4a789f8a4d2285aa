//! A span: what was done under which name, from when to when, as a part of what.

use std::sync::OnceLock;
use std::time::SystemTime;

use super::{Parent, Queue, TraceContext, wire};

/// Where spans go when they end. Without it none is made.
static EXPORT: OnceLock<Queue> = OnceLock::new();

/// Has all spans of this process from now on put into this queue. The first one stays.
pub(crate) fn export_into(queue: Queue) -> &'static Queue {
    EXPORT.get_or_init(|| queue)
}

/// As the OpenTelemetry conventions name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a call.
    Server,
    /// Makes a call, and waits for its answer.
    Client,
    /// Everything else.
    Internal,
}

/// The value of an attribute.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

/// A span, from its making until it is dropped: so one that is cancelled ends too. Nothing, and as good as free, outside
/// a sampled trace and in a process without a collector.
#[derive(Debug, Default)]
#[must_use = "a span ends when it is dropped"]
pub struct Span(Option<Recording>);

/// What is known of a span is written down as it will be sent, at once: to keep it in another form and translate it on the exporter's
/// thread cost three times as much, most of it for memory that goes from one processor to another.
#[derive(Debug)]
struct Recording {
    id: u64,
    started: SystemTime,
    message: Vec<u8>,
}

impl Span {
    /// Begins a span under the context of the scope at hand.
    pub fn begin(kind: Kind, name: &str) -> Self {
        TraceContext::current().map_or_else(Self::default, |context| Self::under(context, kind, name))
    }

    /// Begins a span under a context that is no scope yet.
    pub fn under(context: TraceContext, kind: Kind, name: &str) -> Self {
        if !context.sampled || EXPORT.get().is_none() {
            return Self::default();
        }
        let (id, started) = (fastrand::u64(1..), now());
        Self(Some(Recording { id, started, message: wire::begin(context, id, kind, name, started) }))
    }

    /// Notes an attribute. Each is to be noted once.
    pub fn set<'a>(&mut self, name: &str, value: impl Into<Value<'a>>) -> &mut Self {
        if let Some(recording) = &mut self.0 {
            wire::put_attribute(&mut recording.message, name, value.into());
        }
        self
    }

    /// Notes that it came to nothing, through the fault of whoever did it.
    pub fn fail(&mut self) {
        if let Some(recording) = &mut self.0 {
            wire::put_failed(&mut recording.message);
        }
    }

    /// The context of what happens within the span, here and at the next hop; `context` itself when there is no span.
    pub fn within(&self, context: TraceContext) -> TraceContext {
        match &self.0 {
            Some(recording) => TraceContext { span_id: recording.id, parent: Parent::Local, ..context },
            None => context,
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let (Some(Recording { started, mut message, .. }), Some(queue)) = (self.0.take(), EXPORT.get()) {
            // Not before its beginning, though the clock may have been set meanwhile.
            wire::put_end(&mut message, now().max(started));
            queue.push(&message);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "it is shown to people, and decides nothing")]
fn now() -> SystemTime {
    SystemTime::now()
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u16> for Value<'_> {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests;
