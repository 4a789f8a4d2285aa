//! `/v1/sessions`.

use serde_json::Value;

use crate::client::Answer;
use crate::stack::{PASSWORD, Stack};

async fn listed(stack: &Stack, token: &str) -> Vec<Value> {
    let answer = stack.get_as(token, "/v1/sessions").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    answer.json()["sessions"].as_array().unwrap().clone()
}

async fn delete(stack: &Stack, token: &str, path: &str) -> Answer {
    stack.ask("DELETE", path).bearer(token).send().await
}

async fn again(stack: &Stack) -> String {
    let answer = stack.login("ada", PASSWORD).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_list_tells_each_session_and_which_one_asks() {
    let stack = Stack::start().await;
    let first = stack.signed_in("ada").await;
    let second = again(&stack).await;
    stack.signed_in("bob").await;
    let sessions = listed(&stack, &second).await;
    assert_eq!(sessions.len(), 2);
    for session in &sessions {
        assert_eq!(session["clientAddress"], "127.0.0.1");
        assert!(session["userAgent"].is_string() && session["expiresIn"] == 1800, "{session}");
    }
    let current: Vec<_> = sessions.iter().filter(|session| session["current"] == true).collect();
    let me = stack.get_as(&second, "/v1/me").await.json();
    assert_eq!((current.len(), &current[0]["id"]), (1, &me["session"]["id"]));
    assert_eq!(stack.get_as(&first, "/v1/me").await.status, 200);
}

#[tokio::test]
async fn one_of_the_own_sessions_can_be_ended_and_no_other() {
    let stack = Stack::start().await;
    let (first, bob) = (stack.signed_in("ada").await, stack.signed_in("bob").await);
    let second = again(&stack).await;
    let id = stack.get_as(&first, "/v1/me").await.json()["session"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/sessions/{id}");
    delete(&stack, &bob, &path).await.problem(404, "SESSION_NOT_FOUND");
    assert_eq!(delete(&stack, &second, &path).await.status, 204);
    stack.get_as(&first, "/v1/me").await.problem(401, "SESSION_INVALID");
    delete(&stack, &second, &path).await.problem(404, "SESSION_NOT_FOUND");
    delete(&stack, &second, "/v1/sessions/nonsense").await.problem(404, "SESSION_NOT_FOUND");
}

#[tokio::test]
async fn all_others_end_and_the_current_one_only_when_asked() {
    let stack = Stack::start().await;
    let (first, bob) = (stack.signed_in("ada").await, stack.signed_in("bob").await);
    let second = again(&stack).await;
    delete(&stack, &second, "/v1/sessions?includeCurrent=maybe").await.problem(400, "INVALID_QUERY");
    assert_eq!(listed(&stack, &second).await.len(), 2, "nothing has happened yet");
    assert_eq!(delete(&stack, &second, "/v1/sessions").await.status, 204);
    stack.get_as(&first, "/v1/me").await.problem(401, "SESSION_INVALID");
    assert_eq!(listed(&stack, &second).await.len(), 1);
    assert_eq!(delete(&stack, &second, "/v1/sessions?includeCurrent=true").await.status, 204);
    stack.get_as(&second, "/v1/me").await.problem(401, "SESSION_INVALID");
    assert_eq!(stack.get_as(&bob, "/v1/me").await.status, 200, "nobody else's");
}
