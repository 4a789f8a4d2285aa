//! One HTTP/2 connection to one replica: opening it, what it is asked, and how it ends.
//!
//! A connection is opened once and never repaired: whoever watches it opens the next one. It knows whether it still lives
//! and how much is in flight on it, and chooses nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::TokioTimer;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;

use super::Settings;
use super::attempts::Unanswered;
use super::endpoints::Address;
use super::socket::Socket;
use crate::call_stream::links::Links;

/// gRPC answers are at most 4 MiB here; the rest is framing.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024 + 64;

/// A live connection. Dropping the last reference closes it.
pub(crate) struct Connection {
    address: Address,
    authority: Authority,
    requests: http2::SendRequest<Body>,
    tasks: Tasks,
    signals: Signals,
    in_flight: AtomicUsize,
    opened: Instant,
    warming: AtomicBool,
    serving: bool,
    /// The call streams on this connection.
    pub(crate) links: Links,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("does not accept the connection in time")]
    ConnectTimedOut,
    #[error("cannot be connected to")]
    Refused(#[source] std::io::Error),
    #[error("does not speak HTTP/2")]
    Handshake(#[source] hyper::Error),
    #[error("accepts the connection, but does not answer on it")]
    Silent,
}

/// A whole unary answer. Its status may be an error: that is an answer too.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) message: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Connection {
    /// Connects, and asks the replica for its health: a process that hangs accepts connections all the same.
    pub(crate) async fn open(address: &Address, settings: &Settings) -> Result<Self, Unreachable> {
        let connect = TcpStream::connect((address.host(), address.port()));
        let socket = timeout(settings.connect_timeout, connect)
            .await
            .map_err(|_| Unreachable::ConnectTimedOut)?
            .and_then(|socket| socket.set_nodelay(true).map(|()| socket))
            .map_err(Unreachable::Refused)?;
        let mut connection = timeout(settings.probe_timeout, Self::over(socket, address, settings))
            .await
            .map_err(|_| Unreachable::Silent)??;
        connection.serving =
            connection.is_serving(settings.probe_timeout).await.ok_or(Unreachable::Silent)?;
        Ok(connection)
    }

    async fn over(socket: TcpStream, address: &Address, settings: &Settings) -> Result<Self, Unreachable> {
        let tasks = Tasks(CancellationToken::new());
        let (requests, driver) = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.keep_alive_interval)
            .keep_alive_timeout(settings.keep_alive_timeout)
            .keep_alive_while_idle(true)
            .handshake(Socket::new(socket, tasks.0.clone().drop_guard()))
            .await
            .map_err(Unreachable::Handshake)?;
        let signals = Signals::default();
        let requests_end = signals.clone();
        tasks.spawn(async move {
            // The end for new requests, as when the replica sends an HTTP/2 GOAWAY. Answers may still come.
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to an upstream ended");
            }
            requests_end.drain();
        });
        let authority =
            Authority::try_from(address.to_string()).unwrap_or_else(|_| Authority::from_static("upstream"));
        Ok(Self {
            address: address.clone(),
            authority,
            requests,
            tasks,
            signals,
            in_flight: AtomicUsize::new(0),
            opened: Instant::now(),
            warming: AtomicBool::new(true),
            serving: false,
            links: Links::default(),
        })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether the replica said that it serves, when this connection was opened.
    pub(crate) fn serving(&self) -> bool {
        self.serving
    }

    /// Ends when the connection does.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.tasks.0
    }

    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// Gives the replica up, for it does not answer: calls that may be carried out twice go elsewhere. The others wait for
    /// as long as they would have: it may be back in a moment, and has their work.
    pub(crate) fn give_up(&self) {
        self.signals.given_up.cancel();
        self.links.end_all();
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether the replica is still new, for as long as a slow start takes.
    pub(crate) fn is_warming(&self, slow_start: Duration) -> bool {
        // The flag spares the clock.
        if self.warming.load(Ordering::Relaxed) && self.opened.elapsed() >= slow_start {
            self.warming.store(false, Ordering::Relaxed);
        }
        self.warming.load(Ordering::Relaxed)
    }

    /// At random, and less and less: whether a replica that is still new leaves the work to one that is not.
    pub(crate) fn stands_back(&self, slow_start: Duration) -> bool {
        let warmth = self.opened.elapsed().as_secs_f64() / slow_start.as_secs_f64();
        fastrand::f64() > warmth.max(0.1)
    }

    /// Asks `grpc.health.v1` for the whole server. `None`: no answer, or none in time.
    pub(crate) async fn is_serving(&self, within: Duration) -> Option<bool> {
        // An empty message: no compression, length 0.
        let check = Bytes::from_static(&[0; 5]);
        let head = request_head(PathAndQuery::from_static("/grpc.health.v1.Health/Check"));
        let answer = timeout(within, self.unary(&head, check)).await.ok()?.ok()?;
        // Without a health service there is no message, but a sign of life.
        let health = answer.message.get(5..).and_then(|message| HealthCheckResponse::decode(message).ok());
        Some(health.is_none_or(|health| health.status() == ServingStatus::Serving))
    }

    /// One unary call whose request and answer are whole in memory.
    pub(crate) async fn unary(&self, head: &Request<()>, message: Bytes) -> Result<Answer, Unanswered> {
        let mut request = Request::new(Body::new(Full::new(message)));
        *request.headers_mut() = head.headers().clone();
        *request.uri_mut() = head.uri().clone();
        let response = self.send(request).await?;
        let (head, body) = response.into_parts();
        let whole = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|_| Unanswered::Lost)?;
        self.signals.hear();
        let trailers = whole.trailers().cloned().unwrap_or_default();
        if head.status != StatusCode::OK && !head.headers.contains_key(tonic::Status::GRPC_STATUS) {
            // A proxy speaks for the replica, or something that is no gRPC server at all.
            return Err(Unanswered::Lost);
        }
        Ok(Answer { headers: head.headers, message: whole.to_bytes(), trailers })
    }

    /// Sends a request for this replica; ends with the head of the response.
    pub(crate) fn send(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unanswered>> + Send + use<> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(self.authority.clone());
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        let sent = self.requests.clone().try_send_request(request);
        async move {
            sent.await.map_err(|mut failure| {
                let handed_back = failure.take_message().is_some();
                if handed_back || was_refused(&failure.into_error()) {
                    Unanswered::NotSent
                } else {
                    Unanswered::Lost
                }
            })
        }
    }

    /// Runs a task that ends with the connection at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.0.cancel();
    }
}

/// The head of a gRPC request, for [`Connection::send`] and [`Connection::unary`].
pub(crate) fn request_head(path: PathAndQuery) -> Request<()> {
    let mut head = Request::new(());
    *head.uri_mut() = Uri::from(path);
    head.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    head
}

/// Whether the peer has said that it did not process the request: RFC 9113, sections 6.8 and 8.7.
fn was_refused(error: &hyper::Error) -> bool {
    let Some(error) = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>())
    else {
        return false;
    };
    let reason = error.reason();
    error.is_remote()
        && ((error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
            || (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)))
}

/// What is learnt on a connection about the replica, by whoever reads from it.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    heard: Arc<AtomicU64>,
    draining: CancellationToken,
    given_up: CancellationToken,
}

impl Signals {
    /// Notes a sign of life.
    pub(crate) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// How many signs of life there were: what does not grow while calls are in flight is silence.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Notes that the replica asks for no new work.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
    }

    /// Cancelled when the replica asked for no new work.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when calls that may be carried out twice should wait no longer.
    pub(crate) fn given_up(&self) -> &CancellationToken {
        &self.given_up
    }
}

/// A call's place on a connection: it counts as in flight until this is dropped.
pub(crate) struct Lease {
    connection: Arc<Connection>,
    has_alternative: bool,
}

impl Lease {
    /// `has_alternative`: whether another replica could have been picked.
    pub(crate) fn new(connection: Arc<Connection>, has_alternative: bool) -> Self {
        connection.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { connection, has_alternative }
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(crate) fn has_alternative(&self) -> bool {
        self.has_alternative
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tasks of one connection. They end with it, and not with the process's background work: requests that are in flight
/// during a shutdown still need their answers.
#[derive(Clone)]
struct Tasks(CancellationToken);

impl Tasks {
    #[expect(
        clippy::disallowed_methods,
        reason = "owned by the connection, which ends them when it is dropped"
    )]
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.0.clone().run_until_cancelled_owned(task));
    }
}

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.spawn(task);
    }
}
