//! Upstreams that are away altogether.

use std::time::{Duration, Instant};

use crate::client::ask;
use crate::stack::{PASSWORD, Stack};
use serde_json::json;

#[tokio::test]
async fn upstreams_that_are_away_are_told_as_an_outage_and_at_once() {
    let stack = Stack::without_gateway();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let args =
        ["gateway", "--auth-endpoints", &closed, "--profile-endpoints", &closed, "--rate-limits", "off"];
    let gateway = stack.start_gateway(args.into_iter());
    let credentials = json!({"username": "ada", "password": PASSWORD});
    let requests = [
        ask(gateway, "POST", "/v1/register").json(credentials.clone()),
        ask(gateway, "POST", "/v1/login").json(credentials),
        ask(gateway, "POST", "/v1/logout").bearer("t"),
        ask(gateway, "GET", "/v1/me").bearer("t"),
        ask(gateway, "GET", "/v1/profile").bearer("t"),
        ask(gateway, "PATCH", "/v1/profile").bearer("t").header("if-match", "*").json(json!({"bio": "x"})),
        ask(gateway, "GET", "/v1/users/ada/profile"),
    ];
    for request in requests {
        let started = Instant::now();
        let answer = request.send().await;
        let problem = answer.problem(503, "UPSTREAM_AWAY");
        assert!(!problem["detail"].as_str().unwrap().contains("svc"), "{problem}");
        assert!(started.elapsed() < Duration::from_millis(1500), "{:?}", started.elapsed());
    }
    ask(gateway, "GET", "/readyz").send().await.problem(503, "NOT_READY");
    assert_eq!(ask(gateway, "GET", "/health").send().await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_for_ever_is_ended() {
    let stack = Stack::with_args(&["--request-timeout-ms", "100"]).await;
    stack.services.script("Login", crate::services::Script::Hang);
    stack.login("ada", PASSWORD).await.problem(504, "TIMEOUT");
}
