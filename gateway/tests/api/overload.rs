//! More requests than places: who is refused, who is not, and how.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::client::{Answer, Asked, ask};
use crate::services::Script;
use crate::stack::{PASSWORD, Stack};

const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// A gateway of eight places: six for profiles, one for passwords, one more for what needs no session, and one more for logouts. What
/// hangs in it hangs until the test lets go.
async fn small_gateway() -> Stack {
    let for_ever = "40000";
    Stack::with_args(&[
        "--max-in-flight",
        "8",
        "--session-timeout-ms",
        for_ever,
        "--read-timeout-ms",
        for_ever,
        "--write-timeout-ms",
        for_ever,
        "--request-timeout-ms",
        for_ever,
    ])
    .await
}

/// Sends requests that nobody answers, and waits until they have come as far as this method.
async fn hang(stack: &Stack, method: &'static str, requests: impl Iterator<Item = Asked>) -> JoinSet<Answer> {
    stack.services.script(method, Script::Hang);
    let before = stack.services.calls(method);
    let hanging: JoinSet<_> = requests.map(Asked::send).collect();
    until(async || stack.services.calls(method) == before + hanging.len()).await;
    hanging
}

async fn until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap();
}

fn assert_refused(answer: &Answer) {
    let problem = answer.problem(503, "CAPACITY");
    assert_eq!(problem["type"], REDUCED_CAPACITY);
    assert_eq!(problem["violated-policies"], json!(["capacity"]));
    assert!(!answer.headers.contains_key("connection"), "the connection is kept");
}

fn own_profile(stack: &Stack, token: &str) -> Asked {
    stack.ask("GET", "/v1/profile").bearer(token)
}

fn public_profile(stack: &Stack) -> Asked {
    stack.ask("GET", "/v1/users/ada/profile")
}

#[tokio::test]
async fn a_profile_service_that_hangs_takes_its_own_places_and_nobody_elses() {
    let stack = small_gateway().await;
    let token = stack.signed_in("ada").await;
    let hanging = hang(&stack, "GetProfile", (0..6).map(|_| own_profile(&stack, &token))).await;
    assert_refused(&own_profile(&stack, &token).send().await);
    assert_refused(&public_profile(&stack).send().await);
    for _ in 0..20 {
        assert_eq!(stack.get_as(&token, "/v1/me").await.status, 200);
    }
    assert_eq!(stack.login("ada", PASSWORD).await.status, 200);
    assert_eq!(stack.register("bob").await.status, 201);

    stack.services.recover();
    drop(hanging);
    until(async || own_profile(&stack, &token).send().await.status == 200).await;
    assert_eq!(stack.ask("POST", "/v1/logout").bearer(&token).send().await.status, 204);
}

#[tokio::test]
async fn session_checks_that_hang_leave_room_for_those_who_need_none() {
    let stack = small_gateway().await;
    let token = stack.signed_in("ada").await;
    let me = || stack.ask("GET", "/v1/me").bearer(&token);
    let hanging = hang(&stack, "ValidateSession", (0..8).map(|_| me())).await;
    assert_refused(&me().send().await);
    assert_eq!(public_profile(&stack).send().await.status, 200);
    assert_eq!(stack.login("ada", PASSWORD).await.status, 200);
    stack.services.recover();
    drop(hanging);
    until(async || me().send().await.status == 200).await;
}

#[tokio::test]
async fn passwords_that_take_long_leave_room_for_everybody_else() {
    let stack = small_gateway().await;
    let token = stack.signed_in("ada").await;
    let login = || stack.ask("POST", "/v1/login").json(json!({"username": "ada", "password": PASSWORD}));
    let hanging = hang(&stack, "Login", (0..1).map(|_| login())).await;
    assert_refused(&login().send().await);
    assert_eq!(stack.get_as(&token, "/v1/me").await.status, 200);
    assert_eq!(own_profile(&stack, &token).send().await.status, 200);
    stack.services.recover();
    drop(hanging);
    until(async || login().send().await.status == 200).await;
}

#[tokio::test]
async fn a_full_gateway_refuses_before_any_work_and_serves_again_when_it_is_not() {
    let stack = small_gateway().await;
    let (token, other) = (stack.signed_in("ada").await, stack.signed_in("bob").await);
    let reads = hang(&stack, "GetProfile", (0..4).map(|_| public_profile(&stack))).await;
    let me = || stack.ask("GET", "/v1/me").bearer(&token);
    let checks = hang(&stack, "ValidateSession", (0..4).map(|_| me())).await;
    let reserve = hang(&stack, "GetProfile", (0..1).map(|_| public_profile(&stack))).await;
    let work = stack.services.calls("ValidateSession");
    for refused in [me(), own_profile(&stack, &token), stack.ask("GET", "/openapi.json")] {
        assert_refused(&refused.send().await);
    }
    assert_refused(&stack.login("ada", PASSWORD).await);
    assert_eq!(stack.services.calls("ValidateSession"), work);
    for path in ["/health", "/livez", "/readyz"] {
        assert_eq!(stack.get(path).await.status, 200, "{path}");
    }
    assert_eq!(stack.ask("POST", "/v1/logout").bearer(&other).send().await.status, 204);

    stack.services.recover();
    drop((reads, checks, reserve));
    until(async || me().send().await.status == 200).await;
    let all = (0..4).map(|_| own_profile(&stack, &token).send()).collect::<JoinSet<_>>().join_all().await;
    assert!(all.iter().all(|answer| answer.status == 200), "every place is free again: {all:?}");
}

#[tokio::test]
async fn logouts_are_refused_last() {
    let stack = small_gateway().await;
    let token = stack.signed_in("ada").await;
    let _reads = hang(&stack, "GetProfile", (0..4).map(|_| public_profile(&stack))).await;
    let me = || stack.ask("GET", "/v1/me").bearer(&token);
    let _checks = hang(&stack, "ValidateSession", (0..4).map(|_| me())).await;
    let logout = || stack.ask("POST", "/v1/logout").bearer(&token);
    let _logouts = hang(&stack, "Logout", (0..1).map(|_| logout())).await;
    assert_refused(&logout().send().await);
}

/// Sends the head of a request, and a part of its body.
async fn send_slowly(stack: &Stack, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(stack.gateways[0]).await.unwrap();
    let head = format!(
        "POST /v1/login HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..10]).await.unwrap();
    stream
}

#[tokio::test]
async fn clients_that_are_slow_to_send_keep_nobody_out() {
    let stack = small_gateway().await;
    let token = stack.signed_in("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD}).to_string();
    let mut slow = Vec::new();
    let me = || stack.ask("GET", "/v1/me").bearer(&token);
    for _ in 0..20 {
        slow.push(send_slowly(&stack, &body).await);
        // Each has a place at first, and not for long.
        tokio::time::sleep(Duration::from_millis(20)).await;
        until(async || me().send().await.status == 200).await;
    }
    for _ in 0..20 {
        assert_eq!(me().send().await.status, 200);
    }
    for stream in &mut slow {
        stream.write_all(&body.as_bytes()[10..]).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_request_that_is_refused_with_its_body_keeps_the_connection() {
    let stack = small_gateway().await;
    stack.register("ada").await;
    let _reads = hang(&stack, "GetProfile", (0..4).map(|_| public_profile(&stack))).await;
    let me = || ask(stack.gateways[0], "GET", "/v1/me").bearer("0123456789");
    let _checks = hang(&stack, "ValidateSession", (0..4).map(|_| me())).await;
    let _reserve = hang(&stack, "GetProfile", (0..1).map(|_| public_profile(&stack))).await;
    let answer = stack.login("ada", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_refused(&answer);
}
