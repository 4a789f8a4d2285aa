//! `POST /v1/login`.

use std::time::Duration;

use serde_json::json;

use crate::client::Answer;
use crate::services::{capacity, failure, store_away};
use crate::stack::{PASSWORD, Stack};

#[tokio::test]
async fn a_bearer_login_answers_the_token_and_sets_no_cookie() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    let answer = stack.login("Ada", PASSWORD).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(body["token"], "token-01980000-0000-7000-8000-000000000001-0");
    assert_eq!(body["expiresIn"], 1800);
    assert_eq!(body["user"]["username"], "ada");
    assert_eq!(body["user"]["email"], serde_json::Value::Null);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_login_notes_when_the_user_was_seen_and_leaves_the_version() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    for _ in 0..200 {
        if stack.services.calls("RecordSeen") == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let profile = stack.get_as(&token, "/v1/profile").await.json();
    assert_eq!(
        (profile["lastSeen"].as_str(), profile["version"].as_u64()),
        (Some("2026-01-01T20:40:00.000Z"), Some(1))
    );
}

#[tokio::test]
async fn unknown_user_and_wrong_password_are_answered_alike() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    let mut unknown = stack.login("nobody", PASSWORD).await.problem(401, "INVALID_CREDENTIALS");
    let mut wrong = stack.login("ada", "not the password").await.problem(401, "INVALID_CREDENTIALS");
    for problem in [&mut unknown, &mut wrong] {
        problem.as_object_mut().unwrap().remove("traceId");
    }
    assert_eq!(unknown, wrong);
}

async fn cookie_login(stack: &Stack, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"username": "ada", "password": PASSWORD, "transport": "cookie"});
    let mut request = stack.ask("POST", "/v1/login").json(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await
}

#[tokio::test]
async fn a_cookie_login_hands_the_token_over_in_the_cookie_alone() {
    let stack = Stack::with_args(&["--trusted-proxies", "127.0.0.1"]).await;
    stack.register("ada").await;
    let answer =
        cookie_login(&stack, &[("x-forwarded-proto", "https"), ("x-forwarded-for", "203.0.113.7")]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.json().get("token").is_none() && answer.json()["expiresIn"] == 1800);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-session=token-"), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{cookie}");
}

#[tokio::test]
async fn over_plain_http_cookies_work_on_this_machine_alone() {
    let stack = Stack::with_args(&["--trusted-proxies", "127.0.0.1"]).await;
    stack.register("ada").await;
    let answer = cookie_login(&stack, &[]).await;
    let cookie = answer.header("set-cookie");
    assert!(
        cookie.starts_with("session=token-") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    cookie_login(&stack, &[("x-forwarded-for", "203.0.113.7")]).await.problem(400, "COOKIE_NEEDS_HTTPS");
    cookie_login(&stack, &[("host", "example.com")]).await.problem(400, "COOKIE_NEEDS_HTTPS");
}

#[tokio::test]
async fn what_is_wrong_with_the_body_is_pointed_at() {
    let stack = Stack::start().await;
    let body = json!({"username": null, "transport": "pigeon"});
    let answer = stack.ask("POST", "/v1/login").json(body).send().await;
    assert_eq!(answer.invalid_fields(), ["/username", "/password", "/transport"]);
    stack
        .ask("POST", "/v1/login")
        .body("text/plain", "{}")
        .send()
        .await
        .problem(415, "UNSUPPORTED_MEDIA_TYPE");
    stack.ask("POST", "/v1/login").body("application/json", "{").send().await.problem(400, "INVALID_JSON");
}

#[tokio::test]
async fn failures_of_the_service_are_told_as_what_they_are() {
    let stack = Stack::start().await;
    stack.services.fail("Login", capacity());
    stack.login("ada", PASSWORD).await.problem(503, "CAPACITY");
    stack.services.fail("Login", store_away());
    stack.login("ada", PASSWORD).await.problem(503, "SESSION_STORE_UNAVAILABLE");
    stack.services.fail("Login", failure(tonic::Code::DeadlineExceeded, "TIMEOUT", "too slow"));
    stack.login("ada", PASSWORD).await.problem(504, "TIMEOUT");
}

#[tokio::test]
async fn auth_svc_is_told_where_a_login_comes_from() {
    let stack = Stack::with_args(&["--trusted-proxies", "127.0.0.1"]).await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let request = stack.ask("POST", "/v1/login").header("x-forwarded-for", "2001:db8::1");
    request.header("user-agent", &"x".repeat(1000)).json(body).send().await;
    let client = stack.services.lock().last_login.take().unwrap();
    assert_eq!((client.address.as_str(), client.user_agent.len()), ("2001:db8::1", 256));
}
