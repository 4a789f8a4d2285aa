//! What the router itself answers: unknown paths, wrong methods, the documentation, load balancers.

use http::Method;
use tests::stack::{Part, Stack};

#[tokio::test]
async fn unknown_paths_are_problems() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let paths = ["/", "/nowhere", "/v1", "/v1/", "/v1/me/", "/v2/me", "/V1/ME", "//v1/me", "/v1/users/ada"];
    for path in paths {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            api.call(method, path).await.expect_problem(404, "NOT_FOUND");
        }
        api.call(Method::HEAD, path).await.expect(404);
    }
    for path in [
        "/v1/users//profile",
        "/v1/users/%ff%fe/profile",
        "/v1/users/%00/profile",
        "/v1/users/a%2Fb/profile",
        "/v1/users/a%20b/profile",
    ] {
        api.get(path).await.expect_problem(404, "PROFILE_NOT_FOUND");
    }
    api.get("/docs/no-such-file").await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let routes = [
        ("/v1/register", "POST"),
        ("/register", "POST"),
        ("/v1/login", "POST"),
        ("/v1/logout", "POST"),
        ("/v1/me", "DELETE,GET,HEAD"),
        ("/me", "DELETE,GET,HEAD"),
        ("/v1/profile", "GET,HEAD,PATCH"),
        ("/profile", "GET,HEAD,PATCH"),
        ("/v1/users/ada/profile", "GET,HEAD"),
        ("/health", "GET,HEAD"),
        ("/readyz", "GET,HEAD"),
        ("/openapi.json", "GET,HEAD"),
    ];
    for (path, allowed) in routes {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
            if allowed.split(',').any(|allowed| allowed == method) {
                continue;
            }
            let answer = api.call(method.parse().unwrap(), path).await;
            let mut told: Vec<_> = answer.expect_header("allow").split(',').map(str::trim).collect();
            told.sort_unstable();
            assert_eq!(told.join(","), allowed, "{method} {path}");
            answer.expect_problem(405, "METHOD_NOT_ALLOWED");
        }
    }
}

#[tokio::test]
async fn bodies_of_other_types_are_refused() {
    let stack = Stack::shared();
    let api = stack.api(0);
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", "", "json"]
    {
        for path in ["/v1/register", "/v1/login", "/login"] {
            let call = api.post(path).body(content_type, "{}");
            call.await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
        }
    }
    api.post("/v1/login").raw_body("{}").await.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    let typed = api.post("/v1/login").body("Application/JSON; charset=utf-8", "{}");
    typed.await.expect_problem(400, "INVALID_FIELD");
    let ada = tests::person::Person::signed_in(&api).await;
    let patch = api.patch("/v1/profile").bearer(&ada.token).if_match("*").body("text/plain", "{}").await;
    assert_eq!(patch.expect_header("accept-patch"), "application/merge-patch+json, application/json");
    patch.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
}

#[tokio::test]
async fn the_documentation_loads_nothing_from_elsewhere() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let contract = api.get("/openapi.json").await.expect(200);
    assert_eq!(contract.expect_header("content-type"), "application/json");
    assert!(contract.json()["openapi"].as_str().unwrap().starts_with("3."));
    assert_eq!(api.get("/docs").await.expect(308).expect_header("location"), "/docs/");
    let page = api.get("/docs/").await.expect(200);
    assert!(page.expect_header("content-type").starts_with("text/html"));
    let text = page.text();
    let referred = text.split(['"', '\'']).skip(1).step_by(2);
    let is_file = |value: &&str| [".js", ".css"].iter().any(|suffix| value.ends_with(suffix));
    let files: Vec<_> = referred.filter(is_file).collect();
    assert!(files.len() >= 3, "{text}");
    for file in files {
        assert!(!file.contains("//"), "{file} is loaded from elsewhere");
        api.get(&format!("/docs/{}", file.trim_start_matches("./"))).await.expect(200);
    }
    let initializer = api.get("/docs/swagger-initializer.js").await.expect(200).text();
    assert!(initializer.contains("/openapi.json") && !initializer.contains("://"), "{initializer}");
}

#[tokio::test]
async fn every_alias_is_its_route() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = tests::person::Person::signed_in(&api).await;
    for path in ["/me", "/profile"] {
        let (short, long) = (api.get(path), api.get(&format!("/v1{path}")));
        let (short, long) =
            (short.bearer(&ada.token).await.expect(200), long.bearer(&ada.token).await.expect(200));
        let keys = |answer: &tests::api::Answer| {
            answer.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(&short), keys(&long));
        api.get(path).await.expect_problem(401, "SESSION_INVALID");
    }
    let patch = api.patch("/profile").bearer(&ada.token).if_match("*");
    patch.json(&serde_json::json!({"bio": "x"})).await.expect(200);
    api.post("/logout").bearer(&ada.token).await.expect(204);
    ada.me(&api).await.expect(401);
}

#[tokio::test]
async fn load_balancers_are_answered() {
    let stack = Stack::shared();
    for api in stack.apis() {
        for path in ["/health", "/livez", "/readyz"] {
            assert_eq!(api.get(path).await.expect(200).text(), "OK");
        }
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_let_in_when_they_are_named() {
    let stack = Stack::builder().env(Part::Gateway, "CORS_ORIGINS", "https://app.example.com").start();
    let api = stack.api(0);
    let preflight = |origin: &str| {
        let call = api.call(Method::OPTIONS, "/v1/profile").header("origin", origin);
        call.header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "if-match")
    };
    let allowed = preflight("https://app.example.com").await.expect(200);
    assert_eq!(allowed.expect_header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(allowed.expect_header("access-control-allow-credentials"), "true");
    assert!(allowed.expect_header("access-control-allow-methods").contains("PATCH"));
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), None);
    let read = api.get("/health").header("origin", "https://app.example.com").await.expect(200);
    assert_eq!(read.expect_header("access-control-allow-origin"), "https://app.example.com");

    let closed = Stack::shared().api(0).get("/health").header("origin", "https://app.example.com").await;
    assert_eq!(closed.header("access-control-allow-origin"), None);
}
