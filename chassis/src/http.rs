//! The accept loop of every server here, HTTP and gRPC alike: HTTP/1.1 and HTTP/2 on one port, a time limit for request
//! headers, and an end that resets nobody.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::{Service, ServiceExt as _};

use crate::shutdown::Shutdown;

mod request_body;

pub use request_body::RequestBody;

/// How long a connection that has brought no request yet may still bring one when the server stops: it may be on its way.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(500);

/// What is read ahead of an HTTP/1 connection; headers that do not fit are refused with 431. hyper's own bound is 400 KiB.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// Limits on what a client may do to a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the headers of an HTTP/1 request, from its first byte or from the end of the one before; and for the first request of a
    /// connection, whatever it speaks.
    pub header_read_timeout: Duration,
    /// Requests in flight on one HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Bytes of all headers of one HTTP/2 request.
    pub max_header_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(10),
            max_concurrent_streams: 250,
            max_header_bytes: 16 * 1024,
        }
    }
}

/// Accepts connections until the shutdown stops. Connections are tracked: each ends with its requests in flight.
///
/// The service finds the peer as `ConnectInfo<SocketAddr>` among the request's extensions.
///
/// # Errors
/// Only when the listener cannot be used at all.
pub async fn serve<S, B, F>(
    listener: std::net::TcpListener,
    service: S,
    limits: Limits,
    shutdown: &Shutdown,
) -> io::Result<()>
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future = F>
        + Clone
        + Send
        + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let builder = connection_builder(limits);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.stopping().cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => start_connection(&builder, limits, stream, peer, service.clone(), shutdown),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                // Out of file descriptors, most likely: the queue keeps, and a busy loop would help nobody.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    // What the kernel has already queued here would be reset when the socket closes: it is served as well.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        start_connection(&builder, limits, stream, peer, service.clone(), shutdown);
    }
    Ok(())
}

fn connection_builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        // Answers are small: to copy one behind its headers costs less than to hand the kernel two pieces.
        .writev(false)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_concurrent_streams)
        .max_header_list_size(limits.max_header_bytes)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

fn start_connection<S, B, F>(
    builder: &auto::Builder<TokioExecutor>,
    limits: Limits,
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    shutdown: &Shutdown,
) where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future = F>
        + Clone
        + Send
        + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    // Without it every small answer waits for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let draining = shutdown.draining().clone();
    let asked = Arc::new(Notify::new());
    let asks = asked.clone();
    let handler = hyper::service::service_fn(move |request: Request<Incoming>| {
        asks.notify_one();
        let mut request = request.map(RequestBody::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let (service, draining) = (service.clone(), draining.clone());
        let http1 = request.version() < Version::HTTP_2;
        let rest = request.body().rest();
        async move {
            let mut response = service.oneshot(request).await?;
            // A connection with the rest of a request in it is of no more use: the client is told before it tries.
            let is_spoilt = || rest.is_some_and(|rest| rest.is_left());
            if http1 && (draining.is_cancelled() || is_spoilt()) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder.clone();
    let stopping = shutdown.stopping().clone();
    shutdown.spawn(async move {
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), handler);
        let mut connection = std::pin::pin!(connection);
        // Who never says enough to be told whether it is HTTP/1 or HTTP/2 is not seen by the time limits of either.
        let first_request = tokio::time::timeout(limits.header_read_timeout, asked.notified());
        tokio::select! {
            biased;
            asked_in_time = first_request => match asked_in_time {
                Ok(()) => asked.notify_one(),
                Err(_) => connection.as_mut().graceful_shutdown(),
            },
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, error = &*error, "connection ended");
                }
                return;
            }
            () = stopping.cancelled() => {}
        }
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopping.cancelled() => {
                // Who has connected and not asked yet is about to: to close now would be to reset.
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    _ = tokio::time::timeout(FIRST_REQUEST_GRACE, asked.notified()) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        if let Err(error) = ended {
            // Clients that vanish, time out or speak something else: theirs to fix.
            tracing::debug!(%peer, error = &*error, "connection ended");
        }
    });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn start(
        limits: Limits,
        work: Duration,
    ) -> (SocketAddr, Shutdown, tokio::task::JoinHandle<io::Result<()>>) {
        let shutdown = Shutdown::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(move |_: Request<RequestBody>| async move {
            tokio::time::sleep(work).await;
            Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
        });
        let server = shutdown.clone();
        let served = shutdown.spawn(async move { serve(listener, service, limits, &server).await });
        (address, shutdown, served)
    }

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    }

    #[tokio::test]
    async fn a_request_in_flight_is_answered_when_the_server_stops() {
        let (address, shutdown, _) = start(Limits::default(), Duration::from_millis(200));
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream).await;
        let mut queued = TcpStream::connect(address).await.unwrap();
        ask(&mut queued).await;
        tokio::task::yield_now().await;
        shutdown.begin(Duration::from_millis(20)).await;
        for stream in [&mut stream, &mut queued] {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
        assert!(shutdown.finished(Duration::from_secs(10)).await);
        assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    }

    #[tokio::test]
    async fn a_request_on_its_way_is_answered_when_the_server_stops() {
        let (address, shutdown, served) = start(Limits::default(), Duration::ZERO);
        let mut connected = TcpStream::connect(address).await.unwrap();
        tokio::task::yield_now().await;
        shutdown.begin(Duration::ZERO).await;
        served.await.unwrap().unwrap();
        ask(&mut connected).await;
        let mut answer = String::new();
        connected.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert!(shutdown.finished(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn an_answer_that_leaves_a_body_unread_ends_the_connection_and_says_so() {
        let shutdown = Shutdown::new();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(async |request: Request<RequestBody>| {
            if request.uri().path() == "/read" {
                request.into_body().collect().await.unwrap();
            }
            Ok(Response::new(Full::<Bytes>::default()))
        });
        let server = shutdown.clone();
        shutdown.spawn(async move { serve(listener, service, Limits::default(), &server).await });
        for (path, body, closes) in
            [("/leave", "half", true), ("/read", "whole body", false), ("/leave", "", false)]
        {
            let length = if body == "half" { 2 * body.len() } else { body.len() };
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request =
                format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let read = stream.read(&mut answer).await.unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert_eq!(answer.contains("connection: close"), closes, "{path}: {answer}");
        }
        shutdown.begin(Duration::ZERO).await;
    }

    #[tokio::test]
    async fn headers_that_never_end_close_the_connection() {
        let limits = Limits { header_read_timeout: Duration::from_millis(50), ..Limits::default() };
        let (address, _shutdown, _) = start(limits, Duration::ZERO);
        for beginning in ["GET / HTTP/1.1\r\nhost:", "", "PRI"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(beginning.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "the server closed the connection after {beginning:?}");
        }
    }
}
