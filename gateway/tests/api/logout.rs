//! `POST /v1/logout`.

use serde_json::json;

use crate::client::Asked;
use crate::services::store_away;
use crate::stack::{PASSWORD, Stack};

async fn cookie(stack: &Stack) -> String {
    stack.register("ada").await;
    let body = json!({"username": "ada", "password": PASSWORD, "transport": "cookie"});
    let answer = stack.ask("POST", "/v1/login").json(body).send().await;
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

fn logout(stack: &Stack) -> Asked {
    stack.ask("POST", "/v1/logout")
}

#[tokio::test]
async fn a_logout_is_final() {
    let stack = Stack::start().await;
    let token = stack.signed_in("ada").await;
    let answer = logout(&stack).bearer(&token).send().await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    assert!(!answer.headers.contains_key("clear-site-data"));
    stack.get_as(&token, "/v1/me").await.problem(401, "SESSION_INVALID");
    logout(&stack).bearer(&token).send().await.problem(401, "SESSION_INVALID");
}

#[tokio::test]
async fn a_browser_is_told_to_forget_everything() {
    let stack = Stack::start().await;
    let cookie = cookie(&stack).await;
    assert_eq!(stack.ask("GET", "/v1/me").header("cookie", &cookie).send().await.status, 200);
    let answer =
        logout(&stack).header("cookie", &cookie).header("sec-fetch-site", "same-origin").send().await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("clear-site-data"), "\"cache\",\"cookies\",\"storage\"");
    assert_eq!(answer.header("set-cookie"), "session=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax");
    stack.ask("GET", "/v1/me").header("cookie", &cookie).send().await.problem(401, "SESSION_INVALID");
}

#[tokio::test]
async fn another_site_cannot_log_a_browser_out() {
    let stack = Stack::start().await;
    let cookie = cookie(&stack).await;
    let foreign: [&[(&str, &str)]; 4] = [
        &[],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
    ];
    for headers in foreign {
        let mut request = logout(&stack).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.problem(403, "CROSS_SITE");
    }
    assert_eq!(stack.services.calls("Logout"), 0);
    let own = format!("http://{}", stack.gateways[0]);
    assert_eq!(logout(&stack).header("cookie", &cookie).header("origin", &own).send().await.status, 204);
}

#[tokio::test]
async fn without_a_session_there_is_nothing_to_end() {
    let stack = Stack::start().await;
    logout(&stack).send().await.problem(401, "SESSION_INVALID");
    logout(&stack).bearer("made-up").send().await.problem(401, "SESSION_INVALID");
    logout(&stack).header("authorization", "Basic eDp5").send().await.problem(401, "SESSION_INVALID");
}

#[tokio::test]
async fn an_outage_clears_no_cookie() {
    let stack = Stack::start().await;
    let cookie = cookie(&stack).await;
    stack.services.fail("Logout", store_away());
    stack.services.fail("ValidateSession", store_away());
    let answer =
        logout(&stack).header("cookie", &cookie).header("sec-fetch-site", "same-origin").send().await;
    answer.problem(503, "SESSION_STORE_UNAVAILABLE");
    assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("clear-site-data"));
    let answer = stack.ask("GET", "/v1/me").header("cookie", &cookie).send().await;
    answer.problem(503, "SESSION_STORE_UNAVAILABLE");
    assert!(!answer.headers.contains_key("set-cookie"));
    stack.services.recover();
    assert_eq!(stack.ask("GET", "/v1/me").header("cookie", &cookie).send().await.status, 200);
}
