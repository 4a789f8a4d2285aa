//! How a log line looks: one line per event, with the id of the trace that it belongs to.

use std::fmt::{self, Write as _};
use std::io::IsTerminal as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The layer that writes to standard output. A reader that went away is no reason to fail.
pub(super) fn layer<S>(service: &'static str, human: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let colours = std::io::stdout().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_ansi(colours).log_internal_errors(false);
    if human { Box::new(layer.event_format(Human)) } else { Box::new(layer.event_format(Json { service })) }
}

/// `time LEVEL target: message field=value trace_id=...`
struct Human;

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} {}: ", event.metadata().level(), event.metadata().target())?;
        ctx.format_fields(writer.by_ref(), event)?;
        if let Some(id) = crate::trace::current_trace_id() {
            write!(writer, " trace_id={id:032x}")?;
        }
        writeln!(writer)
    }
}

/// One JSON object a line.
struct Json {
    service: &'static str,
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut members = Members(Map::new());
        members.0.insert("timestamp".into(), timestamp.into());
        members.0.insert("level".into(), event.metadata().level().as_str().into());
        members.0.insert("service".into(), self.service.into());
        members.0.insert("target".into(), event.metadata().target().into());
        if let Some(id) = crate::trace::current_trace_id() {
            members.0.insert("trace_id".into(), format!("{id:032x}").into());
        }
        event.record(&mut members);
        writeln!(writer, "{}", Value::Object(members.0))
    }
}

struct Members(Map<String, Value>);

impl Visit for Members {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_ok() {
            self.0.insert(field.name().into(), text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::trace::TraceContext;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_json_line_carries_the_trace_id_and_the_fields() {
        let sink = Sink::default();
        let writer = sink.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Json { service: "test" })
            .with_writer(move || writer.clone());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let context = TraceContext::root(false);
        context.scope(async { tracing::info!(attempt = 2, reason = "BUSY", "shed") }).await;
        let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(line["message"], "shed");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["reason"], "BUSY");
        assert_eq!(line["trace_id"], context.trace_id_hex());
    }
}
