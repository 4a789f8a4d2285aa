//! The gRPC server of a service: its RPCs, health, reflection, deadlines, and each call's trace and duration.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use prost::Message as _;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::{Code, Status};
use tower::{Layer, Service, ServiceBuilder, ServiceExt as _};

use crate::readiness::Readiness;
use crate::rpc::{self, CallDurations};
use crate::shutdown::Shutdown;
use crate::telemetry::Sampler;
use crate::trace::TraceContext;

/// Requests in flight on one connection; a call stream counts as one.
const MAX_CONCURRENT_STREAMS: u32 = 1024;

/// A gRPC server in the making.
pub struct Server {
    routes: RoutesBuilder,
    services: Vec<&'static str>,
    descriptors: &'static [u8],
    sampler: Sampler,
}

impl Server {
    /// `descriptors`: the serialised `FileDescriptorSet` of every RPC served, for reflection and for the metrics' names.
    pub fn new(descriptors: &'static [u8], sampler: Sampler) -> Self {
        Self { routes: RoutesBuilder::default(), services: Vec::new(), descriptors, sampler }
    }

    /// Adds a generated service.
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Serves until the shutdown stops.
    ///
    /// # Errors
    /// Descriptors that do not decode, or a listener that cannot be used.
    pub async fn serve(
        mut self,
        listener: std::net::TcpListener,
        readiness: Readiness,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let (health, health_service) = tonic_health::server::health_reporter();
        self.routes.add_service(health_service);
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(self.descriptors)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // Older grpcurl speaks v1alpha alone.
        let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
        self.routes.add_service(v1).add_service(v1alpha);

        shutdown.spawn_background(report_health(health, self.services, readiness, shutdown.clone()));
        let observe = Observe { methods: Arc::new(unary_methods(self.descriptors)?), sampler: self.sampler };
        let service = ServiceBuilder::new().layer(observe).service(self.routes.routes().prepare());
        let service =
            service.map_request(|request: Request<crate::http::RequestBody>| request.map(Body::new));
        let limits = crate::http::Limits {
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            ..crate::http::Limits::default()
        };
        Ok(crate::http::serve(listener, service, limits, shutdown).await?)
    }
}

/// Keeps `grpc.health.v1` current: SERVING once it can serve something, NOT_SERVING from the drain on.
async fn report_health(
    health: tonic_health::server::HealthReporter,
    services: Vec<&'static str>,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    use tonic_health::ServingStatus;
    let set = async |status| {
        for name in services.iter().copied().chain([""]) {
            health.set_service_status(name, status).await;
        }
    };
    set(ServingStatus::NotServing).await;
    while !readiness.can_serve() && !readiness.is_draining() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if readiness.can_serve() {
        set(ServingStatus::Serving).await;
    }
    shutdown.draining().cancelled().await;
    set(ServingStatus::NotServing).await;
    std::future::pending::<()>().await;
}

/// Every unary method by its HTTP path. Streams are observed item by item where they are served.
fn unary_methods(descriptors: &[u8]) -> anyhow::Result<HashMap<String, CallDurations>> {
    let files = prost_types::FileDescriptorSet::decode(descriptors)?;
    let mut methods = HashMap::new();
    for file in &files.file {
        for service in &file.service {
            for method in service.method.iter().filter(|m| !m.client_streaming() && !m.server_streaming()) {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                // As many as the contract has methods, once per process.
                methods.insert(format!("/{name}"), CallDurations::server(name.leak()));
            }
        }
    }
    Ok(methods)
}

/// Gives each unary call its trace, its deadline and its place in the metrics.
#[derive(Clone)]
struct Observe {
    methods: Arc<HashMap<String, CallDurations>>,
    sampler: Sampler,
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

#[derive(Clone)]
struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let observe = self.observe.clone();
        let path = request.uri().path().to_owned();
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let context = header("traceparent")
            .and_then(TraceContext::parse)
            .unwrap_or_else(|| TraceContext::root(observe.sampler.sample()));
        let timeout = header("grpc-timeout").and_then(parse_timeout);
        let call = self.inner.call(request);
        Box::pin(async move {
            let Some(durations) = observe.methods.get(&path) else { return call.await };
            rpc::serve(durations, context, within(timeout, call), |outcome| match outcome {
                Ok(response) => {
                    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
                }
                Err(never) => match *never {},
            })
            .await
        })
    }
}

async fn within(
    timeout: Option<Duration>,
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    match timeout {
        None => call.await,
        Some(timeout) => tokio::time::timeout(timeout, call).await.unwrap_or_else(|_| {
            Ok(Status::deadline_exceeded("the caller's deadline has passed").into_http())
        }),
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_specification_writes_them() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("99999999u"), Some(Duration::from_micros(99_999_999)));
        for invalid in ["", "m", "1", "123456789m", "-1m", "1x", "1\u{e9}"] {
            assert_eq!(parse_timeout(invalid), None, "{invalid}");
        }
    }
}
