//! A client written for the "scaling Express" articles: no version in the path, `{token}`, `{error}`, a Bearer header.

use serde_json::json;

use crate::stack::{PASSWORD, Stack};

#[tokio::test]
async fn it_works_unchanged() {
    let stack = Stack::with_limits(2, &[]).await;
    let credentials = json!({"username": "ada", "password": PASSWORD});
    let post =
        async |path: &str, body: &serde_json::Value| stack.ask("POST", path).json(body.clone()).send().await;

    assert_eq!(&*stack.get("/health").await.body, b"OK");
    assert_eq!(post("/register", &credentials).await.status, 201);
    let taken = post("/register", &credentials).await;
    assert_eq!(taken.status, 409);
    assert!(taken.json()["error"].is_string());

    let login = post("/login", &credentials).await;
    assert_eq!(login.status, 200);
    let token = login.json()["token"].as_str().unwrap().to_owned();
    let me = stack.get_as(&token, "/me").await.json();
    assert_eq!(me["username"], "ada");
    assert!(!me.to_string().contains("password"));
    assert_eq!(stack.get_as(&token, "/profile").await.json()["username"], "ada");
    assert_eq!(stack.get("/profile").await.status, 401);
    assert_eq!(stack.ask("POST", "/logout").bearer(&token).send().await.status, 204);
    assert_eq!(stack.get_as(&token, "/me").await.status, 401);

    let wrong = json!({"username": "ada", "password": "wrong"});
    for _ in 0..10 {
        assert_eq!(post("/login", &wrong).await.status, 401);
    }
    let limited = post("/login", &wrong).await;
    assert_eq!(limited.status, 429);
    assert!(limited.json()["error"].is_string());
}
