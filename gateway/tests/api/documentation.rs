//! `GET /openapi.json` and `/docs`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::stack::Stack;

#[tokio::test]
async fn the_contract_holds_every_route_with_its_problems() {
    let stack = Stack::start().await;
    let answer = stack.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    let contract = answer.json();
    assert_eq!(contract["openapi"], "3.1.0");
    let operations: BTreeSet<String> = contract["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
        })
        .collect();
    let expected = [
        "delete /v1/me",
        "delete /v1/sessions",
        "delete /v1/sessions/{id}",
        "get /health",
        "get /livez",
        "get /readyz",
        "get /v1/me",
        "get /v1/me/activity",
        "get /v1/me/export",
        "get /v1/profile",
        "get /v1/sessions",
        "get /v1/users/{username}/profile",
        "patch /v1/profile",
        "post /v1/email-verification",
        "post /v1/email-verification/confirm",
        "post /v1/login",
        "post /v1/logout",
        "post /v1/password-reset",
        "post /v1/password-reset/confirm",
        "post /v1/register",
        "put /v1/password",
    ];
    assert_eq!(operations, expected.map(str::to_owned).into());

    let operation_ids: Vec<&str> = contract["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(operation_ids.iter().collect::<BTreeSet<_>>().len(), operation_ids.len(), "{operation_ids:?}");

    let statuses = |path: &str, method: &str| -> Vec<String> {
        contract["paths"][path][method]["responses"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(
        statuses("/v1/profile", "patch"),
        ["200", "400", "401", "403", "408", "412", "413", "415", "428", "429", "500", "503", "504"]
    );
    assert_eq!(
        statuses("/v1/login", "post"),
        ["200", "400", "401", "408", "413", "415", "429", "500", "503", "504"]
    );
    let schemas = contract["components"]["schemas"].as_object().unwrap();
    for reference in references(&contract) {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{reference}");
    }
    assert!(contract["components"]["securitySchemes"]["bearer"].is_object());
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, member)| match (name.as_str(), member) {
                ("$ref", Value::String(reference)) => vec![reference.as_str()],
                _ => references(member),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let stack = Stack::start().await;
    let redirect = stack.get("/docs").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (308, "/docs/"));
    let page = stack.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'self';"), "{policy}");
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(!html.contains("http://") && !html.contains("https://"), "{html}");
    for file in ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-initializer.js", "favicon-32x32.png"] {
        assert!(html.contains(file) || file == "swagger-initializer.js");
        assert_eq!(stack.get(&format!("/docs/{file}")).await.status, 200, "{file}");
    }
    let start = stack.get("/docs/swagger-initializer.js").await;
    let start = String::from_utf8(start.body.to_vec()).unwrap();
    assert!(
        start.contains("/openapi.json") && start.contains("none") && !start.contains("https://"),
        "{start}"
    );
}
