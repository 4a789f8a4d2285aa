//! `POST /v1/email-verification` and `POST /v1/email-verification/confirm`.

use serde_json::json;

use crate::client::Answer;
use crate::stack::{PASSWORD, Stack};

async fn signed_in(stack: &Stack) -> String {
    let body = json!({"username": "ada", "password": PASSWORD, "email": "ada@example.com"});
    assert_eq!(stack.ask("POST", "/v1/register").json(body).send().await.status, 201);
    stack.login("ada", PASSWORD).await.json()["token"].as_str().unwrap().to_owned()
}

async fn ask(stack: &Stack, token: &str) -> Answer {
    stack.ask("POST", "/v1/email-verification").bearer(token).send().await
}

async fn confirm(stack: &Stack, token: &str) -> Answer {
    stack.ask("POST", "/v1/email-verification/confirm").json(json!({"token": token})).send().await
}

#[tokio::test]
async fn an_address_is_verified_by_what_was_sent_there() {
    let stack = Stack::start().await;
    let session = signed_in(&stack).await;
    assert_eq!(ask(&stack, &session).await.status, 202);
    assert_eq!(stack.get_as(&session, "/v1/me").await.json()["emailVerified"], false);
    assert_eq!(confirm(&stack, "verify ada").await.status, 204);
    assert_eq!(stack.get_as(&session, "/v1/me").await.json()["emailVerified"], true);
    confirm(&stack, "verify ada").await.problem(400, "TOKEN_INVALID");
    ask(&stack, &session).await.problem(409, "EMAIL_VERIFIED");
}

#[tokio::test]
async fn who_has_no_address_or_no_session_gets_no_mail() {
    let stack = Stack::start().await;
    let session = stack.signed_in("bob").await;
    ask(&stack, &session).await.problem(409, "EMAIL_MISSING");
    ask(&stack, "made up").await.problem(401, "SESSION_INVALID");
    let empty = stack.ask("POST", "/v1/email-verification/confirm").json(json!({})).send().await;
    assert_eq!(empty.invalid_fields(), ["/token"]);
    assert!(stack.services.lock().mailed.is_empty());
}

#[tokio::test]
async fn mails_to_the_own_address_are_limited_and_those_that_are_not_sent_cost_nothing() {
    let stack = Stack::with_limits(1, &["--limit-mail-account", "2/600"]).await;
    let session = signed_in(&stack).await;
    for _ in 0..2 {
        assert_eq!(ask(&stack, &session).await.status, 202);
    }
    ask(&stack, &session).await.problem(429, "RATE_LIMITED");
    assert_eq!(confirm(&stack, "verify ada").await.status, 204);
    let bob = stack.signed_in("bob").await;
    for _ in 0..3 {
        ask(&stack, &bob).await.problem(409, "EMAIL_MISSING");
    }
}
