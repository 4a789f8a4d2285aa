//! Sessions in cookies: to the letter, and useless to other sites.

use serde_json::{Value, json};
use tests::api::{Answer, Api};
use tests::person::Person;
use tests::stack::Stack;

async fn log_in(api: &Api, ada: &Person) -> Answer {
    let mut body = ada.credentials();
    body["transport"] = "cookie".into();
    api.post("/v1/login").json(&body).await
}

#[tokio::test]
async fn behind_https_the_cookie_is_a_host_cookie() {
    let stack = Stack::builder().behind_a_trusted_proxy().start();
    let plain = stack.api(0);
    let api = plain.from_address("192.0.2.1").with_header("x-forwarded-proto", "https");
    let ada = Person::registered(&api).await;
    let login = log_in(&api, &ada).await.expect(200);
    assert_eq!(login.json()["token"], Value::Null);
    assert!(login.json()["expiresIn"].as_u64().is_some_and(|seconds| seconds > 0));
    let (cookie, attributes) = login.expect_header("set-cookie").split_once(';').unwrap();
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    let attributes: Vec<_> = attributes.split(';').map(str::trim).collect();
    assert_eq!(attributes, ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"]);
    api.get("/v1/me").cookie(cookie).await.expect(200);

    // Over plain http from elsewhere there is no safe cookie, and this one is not looked at.
    let elsewhere = plain.from_address("192.0.2.1");
    log_in(&elsewhere, &ada).await.expect_problem(400, "COOKIE_NEEDS_HTTPS");
    elsewhere.get("/v1/me").cookie(cookie).await.expect(401);

    let logout =
        api.post("/v1/logout").cookie(cookie).header("sec-fetch-site", "same-origin").await.expect(204);
    assert_eq!(logout.expect_header("clear-site-data"), "\"cache\",\"cookies\",\"storage\"");
    assert!(logout.expect_header("set-cookie").starts_with("__Host-session=; Max-Age=0;"));
    api.get("/v1/me").cookie(cookie).await.expect(401);
}

#[tokio::test]
async fn on_this_machine_the_cookie_works_without_https() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::registered(&api).await;
    let login = log_in(&api, &ada).await.expect(200);
    let set_cookie = login.expect_header("set-cookie");
    assert!(set_cookie.starts_with("session=") && !set_cookie.contains("Secure"), "{set_cookie}");
    let cookie = set_cookie.split(';').next().unwrap();
    api.get("/v1/me").cookie(&format!("theme=dark; {cookie}; lang=en")).await.expect(200);
}

#[tokio::test]
async fn what_changes_something_has_to_come_from_the_own_pages() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::registered(&api).await;
    let login = log_in(&api, &ada).await.expect(200);
    let cookie = login.expect_header("set-cookie").split(';').next().unwrap();
    let change = || api.patch("/v1/profile").cookie(cookie).if_match("*").json(&json!({"bio": "x"}));
    for call in [change(), api.post("/v1/logout").cookie(cookie)] {
        call.clone().await.expect_problem(403, "CROSS_SITE");
        for site in ["cross-site", "same-site", "none"] {
            call.clone().header("sec-fetch-site", site).await.expect_problem(403, "CROSS_SITE");
        }
        for origin in ["https://evil.example", "null", &format!("https://{}", api.gateway())] {
            call.clone().header("origin", origin).await.expect_problem(403, "CROSS_SITE");
        }
    }
    change().header("origin", api.base()).await.expect(200);
    change().header("sec-fetch-site", "same-origin").await.expect(200);
    api.get("/v1/me").cookie(cookie).header("sec-fetch-site", "cross-site").await.expect(200);
}

#[tokio::test]
async fn a_bearer_header_decides_alone() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let (ada, bob) = (Person::registered(&api).await, Person::signed_in(&api).await);
    let login = log_in(&api, &ada).await.expect(200);
    let cookie = login.expect_header("set-cookie").split(';').next().unwrap();
    let me = api.get("/v1/me").cookie(cookie).bearer(&bob.token).await.expect(200).json();
    assert_eq!(me["id"], bob.id.as_str());
    api.get("/v1/me").cookie(cookie).bearer("nonsense").await.expect(401);
}
