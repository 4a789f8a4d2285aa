//! What callers are told when it is not the upstream that answers.
//!
//! Nothing is logged here: the pool logs when a replica comes or goes, once, however many calls that costs.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `domain` of the `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "sallyport.chassis";

/// When it makes sense to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a call ended without the upstream's own answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No replica could be reached: nothing has happened.
    Away,
    /// The connection was lost while the call was in flight: it may or may not have been carried out.
    Lost,
    /// No answer before the deadline: it may or may not have been carried out.
    TimedOut,
    /// Too many calls are in flight: nothing has happened.
    Full,
    /// There was an answer, but not one of this method.
    Undecodable,
}

impl Failure {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::Away | Self::Lost => Code::Unavailable,
            Self::TimedOut => Code::DeadlineExceeded,
            Self::Full => Code::ResourceExhausted,
            Self::Undecodable => Code::Internal,
        }
    }

    /// Stable and upper-case: part of the interface.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Away => "UPSTREAM_AWAY",
            Self::Lost => "UPSTREAM_LOST",
            Self::TimedOut => "UPSTREAM_TIMED_OUT",
            Self::Full => "CAPACITY",
            Self::Undecodable => "UPSTREAM_UNDECODABLE",
        }
    }

    pub(crate) fn status(self, upstream: &str) -> Status {
        let message = match self {
            Self::Away => format!("{upstream} cannot be reached"),
            Self::Lost => format!("the connection to {upstream} was lost before it answered"),
            Self::TimedOut => format!("{upstream} did not answer in time"),
            Self::Full => format!("too many calls to {upstream} are in flight"),
            Self::Undecodable => format!("the answer of {upstream} cannot be decoded"),
        };
        let mut details = ErrorDetails::new();
        details.set_error_info(self.reason(), DOMAIN, HashMap::new());
        if matches!(self, Self::Away | Self::Lost | Self::Full) {
            details.set_retry_info(Some(RETRY_AFTER));
        }
        Status::with_error_details(self.code(), message, details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_code_domain_and_reason() {
        let status = Failure::Away.status("auth-svc");
        assert_eq!(status.code(), Code::Unavailable);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, "UPSTREAM_AWAY"));
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(RETRY_AFTER));
    }
}
