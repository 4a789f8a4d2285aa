//! A replica to try clients on: a real server on a thread of its own, which can be stopped, killed and made to hang.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use http::{Request, Response};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;

use crate::call_stream::{CallError, Incoming as IncomingCall, ServerFrames, Work, serve};
use crate::http::RequestBody as HttpBody;
use crate::shutdown::Shutdown;
use crate::trace::TraceContext;
use crate::upstream::{Address, Endpoints};

pub(crate) const UNARY: &str = "/test.EchoService/Echo";
pub(crate) const STREAM: &str = "/test.EchoService/EchoStream";

/// Request and response alike. `text` tells the server what to do: `fail`, `panic`, `trace` (the context that arrived); else it comes back.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Echo {
    #[prost(string, tag = "1")]
    pub(crate) text: String,
    #[prost(uint64, tag = "2")]
    pub(crate) delay_ms: u64,
}

pub(crate) fn echo(text: impl Into<String>, delay_ms: u64) -> Echo {
    Echo { text: text.into(), delay_ms }
}

/// The request frame as the contract's compiler would have it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestFrame {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) context: Option<CallContext>,
    #[prost(oneof = "RequestBody", tags = "3, 4")]
    pub(crate) body: Option<RequestBody>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallContext {
    #[prost(string, tag = "1")]
    pub(crate) traceparent: String,
    #[prost(uint64, tag = "2")]
    pub(crate) timeout_micros: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum RequestBody {
    #[prost(message, tag = "3")]
    Request(Echo),
    #[prost(message, tag = "4")]
    Cancel(Nothing),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseFrame {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(oneof = "ResponseBody", tags = "2, 3, 4")]
    pub(crate) body: Option<ResponseBody>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum ResponseBody {
    #[prost(message, tag = "2")]
    Response(Echo),
    #[prost(message, tag = "3")]
    Error(CallError),
    #[prost(message, tag = "4")]
    GoAway(Nothing),
}

pub(crate) enum EchoFrames {}

impl ServerFrames for EchoFrames {
    type Incoming = RequestFrame;
    type Outgoing = ResponseFrame;
    type Request = Echo;
    type Response = Echo;

    fn read(frame: RequestFrame) -> IncomingCall<Echo> {
        let context = frame.context.unwrap_or_default();
        let work = match frame.body {
            Some(RequestBody::Request(request)) => Work::Request(request),
            Some(RequestBody::Cancel(_)) => Work::Cancel,
            None => Work::Unknown,
        };
        IncomingCall {
            id: frame.id,
            traceparent: context.traceparent,
            timeout_micros: context.timeout_micros,
            work,
        }
    }

    fn response(id: u64, response: Echo) -> ResponseFrame {
        ResponseFrame { id, body: Some(ResponseBody::Response(response)) }
    }

    fn error(id: u64, error: CallError) -> ResponseFrame {
        ResponseFrame { id, body: Some(ResponseBody::Error(error)) }
    }

    fn go_away() -> ResponseFrame {
        ResponseFrame { id: 0, body: Some(ResponseBody::GoAway(Nothing {})) }
    }
}

/// What a replica was asked: how often each text was begun, and how often it was dropped before its answer.
#[derive(Default)]
pub(crate) struct Record {
    begun: Mutex<HashMap<String, usize>>,
    dropped: Mutex<HashMap<String, usize>>,
}

impl Record {
    pub(crate) fn begun(&self, text: &str) -> usize {
        self.begun.lock().unwrap().get(text).copied().unwrap_or(0)
    }

    pub(crate) fn dropped(&self, text: &str) -> usize {
        self.dropped.lock().unwrap().get(text).copied().unwrap_or(0)
    }

    pub(crate) fn total(&self) -> usize {
        self.begun.lock().unwrap().values().sum()
    }
}

/// The business of the fake, unary and streamed alike.
pub(crate) async fn handle(record: Arc<Record>, request: Echo) -> Result<Echo, Status> {
    struct UntilAnswered(Arc<Record>, Option<String>);
    impl Drop for UntilAnswered {
        fn drop(&mut self) {
            if let Some(text) = self.1.take() {
                *self.0.dropped.lock().unwrap().entry(text).or_default() += 1;
            }
        }
    }
    *record.begun.lock().unwrap().entry(request.text.clone()).or_default() += 1;
    let mut unanswered = UntilAnswered(record, Some(request.text.clone()));
    if request.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(request.delay_ms)).await;
    }
    unanswered.1 = None;
    match request.text.as_str() {
        "fail" => Err(Status::with_details(Code::Aborted, "as asked", bytes::Bytes::from_static(b"why"))),
        // Without the hook, whose backtrace would take the whole replica a while.
        "panic" => std::panic::resume_unwind(Box::new("as asked")),
        "trace" => Ok(echo(TraceContext::current().unwrap().traceparent().as_str().to_owned(), 0)),
        _ => Ok(request),
    }
}

/// A running replica. Dropping it kills it.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) record: Arc<Record>,
    shutdown: Shutdown,
    killed: CancellationToken,
    handle: tokio::runtime::Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), true)
    }

    /// A replica of a version that knows no streams.
    pub(crate) fn without_streams() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), false)
    }

    /// A new process in the place of one that was killed.
    pub(crate) fn restart(address: SocketAddr) -> Self {
        Self::on(TcpListener::bind(address).unwrap(), true)
    }

    fn on(listener: TcpListener, streams: bool) -> Self {
        let address = listener.local_addr().unwrap();
        let (record, shutdown, killed) =
            (Arc::new(Record::default()), Shutdown::new(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let service = Replica { record: record.clone(), shutdown: shutdown.clone(), streams };
        let (server, end) = (shutdown.clone(), killed.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let serve = crate::http::serve(listener, service, crate::http::Limits::default(), &server);
                let ended = async {
                    serve.await.unwrap();
                    server.finished(Duration::from_secs(60)).await;
                };
                tokio::select! {
                    () = ended => {}
                    () = end.cancelled() => {}
                }
            });
        });
        Self { address, record, shutdown, killed, handle, thread: Some(thread) }
    }

    /// As on SIGTERM: first the sign, after the delay no more listener, the end when nothing is in flight.
    pub(crate) fn drain(&self, delay: Duration) {
        let shutdown = self.shutdown.clone();
        drop(self.handle.spawn(async move { shutdown.begin(delay).await }));
    }

    /// As SIGSTOP and, after a time, SIGCONT: the kernel accepts connections, and nobody answers. Returns when it hangs.
    pub(crate) fn hang(&self, time: Duration) {
        let (begun, begins) = std::sync::mpsc::channel();
        drop(self.handle.spawn(async move {
            begun.send(()).unwrap();
            std::thread::sleep(time);
        }));
        begins.recv().unwrap();
    }

    /// As SIGKILL. Returns when every socket is closed.
    pub(crate) fn kill(&mut self) {
        self.killed.cancel();
        self.wait();
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.killed.cancel();
    }
}

pub(crate) fn endpoints(fakes: &[&Fake]) -> Endpoints {
    Endpoints::List(fakes.iter().map(|fake| Address::from(fake.address)).collect())
}

/// The services of a replica.
#[derive(Clone)]
struct Replica {
    record: Arc<Record>,
    shutdown: Shutdown,
    streams: bool,
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl tower::Service<Request<HttpBody>> for Replica {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<HttpBody>) -> Self::Future {
        let replica = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/grpc.health.v1.Health/Check" => {
                    let status = if replica.shutdown.draining().is_cancelled() { 2 } else { 1 };
                    let check =
                        move |_: HealthCheckRequest| async move { Ok(HealthCheckResponse { status }) };
                    let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
                    grpc.unary(Unary(check), request).await
                }
                UNARY => {
                    let context = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
                    let context =
                        context.and_then(TraceContext::parse).unwrap_or_else(|| TraceContext::root(false));
                    let work = move |request: Echo| handle(replica.record.clone(), request);
                    context
                        .scope(tonic::server::Grpc::new(ProstCodec::default()).unary(Unary(work), request))
                        .await
                }
                STREAM if replica.streams => {
                    tonic::server::Grpc::new(ProstCodec::default()).streaming(replica, request).await
                }
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

struct Unary<F>(F);

impl<F, Fut, Req, Resp> tower::Service<tonic::Request<Req>> for Unary<F>
where
    F: Fn(Req) -> Fut,
    Fut: Future<Output = Result<Resp, Status>> + Send + 'static,
{
    type Response = tonic::Response<Resp>;
    type Error = Status;
    type Future = Boxed<tonic::Response<Resp>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
        let work = (self.0)(request.into_inner());
        Box::pin(async move { work.await.map(tonic::Response::new) })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

impl tower::Service<tonic::Request<Streaming<RequestFrame>>> for Replica {
    type Response = tonic::Response<Answers>;
    type Error = Status;
    type Future = Boxed<tonic::Response<Answers>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Streaming<RequestFrame>>) -> Self::Future {
        let record = self.record.clone();
        let work = move |request| handle(record.clone(), request);
        let answers =
            serve::<EchoFrames, _, _>(request.into_inner(), work, "test.EchoService/Echo", &self.shutdown);
        Box::pin(async move { Ok(tonic::Response::new(Box::pin(answers) as Answers)) })
    }
}
