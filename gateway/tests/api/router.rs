//! What the router says by itself, and what every answer carries.

use crate::stack::Stack;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let stack = Stack::start().await;
    for path in ["/", "/nothing", "/v1", "/v1/me/", "/v2/me", "//v1/me", "/docs/nothing"] {
        let problem = stack.get(path).await.problem(404, "NOT_FOUND");
        assert_eq!(problem["instance"], path);
        assert_eq!(
            (problem["type"].as_str(), problem["title"].as_str()),
            (Some("about:blank"), Some("Not Found"))
        );
    }
    for (method, path, allowed) in [
        ("GET", "/v1/login", "POST"),
        ("DELETE", "/v1/me/activity", "GET,HEAD"),
        ("POST", "/profile", "GET,HEAD,PATCH"),
        ("BREW", "/v1/users/ada/profile", "GET,HEAD"),
        ("OPTIONS", "/v1/profile", "GET,HEAD,PATCH"),
        ("TRACE", "/health", "GET,HEAD"),
    ] {
        let answer = stack.ask(method, path).send().await;
        answer.problem(405, "METHOD_NOT_ALLOWED");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_to_be_careful() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    for answer in [stack.get("/health").await, stack.get("/nothing").await, stack.get_as(&token, "/me").await]
    {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn the_head_of_an_answer_can_be_asked_for() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = stack.ask("HEAD", "/v1/profile").bearer(&token).send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert!(!answer.header("etag").is_empty());
    let answer = stack.ask("HEAD", "/v1/profile").send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (401, 0));
}

#[tokio::test]
async fn http2_is_served_on_the_same_port() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = stack.ask("GET", "/v1/me").bearer(&token).send_http2().await;
    assert_eq!(answer.json()["username"], "ada");
    let cookie =
        stack.ask("GET", "/v1/me").header("cookie", "a=b").header("cookie", &format!("session={token}"));
    assert_eq!(cookie.send_http2().await.status, 200);
    stack.ask("GET", "/nothing").send_http2().await.problem(404, "NOT_FOUND");
}
