//! What every call has in common, unary or on a stream, as server or as client: its duration by outcome, and on the server
//! its place in the caller's trace.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics::Histogram;
use tonic::{Code, Status};

use crate::trace::{Kind, Span, TraceContext};

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
    let mut span = span_of(context, Kind::Server, durations.method);
    let outcome = span.within(context).scope(call).await;
    let code = code(&outcome);
    record_code(&mut span, code);
    durations.record(code, started.elapsed());
    outcome
}

/// The gRPC code of a call's outcome.
pub fn code_of<T>(outcome: &Result<T, Status>) -> Code {
    outcome.as_ref().map_or_else(Status::code, |_| Code::Ok)
}

/// A span for a call, named as the OpenTelemetry RPC conventions have it.
pub(crate) fn span_of(context: TraceContext, kind: Kind, method: &'static str) -> Span {
    let mut span = Span::under(context, kind, method);
    span.set("rpc.system.name", "grpc").set("rpc.method", method);
    span
}

/// Notes how a call ended. Only the codes that the conventions call errors mark the span as one.
pub(crate) fn record_code(span: &mut Span, code: Code) {
    span.set("rpc.response.status_code", CODE_NAMES[code as usize]);
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
        span.fail();
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
