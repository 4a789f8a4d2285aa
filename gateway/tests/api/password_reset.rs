//! `POST /v1/password-reset` and `POST /v1/password-reset/confirm`.

use serde_json::{Value, json};

use crate::client::Answer;
use crate::services::{capacity, failure};
use crate::stack::{PASSWORD, Stack};

const NEW: &str = "an even better passphrase";

async fn ask(stack: &Stack, body: Value) -> Answer {
    stack.ask("POST", "/v1/password-reset").json(body).send().await
}

async fn confirm(stack: &Stack, token: &str, new: &str) -> Answer {
    let body = json!({"token": token, "newPassword": new});
    stack.ask("POST", "/v1/password-reset/confirm").json(body).send().await
}

#[tokio::test]
async fn a_reset_ends_every_session_and_the_token() {
    let stack = Stack::start().await;
    let session = stack.signed_in("ada").await;
    assert_eq!(ask(&stack, json!({"username": "ADA"})).await.status, 202);
    assert_eq!(confirm(&stack, "reset ada", "short").await.invalid_fields(), ["/newPassword"]);
    let answer = confirm(&stack, "reset ada", NEW).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    stack.get_as(&session, "/v1/me").await.problem(401, "SESSION_INVALID");
    assert_eq!(stack.login("ada", NEW).await.status, 200);
    let problem = confirm(&stack, "reset ada", PASSWORD).await.problem(400, "TOKEN_INVALID");
    assert_eq!(problem["error"], "The token is unknown, used or expired.");
}

#[tokio::test]
async fn the_answer_is_the_same_whoever_is_asked_for() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    let known = ask(&stack, json!({"username": "ada"})).await;
    for body in [json!({"username": "nobody"}), json!({"email": "nobody@example.com", "username": null})] {
        let unknown = ask(&stack, body).await;
        assert_eq!((unknown.status, &unknown.body), (known.status, &known.body));
        let names = |answer: &Answer| answer.headers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&unknown), names(&known));
    }
    assert_eq!(known.header("cache-control"), "no-store");
    assert_eq!(stack.services.lock().asked, ["ada", "nobody", "nobody@example.com"]);
}

#[tokio::test]
async fn what_names_nobody_or_two_is_refused() {
    let stack = Stack::start().await;
    for (body, pointer) in [
        (json!({}), ""),
        (json!({"username": null, "email": null}), ""),
        (json!({"username": "ada", "email": "ada@example.com"}), ""),
        (json!({"username": 1}), "/username"),
        (json!({"email": ["ada@example.com"]}), "/email"),
    ] {
        assert_eq!(ask(&stack, body.clone()).await.invalid_fields(), [pointer], "{body}");
    }
    let empty = stack.ask("POST", "/v1/password-reset/confirm").json(json!({})).send().await;
    assert_eq!(empty.invalid_fields(), ["/token", "/newPassword"]);
    assert!(stack.services.lock().asked.is_empty());
}

#[tokio::test]
async fn mails_are_limited_per_account_as_it_is_named_and_per_address() {
    let limits = ["--limit-mail-account", "2/600", "--limit-mail-ip", "5/600"];
    let stack = Stack::with_limits(1, &limits).await;
    for name in ["nobody", "NOBODY"] {
        assert_eq!(ask(&stack, json!({"username": name})).await.status, 202);
    }
    let refused = ask(&stack, json!({"username": "nobody"})).await.problem(429, "RATE_LIMITED");
    assert_eq!(refused["violated-policies"], json!(["mail-account"]));
    for email in ["a@example.com", "A@Example.com"] {
        assert_eq!(ask(&stack, json!({"email": email})).await.status, 202);
    }
    let refused = ask(&stack, json!({"email": "a@EXAMPLE.com"})).await.problem(429, "RATE_LIMITED");
    assert_eq!(refused["violated-policies"], json!(["mail-account"]));

    stack.services.fail("RequestPasswordReset", capacity());
    ask(&stack, json!({"username": "ada"})).await.problem(503, "CAPACITY");
    stack.services.recover();
    assert_eq!(ask(&stack, json!({"username": "ada"})).await.status, 202, "an outage costs nothing");
    let refused = ask(&stack, json!({"username": "eve"})).await.problem(429, "RATE_LIMITED");
    assert_eq!(refused["violated-policies"], json!(["mail-ip"]));
    assert_eq!(stack.services.lock().asked.len(), 5);
}

#[tokio::test]
async fn guessing_tokens_is_limited_and_good_ones_cost_nothing() {
    let stack = Stack::with_limits(1, &["--limit-token-ip", "2/600"]).await;
    stack.register("ada").await;
    for _ in 0..3 {
        ask(&stack, json!({"username": "ada"})).await;
        assert_eq!(confirm(&stack, "reset ada", NEW).await.status, 204);
    }
    for _ in 0..2 {
        confirm(&stack, "guess", NEW).await.problem(400, "TOKEN_INVALID");
    }
    let asked = stack.services.calls("ConfirmPasswordReset");
    confirm(&stack, "guess", NEW).await.problem(429, "RATE_LIMITED");
    let verification = json!({"token": "guess"});
    let guess = stack.ask("POST", "/v1/email-verification/confirm").json(verification).send().await;
    guess.problem(429, "RATE_LIMITED");
    assert_eq!(stack.services.calls("ConfirmPasswordReset"), asked);
}

#[tokio::test]
async fn a_service_without_mail_says_so() {
    let stack = Stack::start().await;
    let refusal = failure(tonic::Code::Unavailable, "MAIL_NOT_CONFIGURED", "this service sends no mail");
    stack.services.fail("RequestPasswordReset", refusal);
    let problem = ask(&stack, json!({"username": "ada"})).await.problem(503, "MAIL_NOT_CONFIGURED");
    assert_eq!(problem["detail"], "This service sends no mail.");
}
