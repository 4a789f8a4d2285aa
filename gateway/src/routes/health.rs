//! `GET /health`, `/livez` and `/readyz`, for load balancers.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::app::App;
use crate::problem::{Problem, ProblemDocument};

/// Is the process there?
#[utoipa::path(get, path = "/health", tag = "operations", responses(
    (status = 200, description = "It is.", body = String, content_type = "text/plain", example = "OK"),
))]
pub async fn health() -> &'static str {
    "OK"
}

/// Is the process there?
#[utoipa::path(get, path = "/livez", tag = "operations", responses(
    (status = 200, description = "It is.", body = String, content_type = "text/plain", example = "OK"),
))]
pub async fn livez() -> &'static str {
    "OK"
}

/// Should the process get traffic?
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, description = "It should.", body = String, content_type = "text/plain", example = "OK"),
    (status = 503, description = "It drains, or waits for an upstream's first answer.", body = ProblemDocument,
        content_type = "application/problem+json"),
))]
pub async fn readyz(State(app): State<App>) -> Response {
    if app.readiness.is_ready() {
        return "OK".into_response();
    }
    let reason = if app.readiness.is_draining() {
        "draining".to_owned()
    } else {
        format!("waiting for {}", app.readiness.waiting_for().join(", "))
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "NOT_READY", format!("Not ready: {reason}."))
        .into_response()
}
