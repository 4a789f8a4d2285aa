//! The rate limits, counted in a real Redis by several gateways.

use std::collections::HashMap;
use std::time::Duration;

use chassis::redis::Redis;
use futures_util::future::join_all;
use serde_json::json;

use crate::client::{Answer, ask};
use crate::services::{capacity, store_away};
use crate::stack::{PASSWORD, Stack, cache_redis_url};

const WRONG: &str = "not the right password";

fn count(answers: &[Answer]) -> HashMap<u16, usize> {
    let mut counts = HashMap::new();
    for answer in answers {
        *counts.entry(answer.status.as_u16()).or_default() += 1;
    }
    counts
}

/// The same request to all gateways at once, so often each.
async fn everywhere(
    stack: &Stack,
    times: usize,
    method: &str,
    path: &str,
    body: serde_json::Value,
) -> Vec<Answer> {
    let gateways = stack.gateways.iter().flat_map(|gateway| std::iter::repeat_n(*gateway, times));
    join_all(gateways.map(|gateway| ask(gateway, method, path).json(body.clone()).send())).await
}

/// The names and values of this test's counters.
async fn counters(stack: &Stack) -> Vec<(String, String, i64)> {
    let redis = Redis::open(&cache_redis_url().parse().unwrap(), "test", &stack.shutdown);
    let names: Vec<String> =
        redis.query("keys", "", redis::cmd("KEYS").arg(format!("{}*", stack.prefix))).await.unwrap();
    let mut counters = Vec::new();
    for name in names {
        let plain = redis.query("get", &name, redis::cmd("GET").arg(&name)).await;
        let value = if let Ok(value) = plain {
            value
        } else {
            // One whose windows grow.
            let fields: Vec<String> =
                redis.query("hgetall", &name, redis::cmd("HGETALL").arg(&name)).await.unwrap();
            fields.join(" ")
        };
        let ttl = redis.query("pttl", &name, redis::cmd("PTTL").arg(&name)).await.unwrap();
        counters.push((name, value, ttl));
    }
    counters
}

#[tokio::test]
async fn exactly_as_many_logins_fail_over_three_gateways_as_the_policy_says() {
    let stack = Stack::with_limits(3, &[]).await;
    let body = json!({"username": "ada", "password": WRONG});
    let answers = everywhere(&stack, 10, "POST", "/v1/login", body).await;
    assert_eq!(count(&answers), HashMap::from([(401, 10), (429, 20)]));
    assert_eq!(stack.services.calls("Login"), 10, "no password is checked for a refused request");
}

#[tokio::test]
async fn exactly_as_many_registrations_pass_as_the_policy_says() {
    let stack = Stack::with_limits(3, &["--limit-register-ip", "7/60"]).await;
    let body = json!({"username": "ada", "password": PASSWORD});
    let answers = everywhere(&stack, 10, "POST", "/v1/register", body).await;
    assert_eq!(count(&answers), HashMap::from([(201, 1), (409, 6), (429, 23)]));
}

#[tokio::test]
async fn exactly_as_many_reads_of_one_session_pass_as_the_policy_says() {
    let stack = Stack::with_limits(3, &["--limit-api", "20/60"]).await;
    let (ada, bob) = (stack.signed_in("ada").await, stack.signed_in("bob").await);
    let gateways = stack.gateways.iter().flat_map(|gateway| std::iter::repeat_n(*gateway, 20));
    let answers =
        join_all(gateways.map(|gateway| ask(gateway, "GET", "/v1/profile").bearer(&ada).send())).await;
    assert_eq!(count(&answers), HashMap::from([(200, 20), (429, 40)]));
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(refused.problem(429, "RATE_LIMITED")["violated-policies"], json!(["api"]));
    assert_eq!(stack.get_as(&bob, "/v1/profile").await.status, 200, "another session has a quota of its own");
}

#[tokio::test]
async fn the_headers_tell_quota_rest_and_reset() {
    let stack = Stack::with_limits(1, &["--limit-login-ip", "3/60"]).await;
    let first = stack.login("ada", WRONG).await;
    assert_eq!(first.header("ratelimit-policy"), "\"login-ip\";q=3;w=60, \"login-account\";q=10;w=60");
    assert_eq!(first.header("ratelimit"), "\"login-ip\";r=2;t=60, \"login-account\";r=9;t=60");
    stack.login("ada", WRONG).await;
    assert!(stack.login("ada", WRONG).await.header("ratelimit").starts_with("\"login-ip\";r=0;t="));

    let refused = stack.login("ada", WRONG).await;
    let problem = refused.problem(429, "RATE_LIMITED");
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(problem["violated-policies"], json!(["login-ip"]));
    assert_eq!(refused.header("ratelimit-policy"), "\"login-ip\";q=3;w=60");
    let reset: u64 =
        refused.header("ratelimit").strip_prefix("\"login-ip\";r=0;t=").unwrap().parse().unwrap();
    assert!((55..=60).contains(&reset) && refused.header("retry-after").parse::<u64>().unwrap() >= reset);
}

#[tokio::test]
async fn a_successful_login_gives_its_units_back() {
    let stack = Stack::with_limits(2, &["--limit-login-ip", "3/60", "--limit-login-account", "3/60"]).await;
    stack.register("ada").await;
    for _ in 0..12 {
        let answer = stack.login("ada", PASSWORD).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.header("ratelimit").starts_with("\"login-ip\";r=3;"),
            "{}",
            answer.header("ratelimit")
        );
    }
    for remaining in [2, 1, 0] {
        let answer = stack.login("ada", WRONG).await;
        assert!(answer.header("ratelimit").starts_with(&format!("\"login-ip\";r={remaining};")));
    }
    stack.login("ada", PASSWORD).await.problem(429, "RATE_LIMITED");
}

#[tokio::test]
async fn a_login_that_nobody_judged_gives_its_units_back() {
    let stack = Stack::with_limits(1, &["--limit-login-ip", "2/60"]).await;
    for failure in [capacity(), store_away(), capacity(), store_away()] {
        stack.services.fail("Login", failure);
        assert_eq!(stack.login("ada", WRONG).await.status, 503);
    }
    stack.services.recover();
    assert_eq!(stack.login("ada", WRONG).await.status, 401);
}

#[tokio::test]
async fn an_account_is_guarded_from_all_addresses_together() {
    let stack =
        Stack::with_limits(2, &["--trusted-proxies", "127.0.0.1", "--limit-login-account", "4/60"]).await;
    let attempt = async |address: &str, username: &str| {
        let body = json!({"username": username, "password": WRONG});
        let request = stack.ask("POST", "/v1/login").header("x-forwarded-for", address).json(body);
        request.send().await
    };
    for (address, spelling) in
        [("198.51.100.1", "ada"), ("198.51.100.2", "Ada"), ("198.51.100.3", "ＡＤＡ"), ("::1", "aDA")]
    {
        assert_eq!(attempt(address, spelling).await.status, 401);
    }
    let refused = attempt("198.51.100.9", "ada").await;
    assert_eq!(refused.problem(429, "RATE_LIMITED")["violated-policies"], json!(["login-account"]));
    assert!(refused.header("ratelimit").starts_with("\"login-ip\";r=10;"), "the address got its unit back");
    assert_eq!(attempt("198.51.100.9", "bob").await.status, 401);
}

#[tokio::test]
async fn made_up_tokens_open_no_fresh_quota() {
    let stack = Stack::with_limits(2, &["--limit-api", "5/60"]).await;
    let token = stack.signed_in("ada").await;
    let forged = (0..12).map(|number| {
        ask(stack.gateways[number % 2], "GET", "/v1/me").bearer(&format!("forged{number}")).send()
    });
    let answers = join_all(forged).await;
    assert_eq!(count(&answers), HashMap::from([(401, 5), (429, 7)]));
    stack.ask("POST", "/v1/logout").bearer("forged too").send().await.problem(429, "RATE_LIMITED");
    stack.ask("GET", "/v1/me").bearer("").send().await.problem(429, "RATE_LIMITED");
    stack.get("/v1/users/ada/profile").await.problem(429, "RATE_LIMITED");
    assert_eq!(stack.get_as(&token, "/v1/me").await.status, 200, "those who are signed in do not feel it");
    let api = counters(&stack).await.into_iter().filter(|(name, ..)| name.contains("api:")).count();
    assert_eq!(api, 2, "one counter for the address, one for the session");
}

#[tokio::test]
async fn a_window_ends() {
    let stack = Stack::with_limits(1, &["--limit-login-ip", "1/1"]).await;
    assert_eq!(stack.login("ada", WRONG).await.status, 401);
    let refused = stack.login("ada", WRONG).await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(stack.login("ada", WRONG).await.status, 401);
}

#[tokio::test]
async fn the_store_holds_no_name_address_or_token_and_nothing_without_an_end() {
    let stack = Stack::with_limits(1, &[]).await;
    let token = stack.signed_in("grace-hopper").await;
    stack.login("grace-hopper", WRONG).await;
    stack.get_as(&token, "/v1/me").await;
    stack.get("/v1/users/grace-hopper/profile").await;
    let counters = counters(&stack).await;
    assert_eq!(counters.len(), 5, "{counters:?}");
    for (name, value, ttl) in counters {
        assert!((1..=60_000).contains(&ttl), "{name} has {ttl}");
        for secret in ["grace", "127.0.0.1", &token, "token"] {
            assert!(!name.contains(secret) && !value.contains(secret), "{name} = {value}");
        }
    }
}

#[tokio::test]
async fn without_its_store_each_gateway_counts_for_itself_and_reads_pass() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut stack = Stack::without_gateway();
    let redis = format!("redis://{closed}");
    let args = ["--cache-redis-url", &redis, "--limit-api", "3/60", "--limit-login-ip", "12/60"];
    stack.add_gateway(&args).await;
    stack.add_gateway(&args).await;
    let token = stack.signed_in("ada").await;
    let answers =
        everywhere(&stack, 6, "POST", "/v1/login", json!({"username": "ada", "password": WRONG})).await;
    assert_eq!(
        count(&answers),
        HashMap::from([(401, 4), (429, 8)]),
        "a quarter of login-account's ten, per gateway"
    );
    for _ in 0..10 {
        let answer = stack.get_as(&token, "/v1/profile").await;
        assert_eq!(answer.status, 200);
        assert!(!answer.headers.contains_key("ratelimit"));
        assert_eq!(stack.get("/v1/users/ada/profile").await.status, 200);
    }
    let refused = stack.login("ada", WRONG).await;
    assert!(refused.header("ratelimit-policy").contains("\"login-account\";q=2;w=60"));
}

#[tokio::test]
async fn limits_can_be_turned_off() {
    let stack = Stack::with_limits(1, &["--rate-limits", "off", "--limit-login-ip", "1/60"]).await;
    for _ in 0..5 {
        let answer = stack.login("ada", WRONG).await;
        assert_eq!(answer.status, 401);
        assert!(!answer.headers.contains_key("ratelimit"));
    }
    assert!(counters(&stack).await.is_empty());
}
