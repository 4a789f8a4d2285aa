//! How a service's failures travel: a gRPC code, a stable reason and what the caller can do about it.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A service's error enum. Its one exhaustive match gives every variant its code and reason.
pub trait Failure: Error {
    /// The `domain` of `google.rpc.ErrorInfo`: who speaks.
    const DOMAIN: &str;

    fn code(&self) -> Code;

    /// Stable and upper-case: part of the interface.
    fn reason(&self) -> &'static str;

    /// Field and description of each invalid input.
    fn violations(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// When it makes sense to try again.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Turns a failure into what the wire carries, and logs it: the server's own at error level with their cause, the
/// caller's at debug level.
pub fn to_status<F: Failure>(failure: &F) -> Status {
    let (code, reason) = (failure.code(), failure.reason());
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::error!(reason, cause = cause_chain(failure), "{failure}");
        }
        Code::Unavailable | Code::DeadlineExceeded => {
            tracing::warn!(reason, cause = cause_chain(failure), "{failure}");
        }
        _ => tracing::debug!(reason, "{failure}"),
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, F::DOMAIN, std::collections::HashMap::new());
    for (field, description) in failure.violations() {
        details.add_bad_request_violation(field, description);
    }
    if let Some(delay) = failure.retry_after() {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(code, failure.to_string(), details)
}

/// The reason that a status carries, when it comes from one of our services.
pub fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// The causes below an error, outermost first.
pub fn cause_chain(error: &dyn Error) -> String {
    let mut chain = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !chain.is_empty() {
            chain.push_str(": ");
        }
        chain.push_str(&cause.to_string());
        next = cause.source();
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("too busy")]
    struct Busy(#[source] std::io::Error);

    impl Failure for Busy {
        const DOMAIN: &str = "test.sallyport";
        fn code(&self) -> Code {
            Code::ResourceExhausted
        }
        fn reason(&self) -> &'static str {
            "CAPACITY"
        }
        fn violations(&self) -> Vec<(String, String)> {
            vec![("username".into(), "is too short".into())]
        }
        fn retry_after(&self) -> Option<Duration> {
            Some(Duration::from_secs(2))
        }
    }

    #[test]
    fn a_status_carries_reason_violations_and_retry_and_not_the_cause() {
        let status = to_status(&Busy(std::io::Error::other("secret detail")));
        assert_eq!(reason(&status).as_deref(), Some("CAPACITY"));
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "username");
        assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(2)));
        assert_eq!(status.message(), "too busy");
        assert!(!format!("{status:?}").contains("secret detail"));
    }
}
