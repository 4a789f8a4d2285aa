//! The JSON document of a problem, and the place where every failing response becomes one.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use chassis::trace::TraceContext;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use super::{FieldError, Kind, Problem, QUOTA_EXCEEDED, REDUCED_CAPACITY};

/// RFC 9457 problem details.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase")]
pub struct ProblemDocument<'a> {
    /// `about:blank`, or a problem type registered with IANA.
    #[schema(example = "about:blank")]
    r#type: &'a str,
    /// The type in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// This occurrence in words.
    detail: &'a str,
    /// The path that was asked for.
    instance: &'a str,
    /// Stable name of the failure, for programs.
    #[schema(example = "USERNAME_TAKEN")]
    code: &'a str,
    /// The same as `detail`.
    error: &'a str,
    /// The trace of this request, as it is in logs and traces.
    trace_id: String,
    /// The invalid members of the body.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The rate-limit policies whose quota is used up.
    #[serde(rename = "violated-policies", skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    violated_policies: &'a [&'static str],
}

impl Problem {
    fn document(&self, instance: &str) -> Vec<u8> {
        let content = &*self.0;
        let (kind, title) = match content.kind {
            Some(Kind::QuotaExceeded) => (QUOTA_EXCEEDED, "Quota Exceeded"),
            Some(Kind::ReducedCapacity) => (REDUCED_CAPACITY, "Temporary Reduced Capacity"),
            None => ("about:blank", content.status.canonical_reason().unwrap_or("Client Closed Request")),
        };
        let document = ProblemDocument {
            r#type: kind,
            title,
            status: content.status.as_u16(),
            detail: &content.detail,
            instance,
            code: &content.code,
            error: &content.detail,
            trace_id: TraceContext::current().map(TraceContext::trace_id_hex).unwrap_or_default(),
            errors: &content.errors,
            violated_policies: &content.violated_policies,
        };
        // Strings, numbers and lists of strings always serialise.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// Makes a problem document of every response that tells of a failure, whoever made it: a handler, the router or a library.
pub fn render(uri: &Uri, response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let mut response = match response.extensions().get::<Problem>() {
        Some(_) => response,
        None => adopt(status, response),
    };
    if let Some(problem) = response.extensions().get::<Problem>() {
        *response.body_mut() = Body::from(problem.document(uri.path()));
    }
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// Keeps the headers of a failure that was not made here, such as `Allow`.
fn adopt(status: StatusCode, response: Response) -> Response {
    let (mut parts, _) = Problem::from(status).into_response().into_parts();
    for (name, value) in response.headers() {
        parts.headers.append(name, value.clone());
    }
    Response::from_parts(parts, Body::empty())
}
