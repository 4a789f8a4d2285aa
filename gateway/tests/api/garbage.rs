//! Requests that no client in its right mind sends: they are the client's fault, never the server's.

use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::Asked;
use crate::stack::Stack;

const PATHS: [&str; 11] = [
    "/v1/register",
    "/v1/login",
    "/v1/logout",
    "/v1/me",
    "/v1/me/activity",
    "/v1/profile",
    "/v1/users/ada/profile",
    "/login",
    "/health",
    "/openapi.json",
    "/docs/x",
];

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"];

const TYPES: [&str; 5] = [
    "application/json",
    "application/merge-patch+json",
    "text/plain",
    "application/json; charset=utf-16",
    ";;;",
];

const HEADERS: [&str; 12] = [
    "authorization",
    "cookie",
    "if-match",
    "if-none-match",
    "origin",
    "sec-fetch-site",
    "x-forwarded-for",
    "x-forwarded-proto",
    "forwarded",
    "traceparent",
    "content-encoding",
    "host",
];

/// JSON of any shape, often with the members that the routes look for.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "\\PC{0,20}".prop_map(Into::into),
        Just("\0\u{ffff}\u{202e}".into()),
    ];
    let name = prop_oneof![
        Just("username".to_owned()),
        Just("password".to_owned()),
        Just("email".to_owned()),
        Just("transport".to_owned()),
        Just("links".to_owned()),
        Just("displayName".to_owned()),
        "\\PC{0,8}",
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|value| value.to_string())
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => json().prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (1..3000_usize).prop_map(|depth| "{\"a\":[".repeat(depth).into_bytes()),
        1 => (0..100_000_usize).prop_map(|length| vec![b'"'; length]),
    ]
}

type Garbage = (usize, usize, usize, Vec<(usize, String)>, Vec<u8>, String);

fn garbage() -> impl Strategy<Value = Garbage> {
    let headers = prop::collection::vec((0..HEADERS.len(), "[ -~]{0,60}"), 0..4);
    (0..METHODS.len(), 0..PATHS.len(), 0..TYPES.len(), headers, body(), "(\\?[!-~&&[^#]]{0,30})?")
}

fn request(stack: &Stack, (method, path, content_type, headers, body, query): Garbage) -> Asked {
    let mut request = stack.ask(METHODS[method], PATHS[path]);
    let uri = format!("{}{query}", PATHS[path]);
    if uri.parse::<http::Uri>().is_ok() {
        request = stack.ask(METHODS[method], &uri);
    }
    for (header, value) in headers {
        request = request.header(HEADERS[header], &value);
    }
    request.body(TYPES[content_type], body)
}

#[tokio::test]
async fn generated_garbage_is_answered_with_problems_of_the_client() {
    let stack = Stack::with_args(&["--trusted-proxies", "127.0.0.1"]).await;
    let token = stack.signed_in("ada").await;
    let mut runner = TestRunner::deterministic();
    let strategy = garbage();
    for number in 0..3000 {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        let told = format!("{case:?}");
        let mut request = request(&stack, case);
        if number % 3 == 0 {
            request = request.bearer(&token);
        }
        let answer = request.send().await;
        assert!(!answer.status.is_server_error(), "{} for {told}", answer.status);
        if answer.status.is_client_error() && !answer.body.is_empty() {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{told}");
        }
    }
    assert_eq!(stack.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_http_harms_nobody_else() {
    let stack = Stack::start().await;
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1_000_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let inputs: [&[u8]; 8] = [
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for input in inputs {
        let mut socket = TcpStream::connect(stack.gateways[0]).await.unwrap();
        let _ = socket.write_all(input).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert_eq!(stack.get("/health").await.status, StatusCode::OK);
}
