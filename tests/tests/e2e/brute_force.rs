//! Guessing at an account from many addresses: strangers stay out and cost nothing, the waits grow, and the victim still gets in.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::api::{Answer, Api};
use tests::load::{at_once, by_status};
use tests::metrics::Metrics;
use tests::person::{Person, SignedIn};
use tests::rate_limit::limit;
use tests::stack::{Builder, Part, Stack};
use tests::wait;

/// Many more than any quota here.
const GUESSES: usize = 90;

/// Three gateways and two auth-svc, and a test that can be many clients. An account has six guesses in ten minutes, a known device
/// four.
fn guarded() -> Builder {
    let stack = Stack::builder().gateways(3).auths(2).behind_a_trusted_proxy();
    let stack = stack.env(Part::Gateway, "LIMIT_LOGIN_ACCOUNT", "6/600");
    stack.env(Part::Gateway, "LIMIT_LOGIN_KNOWN", "4/600").env(Part::Gateway, "LIMIT_LOGIN_IP", "3/600")
}

/// The victim: an account, a session, and a device that has signed in.
async fn victim(stack: &Stack) -> (SignedIn, String) {
    let api = stack.api(0);
    let ada = Person::registered(&api).await;
    let login = wait::until("the hash pool has room", async || ada.log_in(&api).await.unless_full()).await;
    let body = login.expect(200).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (token, id) = (text(&body["token"]), text(&body["user"]["id"]));
    (SignedIn { person: ada, id, token }, text(&body["deviceToken"]))
}

/// Guesses at once over all gateways, each from an address of its own, with `device` or without.
async fn attack(stack: &Stack, username: &str, device: &str) -> Vec<Answer> {
    let guess = json!({"username": username, "password": "not the password at all", "device": device});
    let apis = stack.apis();
    let guess = |number: usize| {
        let from = apis[number % apis.len()].from_address(&format!("198.51.100.{number}"));
        from.post("/v1/login").json(&guess)
    };
    at_once((0..GUESSES).map(guess)).await
}

/// Passwords that were hashed.
async fn hashes(stack: &Stack) -> u64 {
    let scrapes = join_all(stack.auths.iter().map(Metrics::of)).await;
    scrapes.iter().map(|metrics| metrics.total("hash_pool_duration_seconds_count", &[]) as u64).sum()
}

fn with_device(ada: &Person, device: &str) -> Value {
    json!({"username": ada.username, "password": ada.password, "device": device})
}

#[track_caller]
fn assert_refused(answer: Answer) {
    let document = answer.expect_problem(429, "RATE_LIMITED");
    assert_eq!(document["violated-policies"], json!(["login-account"]));
}

#[tokio::test]
async fn an_attack_from_many_addresses_keeps_strangers_out_and_not_the_victim() {
    let stack = guarded().start();
    let (ada, device) = victim(&stack).await;
    let name = &ada.person.username;
    let before = hashes(&stack).await;
    let answers = attack(&stack, name, "").await;
    assert_eq!(by_status(&answers), [(401, 6), (429, GUESSES - 6)].into());
    assert_eq!(hashes(&stack).await, before + 6, "no hash is paid for what is refused");

    for (place, api) in stack.apis().into_iter().enumerate() {
        let api = api.from_address(&format!("203.0.113.{place}"));
        assert_refused(ada.person.log_in(&api).await);
        assert_refused(api.post("/v1/login").json(&with_device(&ada.person, "made up")).await);
        assert_refused(api.post("/v1/login").bearer("made up").json(&ada.person.credentials()).await);

        let known = api.post("/v1/login").json(&with_device(&ada.person, &device)).await.expect(200);
        assert_eq!(known.json()["deviceToken"], device);
        assert_eq!(limit(&known, "login-known").remaining, 4, "what succeeds costs nothing");
        api.post("/v1/login").bearer(&ada.token).json(&ada.person.credentials()).await.expect(200);
        // Those who are signed in feel nothing of it.
        ada.me(&api).await.expect(200);
    }
    let change = json!({"currentPassword": ada.person.password, "newPassword": "an even better passphrase"});
    let change = stack.api(1).call(http::Method::PUT, "/v1/password").bearer(&ada.token).json(&change);
    change.await.expect(204);
}

#[tokio::test]
async fn a_stolen_device_allows_its_own_few_guesses_and_only_at_its_own_user() {
    let stack = guarded().start();
    let (ada, device) = victim(&stack).await;
    let (bob, _) = victim(&stack).await;
    for name in [&ada.person.username, &bob.person.username] {
        attack(&stack, name, "").await;
    }
    let before = hashes(&stack).await;
    let answers = attack(&stack, &ada.person.username, &device).await;
    assert_eq!(by_status(&answers), [(401, 4), (429, GUESSES - 4)].into());
    let answers = attack(&stack, &bob.person.username, &device).await;
    assert_eq!(by_status(&answers), [(429, GUESSES)].into());
    assert_eq!(hashes(&stack).await, before + 4);
    // The session is counted for itself.
    let api = stack.api(2).from_address("203.0.113.9");
    api.post("/v1/login").bearer(&ada.token).json(&ada.person.credentials()).await.expect(200);
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_guarded_like_one_that_does() {
    let stack = guarded().start();
    let (ada, device) = victim(&stack).await;
    let api = stack.api(0).from_address("203.0.113.9");
    let mut seen = Vec::new();
    for name in [bob_of(&stack).await, Person::new().username] {
        let statuses = by_status(&attack(&stack, &name, "").await);
        // Somebody who is signed in as another.
        let guess = json!({"username": name, "password": "not the password at all", "device": device});
        let refused = api.post("/v1/login").bearer(&ada.token).json(&guess).await;
        let policy = limit(&refused, "login-account");
        seen.push((
            statuses,
            refused.status,
            refused.json()["detail"].clone(),
            policy.quota,
            policy.remaining,
        ));
    }
    assert_eq!(seen[0], seen[1]);
}

async fn bob_of(stack: &Stack) -> String {
    Person::registered(&stack.api(0)).await.username
}

#[tokio::test]
async fn the_waits_double_up_to_the_longest_and_are_the_same_for_all_gateways() {
    let stack = Stack::builder().gateways(3).behind_a_trusted_proxy();
    let stack = stack.env(Part::Gateway, "LIMIT_LOGIN_ACCOUNT", "2/1");
    let stack = stack.env(Part::Gateway, "LIMIT_LOGIN_LONGEST_SECONDS", "4").start();
    let name = Person::new().username;
    let apis: Vec<Api> = stack.apis();
    let guess = async |number: usize| {
        let api = apis[number % 3].from_address(&format!("198.51.100.{number}"));
        api.post("/v1/login").json(&json!({"username": name, "password": "not the password"})).await
    };
    let (mut windows, mut number) = (Vec::new(), 0);
    while windows.len() < 8 {
        number += 1;
        let answer = guess(number).await;
        let limit = limit(&answer, "login-account");
        if answer.status == 401 {
            windows.push(limit.window_seconds);
            continue;
        }
        let document = answer.clone().expect_problem(429, "RATE_LIMITED");
        assert_eq!(document["violated-policies"], json!(["login-account"]));
        let wait = answer.expect_header("retry-after").parse::<u64>().unwrap_or_default();
        assert!(wait == limit.resets_in_seconds.max(1) && wait <= limit.window_seconds, "{limit:?}");
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    }
    assert_eq!(windows, [1, 1, 2, 2, 4, 4, 4, 4]);
}

#[tokio::test]
async fn a_browser_is_known_again_by_a_cookie_that_scripts_cannot_read() {
    let stack = guarded().start();
    let (ada, _) = victim(&stack).await;
    let ada = ada.person;
    let api = stack.api(0).with_header("x-forwarded-proto", "https").from_address("203.0.113.9");
    let login = json!({"username": ada.username, "password": ada.password, "transport": "cookie"});
    let answer = api.post("/v1/login").json(&login).await.expect(200);
    assert!(answer.json().get("deviceToken").is_none());
    let cookies = answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok());
    let device =
        cookies.into_iter().find(|cookie| cookie.starts_with("__Host-device=")).expect("a device cookie");
    assert!(device.ends_with("; Max-Age=15552000; Path=/; Secure; HttpOnly; SameSite=Lax"), "{device}");
    let (device, _) = device.split_once(';').expect("attributes");

    attack(&stack, &ada.username, "").await;
    let shown = |site: &str| api.post("/v1/login").cookie(device).header("sec-fetch-site", site).json(&login);
    shown("same-origin").await.expect(200);
    assert_refused(shown("cross-site").await);
    assert_refused(api.post("/v1/login").json(&login).await);
}
