//! What the services say, in HTTP: the one table that pairs gRPC codes with HTTP statuses.

use std::borrow::Cow;

use http::StatusCode;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{FieldError, Kind, Problem};

/// Code, HTTP status, and the problem's `code` when the service gives no reason of its own.
const BY_CODE: [(Code, u16, &str); 14] = [
    (Code::InvalidArgument, 400, "INVALID_ARGUMENT"),
    (Code::OutOfRange, 400, "OUT_OF_RANGE"),
    (Code::FailedPrecondition, 400, "FAILED_PRECONDITION"),
    (Code::Unauthenticated, 401, "UNAUTHENTICATED"),
    (Code::PermissionDenied, 403, "PERMISSION_DENIED"),
    (Code::NotFound, 404, "NOT_FOUND"),
    (Code::AlreadyExists, 409, "ALREADY_EXISTS"),
    (Code::Aborted, 409, "ABORTED"),
    (Code::ResourceExhausted, 429, "RESOURCE_EXHAUSTED"),
    (Code::Cancelled, 499, "CANCELLED"),
    (Code::Unimplemented, 501, "UNIMPLEMENTED"),
    (Code::Unavailable, 503, "UNAVAILABLE"),
    (Code::DeadlineExceeded, 504, "TIMEOUT"),
    (Code::Internal, 500, "INTERNAL"),
];

/// Reasons that say more than their code.
const BY_REASON: [(&str, u16); 5] = [
    ("CAPACITY", 503),
    ("VERSION_MISMATCH", 412),
    ("IDEMPOTENCY_KEY_REUSED", 422),
    ("EMAIL_MISSING", 409),
    ("EMAIL_VERIFIED", 409),
];

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let from_service = info.is_some_and(|info| info.domain != chassis::upstream::DOMAIN);
        let reason = info.map(|info| info.reason.clone());
        let (http, default_code) = http_status(status.code(), reason.as_deref());
        let is_capacity = reason.as_deref() == Some("CAPACITY");
        let code = reason.map_or(Cow::Borrowed(default_code), Cow::Owned);

        let mut problem = match details.bad_request() {
            Some(bad_request) => Self::invalid_fields(
                bad_request
                    .field_violations
                    .iter()
                    .map(|violation| {
                        FieldError::new(pointer(&violation.field), violation.description.clone())
                    })
                    .collect(),
            ),
            None => Self::new(http, "", detail(&status, http, from_service)),
        };
        problem.0.status = http;
        problem.0.code = code;
        problem.0.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        if is_capacity {
            problem.0.kind = Some(Kind::ReducedCapacity);
            problem.0.violated_policies.push("capacity");
        }
        if http.is_server_error() {
            problem.0.cause = Some(format!("{:?}: {}", status.code(), status.message()));
        }
        problem
    }
}

fn http_status(code: Code, reason: Option<&str>) -> (StatusCode, &'static str) {
    let by_reason = BY_REASON.iter().find(|(known, _)| Some(*known) == reason).map(|(_, http)| *http);
    let (http, name) = BY_CODE
        .iter()
        .find(|(known, ..)| *known == code)
        .map_or((500, "INTERNAL"), |(_, http, name)| (*http, *name));
    let http = StatusCode::from_u16(by_reason.unwrap_or(http)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (http, name)
}

/// What a service says about a request is for the client; what a library says about a failed call is for the log.
fn detail(status: &Status, http: StatusCode, from_service: bool) -> Cow<'static, str> {
    if from_service && http != StatusCode::INTERNAL_SERVER_ERROR {
        return sentence(status.message()).into();
    }
    match http {
        StatusCode::SERVICE_UNAVAILABLE => "The service is not available right now; try again.".into(),
        StatusCode::GATEWAY_TIMEOUT => "The request took too long to answer.".into(),
        http if http.is_server_error() => {
            "Something went wrong on this side; the trace id leads to what it was.".into()
        }
        _ => "The request cannot be answered.".into(),
    }
}

/// Errors are written in lower case and without a full stop; people get a sentence.
fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    let stop = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(characters).chain(stop.chars()).collect()
}

/// From a protobuf field path to a JSON Pointer: `links[0].avatar_url` is `/links/0/avatarUrl`.
fn pointer(field: &str) -> String {
    let mut pointer = String::with_capacity(field.len() + 1);
    for segment in field.split(['.', '[', ']']).filter(|segment| !segment.is_empty()) {
        pointer.push('/');
        let mut words = segment.split('_');
        pointer.extend(words.next());
        for word in words {
            let mut letters = word.chars();
            pointer.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            pointer.push_str(letters.as_str());
        }
    }
    pointer
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use axum::response::IntoResponse as _;
    use tonic_types::ErrorDetails;

    use super::*;

    fn told(code: Code, reason: &str) -> Problem {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, "auth.sallyport", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1500)));
        Problem::from(Status::with_error_details(code, "the username is taken", details))
    }

    #[test]
    fn every_code_has_its_status() {
        for (code, http) in [
            (Code::InvalidArgument, 400),
            (Code::OutOfRange, 400),
            (Code::FailedPrecondition, 400),
            (Code::Unauthenticated, 401),
            (Code::PermissionDenied, 403),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::Aborted, 409),
            (Code::ResourceExhausted, 429),
            (Code::Cancelled, 499),
            (Code::Unimplemented, 501),
            (Code::Unavailable, 503),
            (Code::DeadlineExceeded, 504),
            (Code::Internal, 500),
            (Code::Unknown, 500),
            (Code::DataLoss, 500),
        ] {
            assert_eq!(Problem::from(Status::new(code, "x")).status().as_u16(), http, "{code:?}");
        }
        assert_eq!(told(Code::ResourceExhausted, "CAPACITY").status().as_u16(), 503);
        assert_eq!(told(Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED").status().as_u16(), 422);
        assert_eq!(told(Code::Aborted, "VERSION_MISMATCH").status().as_u16(), 412);
    }

    #[test]
    fn what_the_service_says_reaches_the_client_as_a_sentence() {
        let problem = told(Code::AlreadyExists, "USERNAME_TAKEN");
        assert_eq!((problem.code(), &*problem.0.detail), ("USERNAME_TAKEN", "The username is taken."));
    }

    #[test]
    fn what_a_library_says_reaches_the_log_alone() {
        let problem = Problem::from(Status::unavailable("tcp connect error 10.1.2.3:50051"));
        assert!(!problem.0.detail.contains("10.1.2.3"));
        assert!(problem.cause().unwrap().contains("10.1.2.3"));
        let internal = told(Code::Internal, "INTERNAL");
        assert!(!internal.0.detail.contains("username"));
    }

    #[test]
    fn retry_after_is_rounded_up_and_always_there() {
        let retry_after = |problem: Problem| problem.into_response().headers()["retry-after"].clone();
        assert_eq!(retry_after(told(Code::ResourceExhausted, "CAPACITY")), "2");
        assert_eq!(retry_after(Problem::from(Status::unavailable("x"))), "1");
    }

    #[test]
    fn field_paths_become_json_pointers() {
        assert_eq!(pointer("display_name"), "/displayName");
        assert_eq!(pointer("links[12].url"), "/links/12/url");
        assert_eq!(pointer("links.0.label"), "/links/0/label");
        assert_eq!(pointer(""), "");
    }
}
