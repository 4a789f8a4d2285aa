//! `GET /v1/me`.

use serde_json::json;

use crate::stack::Stack;

#[tokio::test]
async fn it_tells_user_and_session_and_no_password() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = stack.get_as(&token, "/v1/me").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "id": "01980000-0000-7000-8000-000000000001",
            "username": "ada",
            "email": null,
            "emailVerified": false,
            "createdAt": "2026-01-01T00:00:00.123Z",
            "session": {
                "id": "00112233445566778899aabbccddeeff",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "lastSeenAt": "2026-01-01T00:01:00.500Z",
                "expiresIn": 1800,
            },
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn only_a_valid_session_is_let_in() {
    let stack = Stack::start().await;
    stack.signed_in("ada").await;
    stack.get("/v1/me").await.problem(401, "SESSION_INVALID");
    for authorization in ["Bearer nonsense", "Bearer ", "Basic dXNlcjpwdw==", "Bearer token with spaces", "x"]
    {
        let answer = stack.ask("GET", "/v1/me").header("authorization", authorization).send().await;
        answer.problem(401, "SESSION_INVALID");
    }
    for cookie in ["session=made-up", "session=", "session", "=;;;", "__Host-session=x", "session=\"x\""] {
        let answer = stack.ask("GET", "/v1/me").header("cookie", cookie).send().await;
        answer.problem(401, "SESSION_INVALID");
    }
}

#[tokio::test]
async fn a_bearer_header_and_a_cookie_are_never_confused() {
    let stack = Stack::start().await;
    let (ada, bob) = (stack.signed_in("ada").await, stack.signed_in("bob").await);
    let cookie = format!("session={bob}");
    let answer = stack.ask("GET", "/v1/me").bearer(&ada).header("cookie", &cookie).send().await;
    assert_eq!(answer.json()["username"], "ada");
    let answer = stack.ask("GET", "/v1/me").bearer("made-up").header("cookie", &cookie).send().await;
    answer.problem(401, "SESSION_INVALID");
}
