//! `Idempotency-Key` on `POST /v1/register`.

use std::time::Duration;

use serde_json::json;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::client::Answer;
use crate::stack::{PASSWORD, Stack};

async fn register(stack: &Stack, username: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"username": username, "password": PASSWORD});
    let mut request = stack.ask("POST", "/v1/register").json(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send().await
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_says_so() {
    let stack = Stack::start().await;
    let key = [("idempotency-key", "\"8e03978e\"")];
    let (first, again) = (register(&stack, "ada", &key).await, register(&stack, "ada", &key).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201));
    assert_eq!(first.body, again.body);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    register(&stack, "ada", &[]).await.problem(409, "USERNAME_TAKEN");
    register(&stack, "bob", &key).await.problem(422, "IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test]
async fn a_key_belongs_to_the_address_that_it_comes_from() {
    let stack = Stack::with_args(&["--trusted-proxies", "127.0.0.1"]).await;
    let from = async |name: &str, address: &str| {
        let headers = [("idempotency-key", "\"k\""), ("x-forwarded-for", address)];
        register(&stack, name, &headers).await.status.as_u16()
    };
    assert_eq!(from("ada", "192.0.2.1").await, 201);
    assert_eq!(from("bob", "192.0.2.2").await, 201, "another's key is another key");
    assert_eq!(from("bob", "192.0.2.1").await, 422);
    assert_eq!(from("carol", "2001:db8::1").await, 201);
    assert_eq!(from("dave", "2001:db8::ffff:1").await, 422, "an IPv6 network is one caller");
    assert_eq!(from("dave", "2001:db8:0:1::1").await, 201);
    let keys: Vec<_> = stack.services.lock().registrations.keys().cloned().collect();
    assert!(keys.iter().all(|key| key.ends_with(":k") && !key.contains("192.0.2")), "{keys:?}");
}

#[tokio::test]
async fn a_malformed_key_is_refused_before_anything_is_done() {
    let stack = Stack::start().await;
    for malformed in
        ["", "8e03978e", "\"\"", "\"open", "\"a\", \"b\"", "'a'", &format!("\"{}\"", "k".repeat(256))]
    {
        let answer = register(&stack, "ada", &[("idempotency-key", malformed)]).await;
        answer.problem(400, "INVALID_IDEMPOTENCY_KEY");
    }
    let twice = [("idempotency-key", "\"a\""), ("idempotency-key", "\"a\"")];
    register(&stack, "ada", &twice).await.problem(400, "INVALID_IDEMPOTENCY_KEY");
    assert_eq!(stack.services.calls("Register"), 0);
}

#[tokio::test]
async fn a_request_that_is_still_running_is_a_conflict_that_says_when_to_come_again() {
    let stack = Stack::start().await;
    let mut details = ErrorDetails::new();
    details.set_error_info("IDEMPOTENCY_KEY_IN_USE", "auth.sallyport", std::collections::HashMap::new());
    details.set_retry_info(Some(Duration::from_secs(1)));
    let running = tonic::Status::with_error_details(Code::Aborted, "still running", details);
    stack.services.fail("Register", running);
    let answer = register(&stack, "ada", &[("idempotency-key", "\"k\"")]).await;
    answer.problem(409, "IDEMPOTENCY_KEY_IN_USE");
    assert_eq!(answer.header("retry-after"), "1");
}
