//! What must be nowhere: no token in the session store; no password, token, cookie or address in any log, metric or failure.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tests::api::Answer;
use tests::keyspace::{contains, dump};
use tests::metrics::Metrics;
use tests::person::{Person, SignedIn};
use tests::secrets::{forms_of_text, forms_of_token};
use tests::stack::{Part, Stack};

fn files_in(folder: &Path, files: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            files_in(&path, files);
        } else {
            files.push(fs::read(path).expect("the file can be read"));
        }
    }
}

#[tokio::test]
async fn the_stored_session_does_not_contain_the_token() {
    let stack = Stack::builder().start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    ada.me(&api).await.expect(200);
    ada.profile(&api).await.expect(200);

    let mut needles = forms_of_token(&ada.token);
    needles.push(ada.person.password.clone().into_bytes());
    let (state, cache) = (dump(&stack.state).await, dump(&stack.cache).await);
    assert!(state.iter().any(|entry| entry.contains(ada.id.as_bytes())), "the session is there");
    for needle in &needles {
        assert!(!state.iter().chain(&cache).any(|entry| entry.contains(needle)));
    }
    // What is written to disk is all that was ever stored.
    let mut files = Vec::new();
    files_in(stack.folder(), &mut files);
    assert!(files.iter().any(|file| contains(file, ada.id.as_bytes())), "the session is on disk");
    for needle in &needles {
        assert!(!files.iter().any(|file| contains(file, needle)));
    }
}

/// Does everything that can go right or wrong with secrets in it, and keeps the answers that must not repeat them.
async fn say_everything(stack: &Stack, ada: &SignedIn, other_secret: &str) -> Vec<Answer> {
    let api = &stack.api(0);
    let Person { username, password, email } = &ada.person;
    let secrets = [password.as_str(), email, &ada.token, other_secret];
    let mut answers = Vec::new();
    for secret in secrets {
        let calls = [
            api.post("/v1/register").json(&json!({"username": secret, "password": secret, "email": secret})),
            api.post("/v1/register").json(&json!({"username": [secret], "password": {"a": secret}})),
            api.post("/v1/register").body("application/json", format!("{{\"password\": \"{secret}\" oops")),
            api.post("/v1/register").body("text/plain", secret.to_owned()),
            api.post("/v1/login").json(&json!({"username": secret, "password": secret})),
            api.post("/v1/login").json(&json!({"username": username, "password": secret.to_uppercase()})),
            api.post("/v1/login")
                .json(&json!({"username": username, "password": secret, "transport": secret})),
            api.get("/v1/me").bearer(&format!("{secret}x")),
            api.get("/v1/me").header("authorization", format!("Basic {}", STANDARD.encode(secret))),
            api.get("/v1/me").header("authorization", secret),
            api.get("/v1/me").cookie(&format!("session={secret}x; other={secret}")),
            api.get("/v1/me").header("traceparent", secret),
            api.get("/v1/me").header("x-forwarded-for", secret),
            api.get(&format!("/v1/me?token={}", ada.token)),
            api.get(&format!("/nowhere?password={}", STANDARD.encode(secret))),
            api.post("/v1/logout")
                .cookie(&format!("session={}", ada.token))
                .header("origin", "https://evil.example"),
            api.patch("/v1/profile")
                .bearer(&ada.token)
                .if_match("*")
                .json(&json!({"bio": [secret], "locale": secret})),
            api.patch("/v1/profile")
                .bearer(&ada.token)
                .if_match(&format!("\"{secret}\""))
                .json(&json!({"bio": "x"})),
        ];
        for call in calls {
            answers.push(call.await);
        }
    }
    answers.push(ada.person.register(api).await);
    answers
}

#[tokio::test]
async fn no_password_token_cookie_or_address_appears_in_any_log_metric_or_failure() {
    let stack = Stack::builder().auths(2).profiles(2).without_limits().own_auth_postgres();
    let stack = stack.env_everywhere("RUST_LOG", "debug").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let cookie_login = json!({
        "username": ada.person.username, "password": ada.person.password, "transport": "cookie"
    });
    let login = api.post("/v1/login").json(&cookie_login).await.expect(200);
    let cookie = login.expect_header("set-cookie").split(';').next().unwrap().to_owned();
    api.get("/v1/me").cookie(&cookie).await.expect(200);
    let (_, cookie_token) = cookie.split_once('=').unwrap();

    let mut answers = say_everything(&stack, &ada, cookie_token).await;
    assert!(answers.iter().all(|answer| answer.status < 500));
    // Outages have causes to tell, and are tempted to tell too much.
    stack.state.kill().await;
    stack.cache.kill().await;
    stack.auth_database.server().kill().await;
    answers.extend(say_everything(&stack, &ada, cookie_token).await);
    assert!(answers.iter().any(|answer| answer.status == 503));

    let mut needles = forms_of_token(&ada.token);
    needles.extend(forms_of_token(cookie_token));
    needles
        .extend([&ada.person.password, &ada.person.email].into_iter().flat_map(|text| forms_of_text(text)));
    for database in [&stack.auth_database, &stack.profile_database] {
        needles.push(database.password().expect("a database with a password").as_bytes().to_vec());
    }
    let silent = |place: &str, text: &[u8]| {
        for needle in &needles {
            let shown = String::from_utf8_lossy(needle);
            assert!(!contains(text, needle), "{place} tells {shown}: {}", String::from_utf8_lossy(text));
        }
    };
    for answer in &answers {
        silent("an answer", &answer.body);
        for (name, value) in &answer.headers {
            silent(name.as_str(), value.as_bytes());
        }
    }
    for replica in stack.replicas() {
        let metrics = Metrics::of(replica).await;
        assert!(metrics.total("process_resident_memory_bytes", &[]) > 0.0);
        silent("/metrics", metrics.text().as_bytes());
    }
    let logs = stack.logs();
    for part in Part::ALL {
        let lines =
            logs.iter().filter(|(name, _)| name.starts_with(part.binary())).map(|(_, lines)| lines.len());
        assert!(lines.sum::<usize>() > 10, "{part:?} has logged what it did");
    }
    for (name, lines) in logs {
        for line in lines {
            silent(name, line.as_bytes());
        }
    }
}
