//! The admin port: `/metrics`, `/livez` and `/readyz`, for operators and orchestrators, on a thread of its own so that it answers
//! while the service's thread is busy.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::readiness::Readiness;
use crate::telemetry::process_metrics;

#[derive(Clone)]
struct Admin {
    metrics: PrometheusHandle,
    readiness: Readiness,
}

/// The admin server before it serves: its socket waits until the service knows its own readiness.
#[derive(Debug)]
pub struct AdminPort(Option<Parts>);

#[derive(Debug)]
struct Parts {
    listener: std::net::TcpListener,
    metrics: PrometheusHandle,
    runtime: tokio::runtime::Handle,
}

impl AdminPort {
    pub(crate) fn new(
        listener: std::net::TcpListener,
        metrics: PrometheusHandle,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self(Some(Parts { listener, metrics, runtime }))
    }

    /// None, for a service that runs inside a test.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins to serve, on the operations thread.
    pub fn open(self, readiness: Readiness) {
        if let Some(Parts { listener, metrics, runtime }) = self.0 {
            runtime.spawn(serve(listener, metrics, readiness));
        }
    }
}

async fn serve(listener: std::net::TcpListener, metrics: PrometheusHandle, readiness: Readiness) {
    let router = Router::new()
        .route("/metrics", get(render_metrics))
        .route("/livez", get(async || "OK"))
        .route("/readyz", get(ready))
        .with_state(Admin { metrics, readiness });
    let served = async { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
    if let Err(error) = served.await {
        tracing::error!(%error, "admin server ended");
    }
}

async fn render_metrics(State(admin): State<Admin>) -> String {
    process_metrics::record();
    admin.metrics.render()
}

async fn ready(State(admin): State<Admin>) -> Response {
    ready_response(&admin.readiness)
}

/// 200 when the process should get traffic, else 503 with the reason.
pub fn ready_response(readiness: &Readiness) -> Response {
    if readiness.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining").into_response();
    }
    match readiness.waiting_for() {
        waiting if waiting.is_empty() => "OK".into_response(),
        waiting => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for {}", waiting.join(", "))).into_response()
        }
    }
}
