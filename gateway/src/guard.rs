//! No request takes for ever, takes everything, or takes the process down.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::{StatusCode, header};

use crate::config::Bounds;
use crate::problem::Problem;

/// Answers 504 when the time is over, and 500 when the handler panics.
pub async fn bounded(route: impl Future<Output = Response>, time: Duration) -> Response {
    match tokio::time::timeout(time, AssertUnwindSafe(route).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Problem::internal(format!("panicked: {}", message(&*panic))).into_response(),
        Err(_) => Problem::timed_out().caused_by("the request deadline has passed").into_response(),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// 413 for a body that says itself that it is too large, before any of it is read. Bodies that do not say are measured while they
/// are read.
pub fn refuse_oversized(request: &Request, bounds: &Bounds) -> Option<Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH)?;
    let length: usize = length.to_str().ok()?.parse().ok()?;
    (length > bounds.body_limit_bytes).then(|| Problem::from(StatusCode::PAYLOAD_TOO_LARGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_and_a_hang_are_answered() {
        let response = bounded(async { panic!("a bug") }, Duration::from_secs(1)).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.extensions().get::<Problem>().unwrap().cause(), Some("panicked: a bug"));
        let response = bounded(std::future::pending(), Duration::from_millis(1)).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    }
}
