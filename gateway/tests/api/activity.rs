//! `GET /v1/me/activity`.

use serde_json::{Value, json};

use crate::services::failure;
use crate::stack::{PASSWORD, Stack};

async fn activity(stack: &Stack, token: &str, query: &str) -> Value {
    let answer = stack.get_as(token, &format!("/v1/me/activity{query}")).await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    answer.json()
}

#[tokio::test]
async fn what_changes_an_account_is_told_with_where_it_came_from() {
    let stack = Stack::start().await;
    let ask = |method: &str, path: &str| stack.ask(method, path).header("user-agent", "a browser");
    let credentials = json!({"username": "ada", "password": PASSWORD});
    ask("POST", "/v1/register").json(credentials.clone()).send().await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let answer = ask("POST", "/v1/login").json(credentials.clone()).send().await;
        tokens.push(answer.json()["token"].as_str().unwrap().to_owned());
    }
    let other = stack.get_as(&tokens[1], "/v1/me").await.json()["session"]["id"].as_str().unwrap().to_owned();
    let one = format!("/v1/sessions/{other}");
    ask("DELETE", &one).bearer(&tokens[0]).send().await;
    ask("DELETE", "/v1/sessions").bearer(&tokens[0]).send().await;
    let change = json!({"currentPassword": PASSWORD, "newPassword": PASSWORD});
    ask("PUT", "/v1/password").bearer(&tokens[0]).json(change).send().await;
    let token = ask("POST", "/v1/login").json(credentials).send().await.json()["token"].clone();
    ask("POST", "/v1/logout").bearer(&tokens[0]).send().await;

    let document = activity(&stack, token.as_str().unwrap(), "").await;
    assert_eq!(document["next"], Value::Null);
    let told = document["activity"].as_array().unwrap();
    let events: Vec<&str> = told.iter().map(|it| it["event"].as_str().unwrap()).collect();
    let expected = [
        "LOGGED_OUT",
        "LOGGED_IN",
        "PASSWORD_CHANGED",
        "OTHER_SESSIONS_ENDED",
        "SESSION_ENDED",
        "LOGGED_IN",
        "LOGGED_IN",
        "LOGGED_IN",
        "REGISTERED",
    ];
    assert_eq!(events, expected);
    for it in told {
        assert_eq!((&it["address"], &it["userAgent"]), (&json!("127.0.0.1"), &json!("a browser")), "{it}");
    }
    assert_eq!(told[4]["sessionId"], other);
    let registered = json!({
        "id": "1", "event": "REGISTERED", "at": "2026-01-01T00:00:01.000Z",
        "address": "127.0.0.1", "userAgent": "a browser", "sessionId": null,
    });
    assert_eq!(told[8], registered);
}

#[tokio::test]
async fn it_comes_in_parts_that_miss_nothing_and_repeat_nothing() {
    let stack = Stack::start().await;
    stack.signed_in("ada").await;
    let bob = stack.signed_in("bob").await;
    for _ in 0..4 {
        stack.login("bob", PASSWORD).await;
        stack.login("ada", PASSWORD).await;
    }
    let whole = activity(&stack, &bob, "").await;
    let mut parts = Vec::new();
    let mut query = "?limit=4".to_owned();
    loop {
        let part = activity(&stack, &bob, &query).await;
        parts.extend(part["activity"].as_array().unwrap().clone());
        let Some(next) = part["next"].as_str() else { break };
        query = format!("?limit=4&before={next}");
    }
    assert_eq!(parts.len(), 6);
    assert_eq!(&parts, whole["activity"].as_array().unwrap());
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    for query in ["limit=0", "limit=101", "limit=x", "limit=", "before=0", "before=-1", "before=yesterday"] {
        let answer = stack.get_as(&token, &format!("/v1/me/activity?{query}")).await;
        answer.problem(400, "INVALID_QUERY");
    }
    assert_eq!(stack.services.calls("ListActivity"), 0);
    stack.get("/v1/me/activity").await.problem(401, "SESSION_INVALID");
    let away = failure(tonic::Code::Unavailable, "DATABASE_UNAVAILABLE", "the user database does not answer");
    stack.services.fail("ListActivity", away);
    stack.get_as(&token, "/v1/me/activity").await.problem(503, "DATABASE_UNAVAILABLE");
}
