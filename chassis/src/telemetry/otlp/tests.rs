//! The exporter against real OTLP receivers that refuse, hang, and come late.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::*;
use crate::upstream::tests::eventually;

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(10);

/// A receiver that refuses whatever has a span of the name `refused`.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let request = request.into_inner();
        if spans_of(&request).iter().any(|span| span.name == "refused") {
            return Err(Status::invalid_argument("refused"));
        }
        self.0.lock().unwrap().push(request);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans_of(request: &ExportTraceServiceRequest) -> Vec<otlp::Span> {
    request.resource_spans.iter().flat_map(|it| &it.scope_spans).flat_map(|it| it.spans.clone()).collect()
}

impl Collector {
    /// Serves until the task is dropped.
    fn serve(&self, listener: TcpListener) -> JoinSet<()> {
        listener.set_nonblocking(true).unwrap();
        let incoming = tokio::net::TcpListener::from_std(listener).unwrap();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(incoming);
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        tasks
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().flat_map(spans_of).map(|span| span.name).collect()
    }
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

fn start(endpoint: &str, delay: Duration) -> (&'static Queue, Exporter) {
    let queue: &'static Queue = Box::leak(Box::new(Queue::new(Counter::noop())));
    let origin = Origin::new("test", Some("test-0"));
    let exporter = Exporter::start(queue, endpoint, delay, origin, &Handle::current()).unwrap();
    (queue, exporter)
}

/// A span that has nothing but a name.
fn span(name: &str) -> Vec<u8> {
    otlp::Span { name: name.to_owned(), ..otlp::Span::default() }.encode_to_vec()
}

async fn shut_down(exporter: Exporter, limit: Duration) -> bool {
    tokio::task::spawn_blocking(move || exporter.shut_down(limit)).await.unwrap()
}

#[tokio::test]
async fn what_is_left_at_the_end_is_sent_and_says_whose_it_is() {
    let (collector, (listener, endpoint)) = (Collector::default(), listener());
    let _server = collector.serve(listener);
    let (queue, exporter) = start(&endpoint, HOUR);
    queue.push(&span("first"));
    queue.push(&span("second"));
    assert!(shut_down(exporter, HOUR).await);

    assert_eq!(collector.names(), ["first", "second"]);
    let requests = collector.0.lock().unwrap().clone();
    let [request] = &requests[..] else { panic!("{requests:#?}") };
    let [of_resource] = &request.resource_spans[..] else { panic!("{request:#?}") };
    let resource = of_resource.resource.clone().unwrap();
    let text = |name: &str| {
        let attribute = resource.attributes.iter().find(|it| it.key == name).unwrap();
        attribute.value.clone().unwrap().value.unwrap()
    };
    for (name, value) in [
        ("service.name", "test"),
        ("service.namespace", "sallyport"),
        ("service.instance.id", "test-0"),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(text(name), any_value::Value::StringValue(value.into()));
    }
    assert_eq!(of_resource.scope_spans[0].scope.as_ref().unwrap().name, "test");
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_the_batch_it_missed() {
    let (collector, (listener, endpoint)) = (Collector::default(), listener());
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (queue, exporter) = start(&endpoint, SOON);
    queue.push(&span("early"));
    eventually(Duration::from_secs(5), || queue.is_empty()).await;
    let _server = collector.serve(TcpListener::bind(address).unwrap());
    eventually(Duration::from_secs(5), || collector.names() == ["early"]).await;
    assert!(shut_down(exporter, HOUR).await);
}

#[tokio::test]
async fn a_batch_that_is_refused_is_not_repeated_and_holds_up_no_other() {
    let (collector, (listener, endpoint)) = (Collector::default(), listener());
    let _server = collector.serve(listener);
    let (queue, exporter) = start(&endpoint, SOON);
    queue.push(&span("refused"));
    eventually(Duration::from_secs(5), || queue.is_empty()).await;
    queue.push(&span("taken"));
    eventually(Duration::from_secs(5), || collector.names() == ["taken"]).await;
    assert!(shut_down(exporter, HOUR).await);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_the_end_for_so_long_and_no_longer() {
    // Connections are taken by the kernel, and nobody ever answers.
    let (_listener, endpoint) = listener();
    let (queue, exporter) = start(&endpoint, SOON);
    queue.push(&span("lost"));
    let begun = Instant::now();
    assert!(!shut_down(exporter, Duration::from_millis(200)).await);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn without_a_collector_the_end_is_not_held_up() {
    let (listener, endpoint) = listener();
    drop(listener);
    let (queue, exporter) = start(&endpoint, SOON);
    queue.push(&span("lost"));
    let begun = Instant::now();
    assert!(shut_down(exporter, HOUR).await);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
