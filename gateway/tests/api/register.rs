//! `POST /v1/register`.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Status;

use crate::services::{Script, capacity, store_away};
use crate::stack::{PASSWORD, Stack};

#[tokio::test]
async fn a_new_user_is_told_without_the_password_and_has_a_profile() {
    let stack = Stack::start().await;
    let body = json!({"username": "Ada", "password": PASSWORD, "email": "ada@example.com", "age": 36});
    let answer = stack.ask("POST", "/v1/register").json(body).send().await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json(),
        json!({
            "message": "User registered.",
            "user": {
                "id": "01980000-0000-7000-8000-000000000001",
                "username": "Ada",
                "email": "ada@example.com",
                "emailVerified": false,
                "createdAt": "2026-01-01T00:00:00.123Z",
            },
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(stack.services.lock().profiles.len(), 1);
}

#[tokio::test]
async fn a_taken_username_is_a_conflict() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    let problem = stack.register("ADA").await.problem(409, "USERNAME_TAKEN");
    assert_eq!(problem["error"], "This username is taken.");
}

#[tokio::test]
async fn what_is_wrong_with_the_body_is_pointed_at() {
    let stack = Stack::start().await;
    let send = async |body: serde_json::Value| stack.ask("POST", "/v1/register").json(body).send().await;
    assert_eq!(send(json!({})).await.invalid_fields(), ["/username", "/password"]);
    let wrong_types = json!({"username": 1, "password": ["x"], "email": {}});
    assert_eq!(send(wrong_types).await.invalid_fields(), ["/username", "/password", "/email"]);
    assert_eq!(send(json!([])).await.invalid_fields(), [""]);
    assert_eq!(stack.services.calls("Register"), 0);

    let short = send(json!({"username": "ada", "password": "short"})).await;
    assert_eq!(short.invalid_fields(), ["/password"]);
    assert_eq!(short.json()["error"], "password has to have at least 15 characters.");
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let stack = Stack::start().await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies: [&[u8]; 6] =
        [b"", b"{\"username\": ", b"{\"a\":\"\xff\xfe\"}", b"\0", b"{} x", deep.as_bytes()];
    for body in bodies {
        let answer = stack.ask("POST", "/v1/register").body("application/json", body.to_vec()).send().await;
        answer.problem(400, "INVALID_JSON");
    }
    let misplaced = stack.ask("POST", "/v1/register").body("application/json", "{\n  \"a\": }").send().await;
    assert_eq!(misplaced.json()["detail"], "The body is not valid JSON: expected value at line 2 column 8.");
}

#[tokio::test]
async fn a_body_of_another_type_is_refused() {
    let stack = Stack::start().await;
    let body = json!({"username": "ada", "password": PASSWORD}).to_string();
    for other in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
        let answer = stack.ask("POST", "/v1/register").body(other, body.clone()).send().await;
        answer.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let with_charset = stack.ask("POST", "/v1/register").body("Application/JSON; charset=utf-8", body);
    assert_eq!(with_charset.send().await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let stack = Stack::start().await;
    let large = format!("{{\"username\":\"{}\"}}", "a".repeat(70_000));
    let answer = stack.ask("POST", "/v1/register").body("application/json", large.clone()).send().await;
    answer.problem(413, "BODY_TOO_LARGE");

    let mut socket = tokio::net::TcpStream::connect(stack.gateways[0]).await.unwrap();
    let head = "POST /v1/register HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len()).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_does_not_come_times_out() {
    let stack = Stack::with_args(&["--body-timeout-ms", "50"]).await;
    let mut socket = tokio::net::TcpStream::connect(stack.gateways[0]).await.unwrap();
    let head = "POST /v1/register HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
        content-length: 10\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn the_account_is_made_whatever_becomes_of_the_profile() {
    let stack = Stack::start().await;
    stack.services.fail("CreateProfile", Status::unavailable("away"));
    assert_eq!(stack.register("ada").await.status, 201);
    stack.services.script("CreateProfile", Script::Hang);
    let started = Instant::now();
    assert_eq!(stack.register("bob").await.status, 201);
    assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn failures_of_the_service_are_told_as_what_they_are() {
    let stack = Stack::with_args(&["--write-timeout-ms", "200"]).await;
    stack.services.fail("Register", capacity());
    let answer = stack.register("ada").await;
    let problem = answer.problem(503, "CAPACITY");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity");
    assert_eq!(answer.header("retry-after"), "3");
    stack.services.fail("Register", store_away());
    stack.register("ada").await.problem(503, "SESSION_STORE_UNAVAILABLE");
    stack.services.fail("Register", Status::internal("a secret detail"));
    let answer = stack.register("ada").await;
    answer.problem(500, "INTERNAL");
    assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    stack.services.script("Register", Script::Hang);
    let answer = stack.register("ada").await;
    assert_eq!(answer.status, 504, "{answer:?}");
}
