//! Guessing at an account: the waits grow, strangers stay out, and the account's own people still get in.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Answer, ask};
use crate::services::store_away;
use crate::stack::{PASSWORD, Stack, cache_redis_url};

const WRONG: &str = "not the right password";

/// Gateways that let two failures an account pass, and believe the test's word about its address.
async fn stack(gateways: usize, args: &[&str]) -> Stack {
    let fixed = ["--trusted-proxies", "127.0.0.1", "--limit-login-account", "2/60"];
    Stack::with_limits(gateways, &fixed.iter().chain(args).copied().collect::<Vec<_>>()).await
}

/// A login at the first gateway.
struct Login<'a> {
    stack: &'a Stack,
    body: Value,
    headers: Vec<(&'a str, String)>,
}

fn login<'a>(stack: &'a Stack, username: &str, password: &str) -> Login<'a> {
    Login { stack, body: json!({"username": username, "password": password}), headers: Vec::new() }
}

impl<'a> Login<'a> {
    fn from(self, address: &str) -> Self {
        self.header("x-forwarded-for", address)
    }

    fn device(mut self, token: &str) -> Self {
        self.body["device"] = token.into();
        self
    }

    fn header(mut self, name: &'a str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    async fn send(self) -> Answer {
        let mut request = self.stack.ask("POST", "/v1/login").json(self.body);
        for (name, value) in self.headers {
            request = request.header(name, &value);
        }
        request.send().await
    }
}

/// Registers, logs in, and lets strangers use up the account's quota; the token of the session and that of the device.
async fn under_attack(stack: &Stack, username: &str) -> (String, String) {
    stack.register(username).await;
    let body = stack.login(username, PASSWORD).await.json();
    for _ in 0..2 {
        assert_eq!(login(stack, username, WRONG).from("198.51.100.1").send().await.status, 401);
    }
    let text = |member: &str| body[member].as_str().unwrap().to_owned();
    (text("token"), text("deviceToken"))
}

fn policies(answer: &Answer) -> Value {
    answer.problem(429, "RATE_LIMITED")["violated-policies"].clone()
}

#[tokio::test]
async fn a_known_device_gets_in_where_strangers_are_refused_and_no_password_is_checked_for_them() {
    let stack = stack(1, &[]).await;
    let (_, device) = under_attack(&stack, "ada").await;
    let checked = stack.services.calls("Login");
    for stranger in [
        login(&stack, "ada", PASSWORD),
        login(&stack, "ada", PASSWORD).device(""),
        login(&stack, "ada", PASSWORD).device("made up"),
    ] {
        assert_eq!(policies(&stranger.send().await), json!(["login-account"]));
    }
    assert_eq!(stack.services.calls("Login"), checked);

    let answer = login(&stack, "Ada", PASSWORD).device(&device).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["deviceToken"], device, "it stays the same device");
    assert_eq!(answer.header("ratelimit-policy"), "\"login-known\";q=5;w=60");
    assert!(answer.header("ratelimit").starts_with("\"login-known\";r=5;"), "it got its unit back");
    assert_eq!(login(&stack, "ada", PASSWORD).send().await.status, 429, "strangers are refused as before");
}

#[tokio::test]
async fn a_session_gets_in_where_strangers_are_refused() {
    let stack = stack(1, &[]).await;
    let (token, _) = under_attack(&stack, "ada").await;
    let authorization = format!("Bearer {token}");
    let answer = login(&stack, "ada", PASSWORD).header("authorization", &authorization).send().await;
    assert_eq!(answer.status, 200);
    let made_up = login(&stack, "ada", PASSWORD).header("authorization", "Bearer made up").send().await;
    assert_eq!(policies(&made_up), json!(["login-account"]));

    stack.ask("POST", "/v1/logout").bearer(&token).send().await;
    let over = login(&stack, "ada", PASSWORD).header("authorization", &authorization).send().await;
    assert_eq!(policies(&over), json!(["login-account"]), "a session that has ended is none");
}

#[tokio::test]
async fn cookies_get_in_where_strangers_are_refused_unless_another_site_sends_them() {
    let stack = stack(1, &[]).await;
    stack.register("ada").await;
    let mut cookie_login = login(&stack, "ada", PASSWORD);
    cookie_login.body["transport"] = "cookie".into();
    let answer = cookie_login.send().await;
    assert!(answer.json().get("deviceToken").is_none());
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|c| c.to_str().unwrap()).collect();
    let [session, device] = cookies[..] else { panic!("{cookies:?}") };
    assert!(device.starts_with("device=device-0; Max-Age=86400; Path=/; HttpOnly"), "{device}");
    for _ in 0..2 {
        login(&stack, "ada", WRONG).send().await;
    }
    for cookie in [session, device] {
        let (cookie, _) = cookie.split_once(';').unwrap();
        let shown = |site| {
            login(&stack, "ada", PASSWORD).header("cookie", cookie).header("sec-fetch-site", site).send()
        };
        assert_eq!(shown("same-origin").await.status, 200, "{cookie}");
        assert_eq!(policies(&shown("cross-site").await), json!(["login-account"]), "{cookie}");
    }
}

#[tokio::test]
async fn what_belongs_to_another_user_counts_for_nothing_and_tells_nothing() {
    let stack = stack(1, &[]).await;
    let (token, device) = under_attack(&stack, "mallory").await;
    under_attack(&stack, "ada").await;
    for _ in 0..2 {
        login(&stack, "nobody", WRONG).from("198.51.100.1").send().await;
    }
    let mut documents = Vec::new();
    for victim in ["ada", "nobody"] {
        let guess = login(&stack, victim, PASSWORD).device(&device);
        let answer = guess.header("authorization", &format!("Bearer {token}")).send().await;
        let mut document = answer.problem(429, "RATE_LIMITED");
        assert_eq!(document["violated-policies"], json!(["login-account"]));
        document.as_object_mut().unwrap().remove("traceId");
        documents.push((document, answer.header("ratelimit-policy").to_owned()));
    }
    assert_eq!(documents[0], documents[1]);
}

#[tokio::test]
async fn a_stolen_device_has_its_own_small_quota_over_all_gateways() {
    let stack = stack(3, &["--limit-login-known", "4/60"]).await;
    let (_, device) = under_attack(&stack, "ada").await;
    let checked = stack.services.calls("Login");
    let guess = json!({"username": "ada", "password": WRONG, "device": device});
    let guesses = (0..30).map(|number| {
        let address = format!("203.0.113.{number}");
        let request =
            ask(stack.gateways[number % 3], "POST", "/v1/login").header("x-forwarded-for", &address);
        request.json(guess.clone()).send()
    });
    let answers = join_all(guesses).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 401).count(), 4);
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 26);
    assert_eq!(stack.services.calls("Login"), checked + 4);
}

#[tokio::test]
async fn both_quotas_used_up_the_wait_that_ends_first_is_told() {
    let stack = stack(1, &["--limit-login-known", "1/20"]).await;
    let (_, device) = under_attack(&stack, "ada").await;
    assert_eq!(login(&stack, "ada", WRONG).device(&device).send().await.status, 401);
    let refused = login(&stack, "ada", PASSWORD).device(&device).send().await;
    assert_eq!(policies(&refused), json!(["login-known"]));
    assert_eq!(refused.header("ratelimit-policy"), "\"login-known\";q=1;w=20");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 20);
}

#[tokio::test]
async fn a_known_device_gets_in_where_its_whole_address_is_refused() {
    let stack = stack(1, &["--limit-login-ip", "2/60"]).await;
    let (_, device) = under_attack(&stack, "ada").await;
    let there = async |login: Login<'_>| login.from("198.51.100.1").send().await;
    assert_eq!(policies(&there(login(&stack, "ada", PASSWORD)).await), json!(["login-ip"]));
    assert_eq!(there(login(&stack, "ada", PASSWORD).device(&device)).await.status, 200);
}

#[tokio::test]
async fn made_up_devices_are_looked_up_only_as_often_as_an_address_may_ask() {
    let stack = stack(1, &["--limit-api", "5/60"]).await;
    under_attack(&stack, "ada").await;
    for number in 0..12 {
        let guess = login(&stack, "ada", WRONG).device(&format!("made up {number}"));
        assert_eq!(policies(&guess.send().await), json!(["login-account"]));
    }
    assert_eq!(stack.services.calls("RecognizeClient"), 5);
}

#[tokio::test]
async fn nobody_is_looked_up_while_the_quota_lasts() {
    let stack = stack(1, &[]).await;
    stack.register("ada").await;
    for _ in 0..5 {
        assert_eq!(login(&stack, "ada", PASSWORD).device("made up").send().await.status, 200);
    }
    assert_eq!(stack.services.calls("RecognizeClient"), 0);
}

#[tokio::test]
async fn when_nobody_can_tell_whose_device_it_is_the_outage_is_told() {
    let stack = stack(1, &[]).await;
    let (_, device) = under_attack(&stack, "ada").await;
    stack.services.fail("RecognizeClient", store_away());
    let answer = login(&stack, "ada", PASSWORD).device(&device).send().await;
    answer.problem(503, "SESSION_STORE_UNAVAILABLE");
    assert_eq!(login(&stack, "ada", PASSWORD).send().await.status, 429);
}

#[tokio::test]
async fn a_stranger_cannot_use_up_what_a_password_change_needs() {
    let stack = stack(1, &["--limit-login-ip", "2/60"]).await;
    let (token, _) = under_attack(&stack, "ada").await;
    let body = json!({"currentPassword": PASSWORD, "newPassword": "an even better passphrase"});
    let change = stack.ask("PUT", "/v1/password").header("x-forwarded-for", "198.51.100.1");
    assert_eq!(change.bearer(&token).json(body).send().await.status, 204);
}

#[tokio::test]
async fn a_device_that_is_no_text_is_pointed_at() {
    let stack = Stack::start().await;
    let body = json!({"username": "ada", "password": PASSWORD, "device": 1});
    let answer = stack.ask("POST", "/v1/login").json(body).send().await;
    assert_eq!(answer.invalid_fields(), ["/device"]);
}

#[tokio::test]
async fn each_quota_that_is_used_up_doubles_the_next_wait_and_a_success_ends_that() {
    let quotas = ["--limit-login-ip", "1000/60", "--limit-login-account", "2/1"];
    let stack = Stack::with_limits(2, &[&quotas[..], &["--limit-login-longest-seconds", "3"]].concat()).await;
    stack.register("ada").await;
    let mut number = 0;
    let mut guess = async |password: &str| {
        number += 1;
        let body = json!({"username": "ada", "password": password});
        ask(stack.gateways[number % 2], "POST", "/v1/login").json(body).send().await
    };
    for length in [1, 2, 3] {
        for _ in 0..2 {
            let answer = guess(WRONG).await;
            assert_eq!(answer.status, 401);
            let policy = format!("\"login-account\";q=2;w={length}");
            assert!(answer.header("ratelimit-policy").ends_with(&policy), "{answer:?}");
        }
        let refused = guess(PASSWORD).await;
        assert_eq!(policies(&refused), json!(["login-account"]));
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!(wait <= length, "{wait}");
        assert!(refused.header("ratelimit").ends_with(&format!("\"login-account\";r=0;t={wait}")));
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    }
    assert!(guess(WRONG).await.header("ratelimit-policy").ends_with(";w=3"), "no longer than the longest");
    assert_eq!(guess(PASSWORD).await.status, 200);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(
        guess(WRONG).await.header("ratelimit-policy").ends_with(";w=1"),
        "a success makes it short again"
    );
}

#[tokio::test]
async fn what_is_remembered_of_a_used_up_quota_has_an_end_and_of_others_nothing_outlives_the_window() {
    let stack = stack(1, &[]).await;
    let redis = chassis::redis::Redis::open(&cache_redis_url().parse().unwrap(), "test", &stack.shutdown);
    let lives = async || {
        let names: Vec<String> = redis
            .query("keys", "", redis::cmd("KEYS").arg(format!("{}login-account*", stack.prefix)))
            .await
            .unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        redis.query::<i64>("pttl", &names[0], redis::cmd("PTTL").arg(&names[0])).await.unwrap()
    };
    login(&stack, "ada", WRONG).send().await;
    assert!((1..=60_000).contains(&lives().await));
    login(&stack, "ada", WRONG).send().await;
    assert!((80_000_000..=86_400_000).contains(&lives().await));
}
