//! `GET /v1/users/{username}/profile`.

use serde_json::json;
use tonic::Status;

use crate::stack::Stack;

#[tokio::test]
async fn everybody_sees_the_public_part_and_nothing_else() {
    let stack = Stack::start().await;
    stack.signed_in("ada").await;
    let answer = stack.get("/v1/users/ADA/profile").await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "username": "ada", "displayName": "ada", "bio": "", "links": [], "avatarUrl": null,
        "createdAt": "2026-01-01T00:00:00.000Z",
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("cache-control"), "public, no-cache");
    let tag = answer.header("etag").to_owned();
    let answer = stack.ask("GET", "/v1/users/ada/profile").header("if-none-match", &tag).send().await;
    assert_eq!((answer.status.as_u16(), answer.header("etag")), (304, &*tag));
}

#[tokio::test]
async fn unknown_and_impossible_names_are_not_found() {
    let stack = Stack::start().await;
    for name in
        ["nobody", "x", "%ff%fe", "%00", "a%2Fb", &"n".repeat(5000), "%F0%9F%A6%80%F0%9F%A6%80%F0%9F%A6%80"]
    {
        let answer = stack.get(&format!("/v1/users/{name}/profile")).await;
        answer.problem(404, "PROFILE_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_missing_profile_is_made_and_an_outage_of_auth_is_told() {
    let stack = Stack::start().await;
    stack.register("ada").await;
    stack.services.lock().profiles.clear();
    assert_eq!(stack.get("/v1/users/ada/profile").await.status, 200);
    stack.services.fail("GetUser", Status::unavailable("away"));
    assert_eq!(stack.get("/v1/users/ada/profile").await.status, 200);
    stack.get("/v1/users/nobody/profile").await.problem(503, "UNAVAILABLE");
}
