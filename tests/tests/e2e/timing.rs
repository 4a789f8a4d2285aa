//! How long a failed login takes does not tell whether the account exists.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::api::Api;
use tests::person::Person;
use tests::stack::{Part, Stack};
use tests::statistics::Pairs;

/// Of two failed logins, one at an account that exists and one at none, nobody who looks at their times alone picks the right one more often than in
/// 65 of 100 cases, where 50 is a guess.
const BOUND: f64 = 0.15;
/// After so many pairs the estimate is looked at again; it takes a few hundred to be sure.
const STEP: usize = 50;
const MOST_PAIRS: usize = 1000;

/// How long a failed login takes, from the client's side.
async fn failed_login(api: &Api, username: &str, password: &str) -> Duration {
    let call = api.post("/v1/login").json(&json!({"username": username, "password": password}));
    let started = Instant::now();
    let answer = call.await;
    let took = started.elapsed();
    answer.expect_problem(401, "INVALID_CREDENTIALS");
    took
}

#[tokio::test]
async fn a_failed_login_takes_as_long_whether_the_account_exists_or_not() {
    let stack = Stack::builder().without_limits().env(Part::Auth, "HASH_DEADLINE_MS", "60000");
    let stack = stack.env(Part::Gateway, "WRITE_TIMEOUT_MS", "60000");
    let stack = stack.env(Part::Gateway, "REQUEST_TIMEOUT_MS", "60000").start();
    let api = stack.api(0);
    let mut known = Vec::new();
    for _ in 0..4 {
        known.push(Person::registered(&api).await);
    }
    let mut pairs = Pairs::default();
    // What the first requests of all take is not what the others take.
    for person in &known {
        failed_login(&api, &person.username, "a warm-up of everything").await;
    }
    while pairs.len() < MOST_PAIRS {
        for _ in 0..STEP {
            let exists = &known[pairs.len() % known.len()].username;
            // Somebody else each time, with a password of the same length.
            let (stranger, password) = (Person::new(), Person::new().password);
            let (exists, missing) = if fastrand::bool() {
                let exists = failed_login(&api, exists, &password).await;
                (exists, failed_login(&api, &stranger.username, &password).await)
            } else {
                let missing = failed_login(&api, &stranger.username, &password).await;
                (failed_login(&api, exists, &password).await, missing)
            };
            pairs.push(exists, missing);
        }
        let probability = pairs.first_is_slower();
        assert!(!probability.is_beyond(BOUND), "an account shows by the time it takes: {pairs}");
        if probability.is_within(BOUND) {
            println!("existing and missing account: {pairs}");
            return;
        }
    }
    panic!("it cannot be told whether an account shows by the time it takes: {pairs}");
}
