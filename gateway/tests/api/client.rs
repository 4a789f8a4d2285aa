//! An HTTP client that sends exactly what a test says.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

/// A request in the making.
pub struct Asked {
    server: SocketAddr,
    builder: http::request::Builder,
    body: Bytes,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub fn ask(server: SocketAddr, method: &str, path: &str) -> Asked {
    let builder = Request::builder().method(method).uri(path);
    Asked { server, builder, body: Bytes::new() }
}

impl Asked {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    pub fn json(self, value: Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub async fn send(self) -> Answer {
        let socket = TcpStream::connect(self.server).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
        let mut request = self.builder.body(Full::new(self.body)).unwrap();
        let host = self.server.to_string().parse().unwrap();
        request.headers_mut().entry("host").or_insert(host);
        let exchange = async { whole(sender.send_request(request).await.unwrap()).await };
        driven(exchange, connection).await
    }

    /// The same over HTTP/2 with prior knowledge.
    pub async fn send_http2(self) -> Answer {
        let socket = TcpStream::connect(self.server).await.unwrap();
        let executor = TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(socket)).await.unwrap();
        let mut request = self.builder.body(Full::new(self.body)).unwrap();
        *request.uri_mut() = format!("http://{}{}", self.server, request.uri()).parse().unwrap();
        let exchange = async { whole(sender.send_request(request).await.unwrap()).await };
        driven(exchange, connection).await
    }
}

/// Runs an exchange on its connection.
async fn driven<T>(
    exchange: impl Future<Output = T>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> T {
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

async fn whole(response: http::Response<hyper::body::Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {} {:?}", self.status, self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks everything that holds for every problem; returns the document.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["error"], problem["detail"]);
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {problem}");
        }
        let traceparent = self.header("traceparent");
        assert_eq!(problem["traceId"], traceparent[3..35], "{traceparent}");
        match status {
            401 => assert_eq!(self.header("www-authenticate"), "Bearer"),
            405 => assert!(!self.header("allow").is_empty()),
            429 | 503 => assert!(self.header("retry-after").parse::<u64>().unwrap() >= 1),
            _ => {}
        }
        problem
    }

    /// The pointers of a validation problem.
    pub fn invalid_fields(&self) -> Vec<String> {
        let problem = self.problem(400, "INVALID_FIELD");
        let errors = problem["errors"].as_array().unwrap().iter();
        errors.map(|error| error["pointer"].as_str().unwrap().to_owned()).collect()
    }
}
