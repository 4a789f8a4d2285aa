//! Twenty times more logins at once than can be hashed.

use serde_json::json;
use tests::api::Answer;
use tests::chaos::vitals::peak_kib;
use tests::load::{Load, at_once, by_status};
use tests::metrics::Metrics;
use tests::person::Person;
use tests::stack::{Part, Stack};
use tests::wait;

/// One at work, the others wait.
const THREADS: usize = 1;
const QUEUE: usize = 4;
const LOGINS: usize = 20 * (THREADS + QUEUE);
const ROUNDS: usize = 5;

/// What one hash works in, and what all logins would take without a bound: 1.9 GiB.
const HASH_KIB: u64 = 19 * 1024;
const UNBOUNDED_KIB: u64 = LOGINS as u64 * HASH_KIB;

#[tokio::test]
async fn what_cannot_be_hashed_is_refused_costs_nothing_and_readers_go_on() {
    let stack = Stack::builder().gateways(2).auths(1).without_limits();
    let stack = stack.env(Part::Auth, "HASH_THREADS", THREADS.to_string());
    let stack = stack.env(Part::Auth, "HASH_QUEUE", QUEUE.to_string()).start();
    let (apis, auth) = (stack.apis(), &stack.auths[0]);
    let ada = Person::signed_in(&apis[0]).await;
    let credentials = json!({"username": ada.person.username, "password": ada.person.password});

    let hashed = async || Metrics::of(auth).await.total("hash_pool_duration_seconds_count", &[]) as usize;
    let (hashed_before, peak_before) = (hashed().await, peak_kib(auth));
    let token = ada.token.clone();
    let readers = Load::start(8, &apis, move |api| api.get("/v1/profile").bearer(&token));
    let mut admitted = 0;
    for _ in 0..ROUNDS {
        let log_in = |number: usize| apis[number % apis.len()].post("/v1/login").json(&credentials);
        let answers = at_once((0..LOGINS).map(log_in)).await;
        let told = by_status(&answers);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [200, 503], "{told:?}");
        admitted += told[&200];
        for refused in answers.into_iter().filter(|answer| answer.status == 503) {
            expect_refused(&refused);
        }
    }
    readers.go_on_for(50).await;
    readers.end().await;

    assert_eq!(hashed().await - hashed_before, admitted, "a hash was paid for a login that was refused");
    if let (Some(before), Some(after)) = (peak_before, peak_kib(auth)) {
        let grown = after - before;
        assert!(grown < UNBOUNDED_KIB / 10, "{grown} KiB more for {THREADS} thread and {QUEUE} that wait");
    }
    let idle = async || {
        let metrics = Metrics::of(auth).await;
        metrics.total("hash_pool_busy", &[]) + metrics.total("hash_pool_waiting", &[]) == 0.0
    };
    wait::until_true("the hash pool is idle", idle).await;
    ada.person.log_in(&apis[0]).await.expect(200);
}

fn expect_refused(answer: &Answer) {
    let seconds: Option<u64> = answer.expect_header("retry-after").parse().ok();
    assert!(seconds.is_some_and(|seconds| (1..=5).contains(&seconds)), "{seconds:?}");
    assert_eq!(answer.json()["code"], "CAPACITY", "{}", answer.text());
}
