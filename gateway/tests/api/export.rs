//! `GET /v1/me/export`.

use proto::auth::v1::Activity;
use serde_json::Value;

use crate::services::store_away;
use crate::stack::{PASSWORD, Stack};

#[tokio::test]
async fn everything_that_is_held_is_one_document_to_keep() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    assert_eq!(stack.login("ada", PASSWORD).await.status, 200);
    let answer = stack.get_as(&token, "/v1/me/export").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"sallyport-export.json\"");
    let export = answer.json();
    let me = stack.get_as(&token, "/v1/me").await.json();
    assert_eq!((&export["account"]["id"], &export["account"]["username"]), (&me["id"], &"ada".into()));
    assert_eq!(export["profile"], stack.get_as(&token, "/v1/profile").await.json());
    let sessions = export["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session["current"] == true).count(), 1);
    assert_eq!(export["signIns"].as_array().unwrap().len(), 2);
    assert_eq!(export["devices"][0]["seenAt"], Value::Null);
    assert_eq!(export["mails"][0]["purpose"], "EMAIL_VERIFICATION");
    let activity = stack.get_as(&token, "/v1/me/activity").await.json();
    assert_eq!(export["activity"], activity["activity"]);
    assert_eq!(export["activityNext"], Value::Null);
}

#[tokio::test]
async fn the_activity_is_whole_however_long_it_is() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let id = stack.get_as(&token, "/v1/me").await.json()["id"].as_str().unwrap().to_owned();
    let before = i64::try_from(stack.services.lock().activity.len()).unwrap();
    for number in 0..250 {
        let entry = Activity { id: before + 1 + number, event: "LOGGED_IN".into(), ..Activity::default() };
        stack.services.lock().activity.push((id.clone(), entry));
    }
    let export = stack.get_as(&token, "/v1/me/export").await.json();
    let ids: Vec<i64> = export["activity"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(ids.len() >= 250 && ids.is_sorted_by(|newer, older| newer > older), "{ids:?}");
}

#[tokio::test]
async fn without_a_service_there_is_none_and_never_a_part() {
    let stack = Stack::start().await;
    stack.ask("GET", "/v1/me/export").send().await.problem(401, "SESSION_INVALID");
    let token = stack.signed_in("ada").await;
    for method in ["GetProfile", "ExportUser", "ListActivity"] {
        stack.services.fail(method, store_away());
        stack.get_as(&token, "/v1/me/export").await.problem(503, "SESSION_STORE_UNAVAILABLE");
        stack.services.recover();
    }
    assert_eq!(stack.get_as(&token, "/v1/me/export").await.status, 200);
}
