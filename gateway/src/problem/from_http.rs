//! Failures that are known by their HTTP status alone: the router's own, and those of libraries.

use http::StatusCode;

use super::Problem;

impl From<StatusCode> for Problem {
    fn from(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("NOT_FOUND", "There is nothing at this path."),
            StatusCode::METHOD_NOT_ALLOWED => ("METHOD_NOT_ALLOWED", "This path does not take this method."),
            StatusCode::REQUEST_TIMEOUT => ("REQUEST_TIMEOUT", "The request took too long to arrive."),
            StatusCode::PAYLOAD_TOO_LARGE => ("BODY_TOO_LARGE", "The body is larger than this server takes."),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("UNSUPPORTED_MEDIA_TYPE", "The body has to be application/json.")
            }
            StatusCode::PRECONDITION_FAILED => {
                ("VERSION_MISMATCH", "It has changed since the version that If-Match names.")
            }
            StatusCode::PRECONDITION_REQUIRED => {
                ("IF_MATCH_REQUIRED", "A change has to name the version that it was made from, in If-Match.")
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                ("UNAVAILABLE", "The service is not available right now; try again.")
            }
            status if status.is_client_error() => ("BAD_REQUEST", "The request cannot be understood."),
            status => {
                let mut problem = Self::internal(format!("answered {status}"));
                problem.0.status = status;
                return problem;
            }
        };
        Self::new(status, code, detail)
    }
}
