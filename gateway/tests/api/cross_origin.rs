//! Pages of other sites: CORS, for those that are configured.

use serde_json::json;

use crate::stack::Stack;

const APP: &str = "https://app.example.com";

#[tokio::test]
async fn nobody_is_let_in_by_default() {
    let stack = Stack::start().await;
    let preflight = stack.ask("OPTIONS", "/v1/profile").header("origin", APP);
    let answer = preflight.header("access-control-request-method", "PATCH").send().await;
    answer.problem(405, "METHOD_NOT_ALLOWED");
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn configured_sites_are_let_in_with_their_cookies() {
    let stack = Stack::with_args(&["--cors-origins", "https://app.example.com,https://b.example"]).await;
    let preflight = async |origin: &str| {
        let request = stack.ask("OPTIONS", "/v1/profile").header("origin", origin);
        let request = request.header("access-control-request-headers", "authorization, if-match");
        request.header("access-control-request-method", "PATCH").send().await
    };
    let allowed = preflight(APP).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), APP);
    assert_eq!(allowed.header("access-control-allow-credentials"), "true");
    assert!(allowed.header("access-control-allow-methods").contains("PATCH"));
    assert!(!preflight("https://evil.example").await.headers.contains_key("access-control-allow-origin"));

    let token = stack.signed_in("ada").await;
    let read = stack.ask("GET", "/v1/profile").header("origin", APP).bearer(&token).send().await;
    assert_eq!(read.header("access-control-allow-origin"), APP);
    assert!(read.header("access-control-expose-headers").contains("etag"));
    let vary: Vec<_> = read.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    assert!(vary.join(", ").to_lowercase().contains("authorization, cookie"), "{vary:?}");
    let problem = stack.ask("GET", "/v1/profile").header("origin", APP).send().await;
    problem.problem(401, "SESSION_INVALID");
    assert_eq!(problem.header("access-control-allow-origin"), APP);

    let cookie = format!("session={token}");
    let change = stack.ask("PATCH", "/v1/profile").header("cookie", &cookie).header("origin", APP);
    assert_eq!(change.header("if-match", "*").json(json!({"bio": "x"})).send().await.status, 200);
}
