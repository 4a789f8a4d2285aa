//! Each request's trace, its place in the metrics and its line in the log.
//!
//! Never in any of them: the query, a header, a token, a body.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use chassis::shutdown::Shutdown;
use chassis::trace::{Kind, Span, TraceContext};
use http::{HeaderName, HeaderValue, Method, Version};
use metrics::Histogram;

use crate::app::Settings;
use crate::client_address;
use crate::problem::Problem;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// One request, from its headers to its answer.
pub struct Observation {
    started: Instant,
    context: TraceContext,
    method: &'static str,
    route: Option<MatchedPath>,
    path: Option<String>,
    version: Version,
}

impl Observation {
    pub fn begin(request: &Request, settings: &Settings) -> Self {
        let context = trace_context(request, settings);
        let logged = context.sampled || tracing::enabled!(tracing::Level::DEBUG);
        Self {
            started: Instant::now(),
            context,
            method: known_method(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            path: logged.then(|| request.uri().path().to_owned()),
            version: request.version(),
        }
    }

    /// Runs the request in its trace, under a span when that is sampled, and tells how it ended.
    pub async fn around(
        self,
        answer: impl Future<Output = Response>,
        durations: &RouteDurations,
    ) -> Response {
        let mut span = self.span();
        let context = span.within(self.context);
        let answer = async {
            let mut response = answer.await;
            tell_trace(&mut response, context);
            self.tell_outcome(&response, durations, &mut span);
            response
        };
        context.scope(answer).await
    }

    fn route(&self) -> &str {
        self.route.as_ref().map_or("unmatched", MatchedPath::as_str)
    }

    /// The server span of the OpenTelemetry HTTP conventions, when the request is sampled.
    fn span(&self) -> Span {
        if !self.context.sampled {
            return Span::default();
        }
        let route = self.route.as_ref().map(MatchedPath::as_str);
        let name = match route {
            Some(route) => Cow::from(format!("{} {route}", self.method)),
            None => self.method.into(),
        };
        let mut span = Span::under(self.context, Kind::Server, &name);
        span.set("http.request.method", self.method)
            .set("url.scheme", "http")
            .set("network.protocol.version", protocol_version(self.version));
        if let Some(route) = route {
            span.set("http.route", route);
        }
        if let Some(path) = &self.path {
            span.set("url.path", &**path);
        }
        span
    }

    fn tell_outcome(&self, response: &Response, durations: &RouteDurations, span: &mut Span) {
        let status = response.status().as_u16();
        let elapsed = self.started.elapsed();
        durations.record(self.method, self.route(), status, elapsed);
        span.set("http.response.status_code", status);
        if status >= 500 {
            span.set("error.type", &*status.to_string()).fail();
        }
        let (method, route, micros) = (self.method, self.route(), elapsed.as_micros() as u64);
        let problem = response.extensions().get::<Problem>();
        if status >= 500 && !problem.is_some_and(Problem::is_at_capacity) {
            let code = problem.map(Problem::code);
            let cause = problem.and_then(Problem::cause);
            if status == 500 {
                tracing::error!(method, route, status, micros, code, cause, "request failed");
            } else {
                tracing::info!(method, route, status, micros, code, cause, "request failed");
            }
        } else {
            tracing::debug!(method, route, status, micros, path = self.path, "request answered");
        }
    }
}

/// Runs what goes on after the answer: in the request's trace, but not as a part of its span, which ends with the answer.
pub fn in_background(
    shutdown: &Shutdown,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let Some(context) = TraceContext::current() else {
        shutdown.spawn(work);
        return;
    };
    let span = Span::under(context, Kind::Internal, name);
    let work = span.within(context).scope(work);
    shutdown.spawn(async move {
        work.await;
        drop(span);
    });
}

/// Anybody may say which trace a request belongs to; whether it is recorded is decided here, unless a trusted proxy has decided.
fn trace_context(request: &Request, settings: &Settings) -> TraceContext {
    let sampled = settings.sampler.sample();
    let traceparent = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
    match traceparent.and_then(TraceContext::parse) {
        None => TraceContext::root(sampled),
        Some(theirs) => {
            let trusted = &settings.trusted_proxies;
            let decided = !trusted.is_empty()
                && client_address::peer(request.extensions()).is_some_and(|peer| trusted.contains(peer));
            TraceContext { sampled: if decided { theirs.sampled } else { sampled }, ..theirs }
        }
    }
}

fn tell_trace(response: &mut Response, context: TraceContext) {
    if let Ok(value) = HeaderValue::from_bytes(context.traceparent().as_bytes()) {
        response.headers_mut().insert(TRACEPARENT, value.clone());
        response.headers_mut().insert(TRACERESPONSE, value);
    }
}

/// The methods of the HTTP conventions; whatever a client makes up is `_OTHER`.
fn known_method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// `http_server_request_duration_seconds`, one handle per route, method and status: all three come from small sets.
#[derive(Default)]
pub struct RouteDurations {
    by_route: RwLock<HashMap<String, ByMethodAndStatus>>,
}

type ByMethodAndStatus = HashMap<(&'static str, u16), Histogram>;

impl RouteDurations {
    fn record(&self, method: &'static str, route: &str, status: u16, elapsed: Duration) {
        let known = self.by_route.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(histogram) = known.get(route).and_then(|of_route| of_route.get(&(method, status))) {
            histogram.record(elapsed);
            return;
        }
        drop(known);
        let histogram = metrics::histogram!(
            "http_server_request_duration_seconds",
            "http_request_method" => method,
            "http_route" => route.to_owned(),
            "http_response_status_code" => status.to_string()
        );
        histogram.record(elapsed);
        let mut known = self.by_route.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(route.to_owned()).or_default().insert((method, status), histogram);
    }
}
