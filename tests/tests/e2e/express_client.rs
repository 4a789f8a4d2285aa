//! A client written for the Express articles: it knows the unprefixed routes, `{token}`, `{error}` and the Bearer header, and nothing
//! of anything that came later.

use serde_json::{Value, json};
use tests::rate_limit::limit;
use tests::stack::Stack;

#[tokio::test]
async fn a_client_written_for_the_express_articles_works_unchanged() {
    let stack = Stack::builder().start();
    let api = stack.api(0);
    let credentials = json!({"username": "mia", "password": "correct horse battery staple"});

    assert_eq!(api.get("/health").await.expect(200).text(), "OK");

    let registered = api.post("/register").json(&credentials).await.expect(201).json();
    assert!(registered["message"].is_string() && registered["user"]["username"] == "mia", "{registered}");
    let taken = api.post("/register").json(&credentials).await.expect(409).json();
    assert!(taken["error"].is_string(), "{taken}");

    let wrong = json!({"username": "mia", "password": "incorrect horse battery"});
    let refused = api.post("/login").json(&wrong).await.expect(401).json();
    assert!(refused["error"].is_string(), "{refused}");
    let login = api.post("/login").json(&credentials).await.expect(200).json();
    let token = login["token"].as_str().unwrap();

    let me = api.get("/me").bearer(token).await.expect(200);
    assert_eq!(me.json()["username"], "mia");
    assert!(!me.text().to_lowercase().contains("password"), "{}", me.text());
    assert_eq!(api.get("/profile").bearer(token).await.expect(200).json()["username"], "mia");
    for stranger in [api.get("/me"), api.get("/profile"), api.get("/me").bearer("made up")] {
        assert!(stranger.await.expect(401).json()["error"].is_string());
    }

    let left = api.post("/logout").bearer(token).await;
    assert!((200..300).contains(&left.status), "{}", left.status);
    api.get("/me").bearer(token).await.expect(401);
}

#[tokio::test]
async fn the_eleventh_wrong_password_within_a_minute_is_refused() {
    let stack = Stack::builder().start();
    let api = stack.api(0);
    let credentials = json!({"username": "mia", "password": "correct horse battery staple"});
    api.post("/register").json(&credentials).await.expect(201);

    let wrong = json!({"username": "mia", "password": "incorrect horse battery"});
    for left in (0..10).rev() {
        let answer = api.post("/login").json(&wrong).await.expect(401);
        let limit = limit(&answer, "login-ip");
        assert_eq!((limit.quota, limit.window_seconds, limit.remaining), (10, 60, left));
    }

    // From now on the right password is as good as a wrong one.
    for body in [&wrong, &credentials] {
        let answer = api.post("/login").json(body).await.expect(429);
        assert_eq!(answer.json()["violated-policies"], json!(["login-ip"]));
        assert_ne!(answer.json()["error"], Value::Null);
        let limit = limit(&answer, "login-ip");
        assert_eq!(limit.remaining, 0);
        let retry_after: u64 = answer.expect_header("retry-after").parse().unwrap();
        assert!((limit.resets_in_seconds..=60).contains(&retry_after), "{retry_after} {limit:?}");
    }
}
