//! The upstream as the service that generated clients call.
//!
//! A call is whole in memory on both ways, so that it can be repeated and its outcome known. Requests that stream do not
//! come through here: they would be tied to one replica, which is what call streams avoid.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use super::Upstream;
use super::attempts::{Terms, Unanswered, traced};
use super::connection::{Answer, Lease, request_head};
use crate::rpc::CallDurations;
use crate::trace::TraceContext;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move { upstream.call_unary(request).await })
    }
}

impl Upstream {
    async fn call_unary(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let started = Instant::now();
        let durations = self.durations_of(request.uri().path());
        let outcome = self.attempt_unary(request, started, durations.method()).await;
        let code = match &outcome {
            Ok(answer) => answer.code(),
            Err(status) => status.code(),
        };
        durations.record(code, started.elapsed());
        outcome.map(Answer::into_response)
    }

    async fn attempt_unary(
        &self,
        request: Request<Body>,
        started: Instant,
        method: &'static str,
    ) -> Result<Answer, Status> {
        let (mut head, body) = request.into_parts();
        // What is not there at once is a stream of requests, whose end may never come.
        let whole = body.collect().now_or_never();
        let message = whole
            .ok_or_else(|| Status::internal("a stream of requests cannot be sent as a unary call"))??
            .to_bytes();
        let own = head
            .headers
            .remove(GRPC_TIMEOUT)
            .and_then(|value| crate::grpc::parse_timeout(value.to_str().ok()?));
        let deadline = started + own.unwrap_or(self.settings().deadline);
        let idempotent = self.settings().idempotent.contains(&head.uri.path());
        let path =
            head.uri.into_parts().path_and_query.ok_or_else(|| Status::internal("a call without a path"))?;

        let mut template = request_head(path);
        template.headers_mut().extend(head.headers);
        let terms = Terms { started, deadline, idempotent };
        self.run(terms, |lease| attempt(lease, &template, message.clone(), terms, method)).await
    }

    /// One histogram per method, made when it is first called.
    fn durations_of(&self, path: &str) -> Arc<CallDurations> {
        let mut methods = self.inner.methods.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(durations) = methods.get(path) {
            return durations.clone();
        }
        // As many as the generated clients have methods.
        let name: &'static str = path.trim_start_matches('/').to_owned().leak();
        let durations = Arc::new(CallDurations::client(name));
        methods.insert(path.to_owned(), durations.clone());
        durations
    }
}

async fn attempt(
    lease: Lease,
    template: &Request<()>,
    message: Bytes,
    terms: Terms,
    method: &'static str,
) -> Result<Answer, Unanswered> {
    let connection = lease.connection();
    let call = |context: Option<TraceContext>| async move {
        let mut head = template.clone();
        let left = terms.deadline.saturating_duration_since(Instant::now());
        head.headers_mut().insert(GRPC_TIMEOUT, timeout_value(left));
        if let Some(value) =
            context.and_then(|context| HeaderValue::from_bytes(context.traceparent().as_bytes()).ok())
        {
            head.headers_mut().insert(TRACEPARENT, value);
        }
        let answer = connection.unary(&head, message);
        if !terms.idempotent {
            return answer.await;
        }
        tokio::select! {
            biased;
            answer = answer => answer,
            () = connection.signals().given_up().cancelled() => Err(Unanswered::Lost),
        }
    };
    traced(method, connection, call, |outcome| match outcome {
        Ok(answer) => answer.code(),
        Err(_) => Code::Unavailable,
    })
    .await
}

impl Answer {
    /// The status as the replica wrote it: in the trailers, or in the headers when there is no message.
    fn code(&self) -> Code {
        let status = |headers: &HeaderMap| {
            headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
        };
        status(&self.trailers).or_else(|| status(&self.headers)).unwrap_or(Code::Unknown)
    }

    fn into_response(self) -> Response<Body> {
        let body = if self.message.is_empty() && self.trailers.is_empty() {
            Body::empty()
        } else {
            let trailers = self.trailers;
            Body::new(Full::new(self.message).with_trailers(async move { Some(Ok(trailers)) }))
        };
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers;
        response
    }
}

/// As the gRPC specification writes it: at most eight digits and a unit, here the finest that fits.
fn timeout_value(left: Duration) -> HeaderValue {
    let micros = left.as_micros();
    let text = if micros < 100_000_000 {
        format!("{micros}u")
    } else {
        format!("{}m", (micros / 1000).min(99_999_999))
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_at_most_eight_digits_and_never_longer_than_what_is_left() {
        for (left, text) in [
            (Duration::from_micros(1_500), "1500u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_secs(100), "100000m"),
            (Duration::from_secs(10_000_000), "99999999m"),
        ] {
            assert_eq!(timeout_value(left), text);
            assert!(crate::grpc::parse_timeout(text).unwrap() <= left);
        }
    }
}
