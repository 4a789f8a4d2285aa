//! A trace collector: a real OTLP/gRPC receiver that keeps what it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::secrets::hex;
use crate::wait;

/// A span as it was received; ids in hexadecimal digits, an empty parent for a root.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub service: String,
    pub name: String,
    pub kind: otlp::span::SpanKind,
    pub trace_id: String,
    pub id: String,
    pub parent_id: String,
    pub failed: bool,
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// The receiver; it ends when it is dropped.
pub struct Collector {
    address: SocketAddr,
    spans: Spans,
    _server: JoinSet<()>,
}

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Span>>>);

impl Collector {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn start() -> Self {
        let spans = Spans::default();
        let started = async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            std::io::Result::Ok((listener.local_addr()?, TcpListenerStream::new(listener)))
        };
        let (address, incoming) =
            started.await.unwrap_or_else(|error| panic!("no socket for a collector: {error}"));
        let service = TraceServiceServer::new(spans.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let served = Server::builder().add_service(service).serve_with_incoming(incoming).await;
            served.unwrap_or_else(|error| panic!("the collector ended: {error}"));
        });
        Self { address, spans, _server: server }
    }

    /// As `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was received so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().clone()
    }

    /// The spans of one trace, as soon as they are as the test wants them.
    pub async fn trace(&self, what: &str, trace_id: &str, complete: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        wait::until(what, async || {
            let spans: Vec<_> =
                self.spans.lock().iter().filter(|span| span.trace_id == trace_id).cloned().collect();
            complete(&spans).then_some(spans)
        })
        .await
    }
}

impl Spans {
    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = attributes(of_resource.resource.map(|it| it.attributes).unwrap_or_default());
            let service = resource.get("service.name").cloned().unwrap_or_default();
            for span in of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
                self.lock().push(Span {
                    service: service.clone(),
                    kind: span.kind(),
                    failed: span
                        .status
                        .is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
                    name: span.name,
                    trace_id: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent_id: hex(&span.parent_span_id),
                    attributes: attributes(span.attributes),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter().map(|pair| (pair.key, pair.value.map(text).unwrap_or_default())).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
