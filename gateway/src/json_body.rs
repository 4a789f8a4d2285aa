//! Request bodies: read within size and time, of the right type, JSON, and an object.
//!
//! The members are taken out by name ([`Members`]), so that every complaint points at its member.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::app::App;
use crate::problem::{FieldError, Problem};

/// How long a request keeps its place while its body is on the way. Who sends slower than this leaves it to others meanwhile.
const PROMPT: Duration = Duration::from_millis(10);

/// An `application/json` object.
pub struct JsonBody(pub Members);

impl FromRequest<App> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        require_type(request.headers(), &["application/json"])?;
        Members::parse(&read(request, app).await?).map(Self)
    }
}

/// An object of changes: RFC 7396 JSON Merge Patch, or plain JSON taken as one.
pub struct MergePatch(pub Members);

/// What a `PATCH` takes.
const PATCH_TYPES: [&str; 2] = ["application/merge-patch+json", "application/json"];

impl FromRequest<App> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        require_type(request.headers(), &PATCH_TYPES).map_err(|problem| {
            problem.with_header(
                http::HeaderName::from_static("accept-patch"),
                http::HeaderValue::from_static("application/merge-patch+json, application/json"),
            )
        })?;
        Members::parse(&read(request, app).await?).map(Self)
    }
}

/// Types are compared without their parameters; a charset other than UTF-8 shows when the body does not parse.
fn require_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    let detail = format!("The body has to be {}.", accepted.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", detail))
}

async fn read(request: Request, app: &App) -> Result<Bytes, Problem> {
    let bounds = &app.settings.bounds;
    let mut body = std::pin::pin!(Limited::new(request.into_body(), bounds.body_limit_bytes).collect());
    let mut read = timeout(PROMPT, body.as_mut()).await;
    if read.is_err() {
        let place = app.admission.while_the_client_sends();
        read = timeout(bounds.body_timeout(), body).await;
        place.take_back().await?;
    }
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE.into()),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "BODY_INCOMPLETE",
            "The body ended before it was complete.",
        )),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into()),
    }
}

/// The members of a JSON object, and what is wrong with them.
pub struct Members {
    members: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Members {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, errors: Vec::new() }),
            Ok(_) => Err(Problem::invalid_fields(vec![FieldError::new("", "has to be a JSON object")])),
            Err(_) if body.is_empty() => {
                Err(invalid_json("The body is missing; a JSON object is needed.".to_owned()))
            }
            // The parser tells what it expected and where, and repeats nothing of the text.
            Err(error) => Err(invalid_json(format!("The body is not valid JSON: {error}."))),
        }
    }

    /// Takes a member out.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    /// A string that has to be there.
    pub fn required_string(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(Value::String(text)) => text,
            None => {
                self.complain(format!("/{name}"), "is required");
                String::new()
            }
            Some(_) => {
                self.complain(format!("/{name}"), "has to be a string");
                String::new()
            }
        }
    }

    /// A string, or nothing: absent or null.
    pub fn optional_string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            Value::Null => None,
            _ => {
                self.complain(format!("/{name}"), "has to be a string or null");
                None
            }
        }
    }

    /// Notes that something is wrong; the request goes no further than [`Self::finish`].
    pub fn complain(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError::new(pointer, detail));
    }

    pub fn has_complaints(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Refuses whatever has not been taken out.
    pub fn refuse_others(&mut self, describe: impl Fn(&str) -> &'static str) {
        for name in std::mem::take(&mut self.members).keys() {
            self.errors.push(FieldError::new(format!("/{}", escaped(name)), describe(name)));
        }
    }

    /// # Errors
    /// 400 with every complaint.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(self.errors)) }
    }
}

fn invalid_json(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "INVALID_JSON", detail)
}

/// A member's name as a segment of a JSON Pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> String {
        Members::parse(body).err().map_or_else(String::new, |problem| problem.code().to_owned())
    }

    #[test]
    fn only_an_object_is_taken() {
        assert_eq!(code(b"{}"), "");
        for invalid in [
            &b""[..],
            b"{",
            b"nonsense",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{} {}",
            b"{\"a\":1e999}",
        ] {
            assert_eq!(code(invalid), "INVALID_JSON", "{invalid:?}");
        }
        assert_eq!(code("[".repeat(100_000).as_bytes()), "INVALID_JSON");
        for other in [&b"[]"[..], b"null", b"1", b"\"text\""] {
            assert_eq!(code(other), "INVALID_FIELD", "{other:?}");
        }
    }

    #[test]
    fn a_complaint_points_at_its_member() {
        let mut members = Members::parse(br#"{"a": 1, "b": null, "c/d~": true}"#).unwrap();
        members.required_string("a");
        members.required_string("missing");
        assert_eq!(members.optional_string("b"), None);
        members.refuse_others(|_| "is not known");
        let pointers: Vec<_> = members.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(pointers, ["/a", "/missing", "/c~1d~0"]);
        assert!(members.finish().is_err());
    }
}
