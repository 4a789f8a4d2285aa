//! `PUT /v1/password`.

use serde_json::json;

use crate::client::Asked;
use crate::services::capacity;
use crate::stack::{PASSWORD, Stack};

const NEW: &str = "an even better passphrase";

fn change(stack: &Stack, token: &str, current: &str, new: &str) -> Asked {
    let body = json!({"currentPassword": current, "newPassword": new});
    stack.ask("PUT", "/v1/password").bearer(token).json(body)
}

async fn again(stack: &Stack) -> String {
    let answer = stack.login("ada", PASSWORD).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_change_ends_every_other_session() {
    let stack = Stack::start().await;
    let other = stack.signed_in("ada").await;
    let token = again(&stack).await;
    let answer = change(&stack, &token, PASSWORD, NEW).send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    stack.get_as(&other, "/v1/me").await.problem(401, "SESSION_INVALID");
    assert_eq!(stack.get_as(&token, "/v1/me").await.status, 200);
    let body = json!({"username": "ada", "password": PASSWORD});
    stack.ask("POST", "/v1/login").json(body).send().await.problem(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn what_cannot_be_accepted_changes_nothing() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    change(&stack, &token, "not my password", NEW).send().await.problem(403, "WRONG_PASSWORD");
    assert_eq!(change(&stack, &token, PASSWORD, "short").send().await.invalid_fields(), ["/newPassword"]);
    let empty = stack.ask("PUT", "/v1/password").bearer(&token).json(json!({})).send().await;
    assert_eq!(empty.invalid_fields(), ["/currentPassword", "/newPassword"]);
    change(&stack, "made-up", PASSWORD, NEW).send().await.problem(401, "SESSION_INVALID");
    stack.services.fail("ChangePassword", capacity());
    change(&stack, &token, PASSWORD, NEW).send().await.problem(503, "CAPACITY");
    stack.services.recover();
    again(&stack).await;
}

#[tokio::test]
async fn guessing_the_current_password_is_limited_before_anything_is_hashed() {
    let stack = Stack::with_limits(1, &[]).await;
    let token = stack.signed_in("ada").await;
    for _ in 0..10 {
        change(&stack, &token, "not my password", NEW).send().await.problem(403, "WRONG_PASSWORD");
    }
    let asked = stack.services.calls("ChangePassword");
    change(&stack, &token, PASSWORD, NEW).send().await.problem(429, "RATE_LIMITED");
    assert_eq!(stack.services.calls("ChangePassword"), asked);
}
