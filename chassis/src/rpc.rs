//! What every call has in common, unary or on a stream, as server or as client: its duration by outcome, and on the server
//! its place in the caller's trace.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics::Histogram;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::trace::TraceContext;

/// The names of the gRPC codes as the metrics have them, by number.
const CODE_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The durations of one method's calls, by gRPC code. Handles are looked up once, so that counting a call costs no lookup.
#[derive(Debug)]
pub struct CallDurations {
    metric: &'static str,
    method: &'static str,
    by_code: [OnceLock<Histogram>; CODE_NAMES.len()],
}

impl CallDurations {
    /// `rpc_server_call_duration_seconds`: calls that this process answers.
    pub fn server(method: &'static str) -> Self {
        Self { metric: "rpc_server_call_duration_seconds", method, by_code: Default::default() }
    }

    /// `rpc_client_call_duration_seconds`: calls that this process makes.
    pub fn client(method: &'static str) -> Self {
        Self { metric: "rpc_client_call_duration_seconds", method, by_code: Default::default() }
    }

    /// The full name of the method, such as `sallyport.auth.v1.AuthService/Login`.
    pub fn method(&self) -> &'static str {
        self.method
    }

    pub fn record(&self, code: Code, duration: Duration) {
        let index = code as usize;
        let histogram = self.by_code[index].get_or_init(|| {
            metrics::histogram!(
                self.metric,
                "rpc_system_name" => "grpc",
                "rpc_method" => self.method,
                "rpc_response_status_code" => CODE_NAMES[index]
            )
        });
        histogram.record(duration);
    }
}

/// Runs one call on the server: inside the caller's trace, under a server span when that is sampled, and counted when it
/// ends. `context` is the caller's, or a new root; `code` reads the gRPC code off the outcome.
pub async fn serve<T>(
    durations: &CallDurations,
    context: TraceContext,
    call: impl Future<Output = T>,
    code: impl Fn(&T) -> Code,
) -> T {
    let started = Instant::now();
    // Pinned once, so that the two branches do not each reserve room for it.
    let call = std::pin::pin!(call);
    let outcome = context
        .scope(async {
            if !context.sampled {
                return call.await;
            }
            let span = server_span(durations.method);
            context.adopt(&span);
            let outcome = call.instrument(span.clone()).await;
            record_code(&span, code(&outcome));
            outcome
        })
        .await;
    durations.record(code(&outcome), started.elapsed());
    outcome
}

/// The gRPC code of a call's outcome.
pub fn code_of<T>(outcome: &Result<T, Status>) -> Code {
    outcome.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

fn server_span(method: &'static str) -> tracing::Span {
    tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
    )
}

/// A span for a call that this process makes; nothing outside a sampled scope.
pub fn client_span(method: &'static str, server_address: &str, server_port: u16) -> tracing::Span {
    tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = tracing::field::Empty,
        server.address = server_address,
        server.port = server_port,
    )
}

/// Notes how a call ended. Only the codes that the conventions call errors mark the span as one.
pub fn record_code(span: &tracing::Span, code: Code) {
    span.record("rpc.response.status_code", CODE_NAMES[code as usize]);
    let server_fault = matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    );
    if server_fault {
        span.record("otel.status_code", "ERROR");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_name() {
        for (number, name) in (0_i32..).zip(CODE_NAMES) {
            let code = Code::from_i32(number);
            assert_eq!(name.replace('_', ""), format!("{code:?}").to_uppercase());
        }
    }

    #[tokio::test]
    async fn a_call_runs_inside_the_callers_trace() {
        let parent = TraceContext::root(false);
        let durations = CallDurations::server("test.Service/Method");
        let call = async { Ok(TraceContext::current()) };
        let seen = serve(&durations, parent, call, code_of).await.unwrap();
        assert_eq!(seen, Some(parent));
    }
}
