//! A client of one gateway. Every answer is held to what all answers promise before a test sees it.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;

use crate::problem;

/// Longer than the gateway's own deadlines: what takes this long has hung.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Shorter than the gateway keeps a connection without requests: one that it is about to close is used no more.
const IDLE_LIMIT: Duration = Duration::from_secs(5);

/// A client with connections of its own. Clones share them.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    gateway: SocketAddr,
    headers: HeaderMap,
}

impl Api {
    pub fn new(gateway: SocketAddr) -> Self {
        Self { client: client(), gateway, headers: HeaderMap::new() }
    }

    /// Where the gateway is, as `http://127.0.0.1:8080`.
    pub fn base(&self) -> String {
        format!("http://{}", self.gateway)
    }

    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// The same client behind a proxy that says it speaks for `address`.
    pub fn from_address(&self, address: &str) -> Self {
        self.with_header("x-forwarded-for", address)
    }

    /// The same client with a header on every request.
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut api = self.clone();
        api.headers.insert(HeaderName::from_static(name), header_value(value));
        api
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Call {
        self.call(Method::POST, path)
    }

    pub fn patch(&self, path: &str) -> Call {
        self.call(Method::PATCH, path)
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        Call {
            client: self.client.clone(),
            method,
            url: format!("{}{path}", self.base()),
            headers: self.headers.clone(),
            body: Bytes::new(),
        }
    }
}

/// Plain HTTP/1.1 to this machine, and nothing else.
fn client() -> reqwest::Client {
    // Fails when it is done already. Nothing here speaks TLS, yet the client insists on somebody who could.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_idle_timeout(IDLE_LIMIT)
        .timeout(ANSWER_LIMIT)
        .build();
    client.unwrap_or_else(|error| panic!("no HTTP client: {error}"))
}

fn header_value(value: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(value.as_ref()).unwrap_or_else(|error| panic!("no header value: {error}"))
}

/// A request in the making; awaiting it sends it.
#[derive(Clone)]
pub struct Call {
    client: reqwest::Client,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    pub fn bearer(self, token: &str) -> Self {
        self.header(AUTHORIZATION, format!("Bearer {token}"))
    }

    /// The same without what shows the session in a header.
    pub fn without_bearer(mut self) -> Self {
        self.headers.remove(AUTHORIZATION);
        self
    }

    pub fn method(&self) -> &Method {
        &self.method
    }

    pub fn cookie(self, cookie: &str) -> Self {
        self.header(COOKIE, cookie)
    }

    /// Any version, or the one of an entity tag.
    pub fn if_match(self, tag: &str) -> Self {
        self.header(IF_MATCH, tag)
    }

    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl AsRef<[u8]>) -> Self {
        let Ok(name) = name.try_into() else { panic!("no header name") };
        self.headers.append(name, header_value(value));
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.header(CONTENT_TYPE, content_type).raw_body(body)
    }

    /// A body of no type at all.
    pub fn raw_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it, for tests in which a connection may break.
    pub async fn attempt(self) -> Result<Answer, reqwest::Error> {
        let Self { client, method, url, headers, body } = self;
        let is_head = method == Method::HEAD;
        let mut request = client.request(method.clone(), url).headers(headers);
        if !body.is_empty() {
            request = request.body(body);
        }
        let request = request.build()?;
        // As it is sent: without `..` for instance.
        let shown = format!("{method} {}", request.url());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        let answer = Answer { request: shown, status, headers, body };
        problem::check(&answer, is_head);
        Ok(answer)
    }
}

impl IntoFuture for Call {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    /// Panics when there is no answer.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let shown = format!("{} {}", self.method, self.url);
            self.attempt().await.unwrap_or_else(|error| panic!("{shown}: {error:?}"))
        })
    }
}

/// What a gateway answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and URL that were asked.
    pub request: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Panics when the status is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.request, self.text());
        self
    }

    /// The body of a failure of this status and this `code`. Panics when it is another.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let document = self.expect(status).json();
        assert_eq!(document["code"], code, "{document}");
        document
    }

    /// Nothing when the hash pool was full, so that nothing has been done.
    pub fn unless_full(self) -> Option<Self> {
        (self.status != 503 || self.json()["code"] != "CAPACITY").then_some(self)
    }

    /// The `code` of a problem document.
    pub fn problem_code(&self) -> Option<String> {
        let document: Value = serde_json::from_slice(&self.body).ok()?;
        document["code"].as_str().map(str::to_owned)
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: no JSON ({error}): {}", self.request, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text, when there is one.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap_or_else(|_| panic!("{name} is no text")))
    }

    /// A header that has to be there.
    #[track_caller]
    pub fn expect_header(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("{}: {name} is missing", self.request))
    }

    /// The version of the profile that was answered, from its entity tag.
    #[track_caller]
    pub fn version(&self) -> u64 {
        let tag = self.expect_header("etag");
        let version = tag.trim_matches('"').rsplit('.').next().and_then(|version| version.parse().ok());
        version.unwrap_or_else(|| panic!("{}: {tag} names no version", self.request))
    }

    /// The id of the trace that the request belonged to.
    #[track_caller]
    pub fn trace_id(&self) -> &str {
        &self.expect_header("traceresponse")[3..35]
    }
}
