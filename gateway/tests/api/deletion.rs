//! `DELETE /v1/me`.

use serde_json::json;
use tonic::{Code, Status};

use crate::client::Asked;
use crate::services::{capacity, failure, store_away};
use crate::stack::{PASSWORD, Stack};

fn delete(stack: &Stack, token: &str, password: &str) -> Asked {
    stack.ask("DELETE", "/v1/me").bearer(token).json(json!({"password": password}))
}

#[tokio::test]
async fn who_shows_the_password_is_gone_and_the_name_is_free() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = delete(&stack, &token, PASSWORD).send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert!(!answer.headers.contains_key("clear-site-data") && !answer.headers.contains_key("set-cookie"));
    stack.get_as(&token, "/v1/me").await.problem(401, "SESSION_INVALID");
    delete(&stack, &token, PASSWORD).send().await.problem(401, "SESSION_INVALID");
    stack.login("ada", PASSWORD).await.problem(401, "INVALID_CREDENTIALS");
    assert_eq!(stack.register("ada").await.status, 201);
}

#[tokio::test]
async fn a_browser_is_told_to_forget_everything_and_another_site_deletes_nobody() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD, "transport": "cookie"});
    let login = stack.ask("POST", "/v1/login").json(body).send().await;
    let cookie = login.header("set-cookie").split(';').next().unwrap().to_owned();
    let delete = || {
        let request = stack.ask("DELETE", "/v1/me").header("cookie", &cookie);
        request.json(json!({"password": PASSWORD}))
    };
    delete().send().await.problem(403, "CROSS_SITE");
    delete().header("sec-fetch-site", "cross-site").send().await.problem(403, "CROSS_SITE");
    assert_eq!(stack.services.calls("DeleteUser"), 0);
    let answer = delete().header("sec-fetch-site", "same-origin").send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("clear-site-data"), "\"cache\",\"cookies\",\"storage\"");
    assert_eq!(answer.header("set-cookie"), "session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax");
}

#[tokio::test]
async fn what_cannot_be_accepted_deletes_nobody() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    delete(&stack, &token, "not my password").send().await.problem(403, "WRONG_PASSWORD");
    let empty = stack.ask("DELETE", "/v1/me").bearer(&token).json(json!({})).send().await;
    assert_eq!(empty.invalid_fields(), ["/password"]);
    let none = stack.ask("DELETE", "/v1/me").bearer(&token).send().await;
    none.problem(415, "UNSUPPORTED_MEDIA_TYPE");
    delete(&stack, "made-up", PASSWORD).send().await.problem(401, "SESSION_INVALID");
    for (status, code) in [(capacity(), "CAPACITY"), (store_away(), "SESSION_STORE_UNAVAILABLE")] {
        stack.services.fail("DeleteUser", status);
        let answer = delete(&stack, &token, PASSWORD).send().await;
        answer.problem(503, code);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    stack.services.recover();
    assert_eq!(stack.get_as(&token, "/v1/me").await.status, 200);
}

#[tokio::test]
async fn who_is_deleted_by_another_session_meanwhile_has_none() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let gone: Status = failure(Code::NotFound, "USER_NOT_FOUND", "there is no such user");
    stack.services.fail("DeleteUser", gone);
    delete(&stack, &token, PASSWORD).send().await.problem(401, "SESSION_INVALID");
}

#[tokio::test]
async fn guessing_the_password_is_limited_before_anything_is_hashed() {
    let stack = Stack::with_limits(1, &[]).await;
    let token = stack.signed_in("ada").await;
    for _ in 0..10 {
        delete(&stack, &token, "not my password").send().await.problem(403, "WRONG_PASSWORD");
    }
    let asked = stack.services.calls("DeleteUser");
    delete(&stack, &token, PASSWORD).send().await.problem(429, "RATE_LIMITED");
    assert_eq!(stack.services.calls("DeleteUser"), asked);
}

#[tokio::test]
async fn while_a_former_user_of_the_name_is_still_being_removed_the_new_one_is_told_to_come_back() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    stack.services.lock().profiles.clear();
    let taken = failure(Code::AlreadyExists, "USERNAME_TAKEN", "this username is taken");
    stack.services.fail("CreateProfile", taken);
    stack.get_as(&token, "/v1/profile").await.problem(503, "PROFILE_NOT_READY");
    stack.services.recover();
    assert_eq!(stack.get_as(&token, "/v1/profile").await.status, 200);
}
