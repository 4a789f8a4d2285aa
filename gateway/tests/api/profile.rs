//! `GET` and `PATCH /v1/profile`.

use serde_json::{Value, json};
use tonic::Status;

use crate::client::Answer;
use crate::services::{Script, failure, store_away};
use crate::stack::Stack;

const ID: &str = "01980000-0000-7000-8000-000000000001";

async fn patch(stack: &Stack, token: &str, if_match: &str, change: Value) -> Answer {
    let request = stack.ask("PATCH", "/v1/profile").bearer(token).header("if-match", if_match);
    request.body("application/merge-patch+json", change.to_string()).send().await
}

fn tag(version: u64) -> String {
    format!("\"{ID}.{version}\"")
}

#[tokio::test]
async fn the_own_profile_is_told_whole() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    stack.services.lock().profiles.get_mut(ID).unwrap().last_seen = None;
    let answer = stack.get_as(&token, "/v1/profile").await;
    assert_eq!(answer.status, 200);
    let mut profile = answer.json();
    profile.as_object_mut().unwrap().remove("lastSeen").unwrap();
    assert_eq!(
        profile,
        json!({
            "id": ID, "username": "ada", "displayName": "ada", "bio": "", "locale": "en", "timezone": "UTC",
            "role": "user", "links": [], "avatarUrl": null, "createdAt": "2026-01-01T00:00:00.000Z",
            "updatedAt": "2026-01-01T00:00:00.000Z", "version": 1,
        })
    );
    assert_eq!(answer.header("etag"), tag(1));
    assert_eq!(answer.header("vary"), "Authorization, Cookie");
    assert_eq!(answer.header("cache-control"), "private, no-cache");
}

#[tokio::test]
async fn a_profile_that_the_client_has_is_not_sent_again() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let ask = async |tags: &str| {
        stack.ask("GET", "/v1/profile").bearer(&token).header("if-none-match", tags).send().await
    };
    for tags in [tag(1), format!("W/{}", tag(1)), format!("\"x\", {}", tag(1)), "*".to_owned()] {
        let answer = ask(&tags).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{tags}");
        assert_eq!((answer.header("etag"), answer.header("cache-control")), (&*tag(1), "private, no-cache"));
        assert_eq!(answer.header("vary"), "Authorization, Cookie");
    }
    for tags in [tag(2), "\"someone-else.1\"".to_owned(), "nonsense".to_owned()] {
        assert_eq!(ask(&tags).await.status, 200, "{tags}");
    }
}

#[tokio::test]
async fn a_change_is_answered_with_the_new_profile() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let links = json!([{"label": "home", "url": "https://ada.example"}]);
    let change = json!({"displayName": "Ada L.", "links": links, "avatarUrl": "https://ada.example/me.png"});
    let answer = patch(&stack, &token, &tag(1), change).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("etag"), tag(2));
    let profile = answer.json();
    assert_eq!((&profile["displayName"], &profile["links"]), (&json!("Ada L."), &links));
    let cleared =
        patch(&stack, &token, "*", json!({"links": null, "avatarUrl": null, "bio": null})).await.json();
    assert_eq!((&cleared["links"], &cleared["avatarUrl"]), (&json!([]), &Value::Null));
    assert_eq!((&cleared["displayName"], &cleared["version"]), (&json!("Ada L."), &json!(3)));
}

#[tokio::test]
async fn a_change_names_the_version_that_it_was_made_from() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let change = json!({"bio": "first"});
    let request = stack.ask("PATCH", "/v1/profile").bearer(&token).json(change.clone());
    request.send().await.problem(428, "IF_MATCH_REQUIRED");
    let weak = format!("W/{}", tag(1));
    for stale in [tag(2).as_str(), &weak, "\"other.1\"", "nonsense", "", &format!("{}, {}", tag(2), tag(3))] {
        patch(&stack, &token, stale, change.clone()).await.problem(412, "VERSION_MISMATCH");
    }
    let list = format!("{}, {}", tag(7), tag(1));
    assert_eq!(patch(&stack, &token, &list, change.clone()).await.status, 200);
    patch(&stack, &token, &tag(1), change).await.problem(412, "VERSION_MISMATCH");
}

#[tokio::test]
async fn an_empty_change_is_answered_with_what_is() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = patch(&stack, &token, &tag(1), json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, &*tag(1)));
    patch(&stack, &token, &tag(2), json!({})).await.problem(412, "VERSION_MISMATCH");
    assert_eq!(stack.services.calls("UpdateProfile"), 0);
}

#[tokio::test]
async fn both_json_types_are_taken_and_no_other() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    for (content_type, status) in
        [("application/json", 200), ("application/merge-patch+json; charset=utf-8", 200)]
    {
        let request = stack.ask("PATCH", "/v1/profile").bearer(&token).header("if-match", "*");
        assert_eq!(request.body(content_type, "{\"bio\":\"x\"}").send().await.status, status);
    }
    for other in ["text/plain", "application/json-patch+json", ""] {
        let request =
            stack.ask("PATCH", "/v1/profile").bearer(&token).header("if-match", "*").body(other, "{}");
        let answer = request.send().await;
        answer.problem(415, "UNSUPPORTED_MEDIA_TYPE");
        assert_eq!(answer.header("accept-patch"), "application/merge-patch+json, application/json");
    }
}

#[tokio::test]
async fn what_cannot_be_changed_is_pointed_at() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let change =
        json!({"role": "admin", "username": "eve", "shoeSize": 3, "bio": 1, "links": [{"label": "x"}]});
    let mut pointers = patch(&stack, &token, "*", change).await.invalid_fields();
    pointers.sort();
    assert_eq!(pointers, ["/bio", "/links/0/url", "/role", "/shoeSize", "/username"]);
    let told_by_the_service = patch(&stack, &token, "*", json!({"timezone": "Mars/Olympus"})).await;
    assert_eq!(told_by_the_service.invalid_fields(), ["/timezone", "/links/0/url"]);
}

#[tokio::test]
async fn a_missing_profile_is_made_by_whoever_asks_for_it() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    stack.services.lock().profiles.clear();
    assert_eq!(stack.get_as(&token, "/v1/profile").await.json()["username"], "ada");
    stack.services.lock().profiles.clear();
    assert_eq!(patch(&stack, &token, "*", json!({"bio": "x"})).await.json()["bio"], "x");
    stack.services.lock().profiles.clear();
    stack.services.fail("GetUser", Status::unavailable("away"));
    stack.get_as(&token, "/v1/profile").await.problem(503, "UNAVAILABLE");
}

#[tokio::test]
async fn failures_of_the_services_are_told_as_what_they_are() {
    let stack = Stack::with_args(&["--read-timeout-ms", "200"]).await;
    let token = stack.signed_in("ada").await;
    stack
        .services
        .fail("UpdateProfile", failure(tonic::Code::Unavailable, "CACHE_UNAVAILABLE", "the cache is away"));
    patch(&stack, &token, "*", json!({"bio": "x"})).await.problem(503, "CACHE_UNAVAILABLE");
    stack.services.script("GetProfile", Script::Hang);
    assert_eq!(stack.get_as(&token, "/v1/profile").await.status, 504);
    stack.services.fail("ValidateSession", store_away());
    stack.get_as(&token, "/v1/profile").await.problem(503, "SESSION_STORE_UNAVAILABLE");
}

#[tokio::test]
async fn a_change_by_cookie_has_to_come_from_this_site() {
    let stack = Stack::start().await;
    let cookie = format!("session={}", stack.signed_in("ada").await);
    let change = || {
        let request = stack.ask("PATCH", "/v1/profile").header("cookie", &cookie).header("if-match", "*");
        request.json(json!({"bio": "x"}))
    };
    change().send().await.problem(403, "CROSS_SITE");
    change().header("sec-fetch-site", "cross-site").send().await.problem(403, "CROSS_SITE");
    assert_eq!(change().header("sec-fetch-site", "same-origin").send().await.status, 200);
}
