//! The one way in which anything fails here: RFC 9457 `application/problem+json`.
//!
//! A [`Problem`] travels as a response without a body until [`document`] writes it, once, with the path and the trace id that only
//! the middleware knows.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chassis::bulkhead::Full;
use http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

mod document;
mod from_http;
mod from_status;

pub use document::{ProblemDocument, render};

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// What went wrong with a request, for the client. Cheap to move: errors are the exception.
#[derive(Debug, Clone)]
pub struct Problem(Box<Content>);

#[derive(Debug, Clone)]
struct Content {
    status: StatusCode,
    kind: Option<Kind>,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    violated_policies: Vec<&'static str>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

/// The problem types that are registered with IANA; all others are `about:blank`, told apart by their `code`.
#[derive(Debug, Clone, Copy)]
enum Kind {
    QuotaExceeded,
    ReducedCapacity,
}

/// One invalid member of a request's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the request's body.
    #[schema(example = "/username")]
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Problem {
    /// `code` is stable and upper-case; `detail` is a sentence for people.
    pub fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Content {
            status,
            kind: None,
            code: code.into(),
            detail: detail.into(),
            errors: Vec::new(),
            violated_policies: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// 400 for members that are missing, of a wrong type or not acceptable.
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [] => "The request is not valid.".to_owned(),
            [only] if only.pointer.is_empty() => format!("The body {}.", only.detail),
            [only] => {
                format!("{} {}.", only.pointer.trim_start_matches('/'), only.detail.trim_end_matches('.'))
            }
            several => format!("{} members of the body are not valid.", several.len()),
        };
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "INVALID_FIELD", detail);
        problem.0.errors = errors;
        problem
    }

    /// 401 for a request without a session.
    pub fn no_session() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "SESSION_INVALID", "There is no valid session; log in.")
    }

    /// Whether it says that there is no session, rather than that it cannot be told.
    pub fn is_no_session(&self) -> bool {
        self.0.status == StatusCode::UNAUTHORIZED
    }

    /// Whether it says that something is away or too busy: nothing that was asked for has been judged.
    pub fn is_unavailable(&self) -> bool {
        self.0.status == StatusCode::SERVICE_UNAVAILABLE
    }

    /// Whether it is refused for want of capacity. That is counted where it happens; a line for each would be work too.
    pub fn is_at_capacity(&self) -> bool {
        matches!(self.0.kind, Some(Kind::ReducedCapacity))
    }

    /// 429 for a client that asked too often. `retry_after` is never earlier than the quota's reset.
    pub fn quota_exceeded(policy: &'static str, retry_after: Duration) -> Self {
        let mut problem =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED", "Too many requests; try again later.");
        problem.0.kind = Some(Kind::QuotaExceeded);
        problem.0.violated_policies.push(policy);
        problem.0.retry_after = Some(retry_after);
        problem
    }

    /// 503 for a request that finds no place: nothing of it has been done.
    pub fn at_capacity() -> Self {
        let detail = "There are more requests than this server can answer right now; try again.";
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "CAPACITY", detail);
        problem.0.kind = Some(Kind::ReducedCapacity);
        problem.0.violated_policies.push("capacity");
        // Those who were refused together should not come back together.
        problem.0.retry_after = Some(Duration::from_secs(fastrand::u64(1..=3)));
        problem
    }

    /// 500 for what must not happen; `cause` is for the log alone.
    pub fn internal(cause: impl Into<String>) -> Self {
        let detail = "Something went wrong on this side; the trace id leads to what it was.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", detail).caused_by(cause)
    }

    /// 504 for an answer that takes too long.
    pub fn timed_out() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "TIMEOUT", "The request took too long to answer.")
    }

    /// Tells the log, and nobody else, why.
    pub fn caused_by(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Adds a header to the response.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// The invalid members, if that is what it is about.
    #[cfg(test)]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// For the log.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }
}

impl From<Full> for Problem {
    fn from(_: Full) -> Self {
        Self::at_capacity()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.0.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(self.0.retry_after)));
            }
            StatusCode::CONFLICT if self.0.retry_after.is_some() => {
                headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(self.0.retry_after)));
            }
            _ => {}
        }
        for (name, value) in &self.0.headers {
            headers.insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Rounded up, and at least one: a client that comes back a moment early would be refused again.
fn whole_seconds(delay: Option<Duration>) -> u64 {
    delay.map_or(1, |delay| delay.as_millis().div_ceil(1000).max(1) as u64)
}
