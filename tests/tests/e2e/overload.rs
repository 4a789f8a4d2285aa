//! Too much of one thing: it is refused, everything else goes on, and nothing of it stays.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;
use tests::api::Answer;
use tests::load;
use tests::metrics::Metrics;
use tests::person::Person;
use tests::stack::{Part, Stack};
use tests::wait;
use tokio::task::JoinSet;

const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// How many answers have each code of a problem; an answer that is none has its status.
fn by_code(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let code = if answer.status < 400 { answer.status.into() } else { answer.json()["code"].clone() };
        *counts.entry(code.as_str().map_or_else(|| code.to_string(), str::to_owned)).or_default() += 1;
    }
    counts
}

/// Every place is free again, and everything is served.
async fn assert_nothing_stays(stack: &Stack) {
    wait::until_true("every place is free again", async || {
        Metrics::of(&stack.gateways[0]).await.total("bulkhead_in_flight", &[]).abs() < f64::EPSILON
    })
    .await;
}

#[tokio::test]
async fn profiles_that_hang_keep_nobody_from_logging_in() {
    let stack = Stack::builder().without_limits().env(Part::Gateway, "MAX_IN_FLIGHT", "128").start();
    let api = stack.api(0);
    let (ada, bob) = (Person::signed_in(&api).await, Person::signed_in(&api).await);
    ada.profile(&api).await.expect(200);

    stack.profiles[0].pause().await;
    let reads: JoinSet<_> =
        (0..200).map(|_| api.get("/v1/profile").bearer(&ada.token).into_future()).collect();
    wait::until_true("the profiles have all the places that they may have", async || {
        let profiles = [("bulkhead", "profiles")];
        // For half a second; then the service is known to be away, and nothing waits for it any more.
        let metrics = Metrics::of(&stack.gateways[0]).await;
        metrics.total("bulkhead_in_flight", &profiles) >= 64.0
            || metrics.total("upstream_endpoints", &[("upstream", "profile-svc"), ("state", "away")]) > 0.0
    })
    .await;
    for _ in 0..20 {
        ada.me(&api).await.expect(200);
    }
    ada.person.log_in(&api).await.expect(200);
    bob.log_out(&api).await.expect(204);
    bob.me(&api).await.expect(401);
    for read in reads.join_all().await {
        read.expect(503);
    }

    stack.profiles[0].resume().await;
    wait::until_true("profiles are served again", async || ada.profile(&api).await.status == 200).await;
    assert_nothing_stays(&stack).await;
}

#[tokio::test]
async fn sessions_end_in_a_gateway_that_is_full() {
    let stack = Stack::builder().without_limits().env(Part::Gateway, "MAX_IN_FLIGHT", "8").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let others = [ada.person.sign_in(&api).await, ada.person.sign_in(&api).await];
    let leaving = [ada.person.sign_in(&api).await, ada.person.sign_in(&api).await];
    let listed = api.get("/v1/sessions").bearer(&others[0].token).await.expect(200).json();
    let current = |session: &&Value| session["current"] == true;
    let other = listed["sessions"].as_array().unwrap().iter().find(current).unwrap()["id"].clone();

    // Who reads what is locked keeps a place meanwhile.
    let lock = stack.auth_database.lock("audit_log").await;
    let mut flood = JoinSet::new();
    for _ in 0..100 {
        let (api, token) = (api.clone(), ada.token.clone());
        flood.spawn(async move {
            loop {
                let _ = api.get("/v1/me/activity").bearer(&token).attempt().await;
            }
        });
    }
    let shed = async || {
        let metrics = Metrics::of(&stack.gateways[0]).await;
        metrics.total("bulkhead_shed_total", &[("bulkhead", "requests")])
    };
    wait::until_true("the gateway is full", async || shed().await > 0.0).await;
    let before = shed().await;
    for session in &leaving {
        session.log_out(&api).await.expect(204);
    }
    let end = async |path: &str| api.call(Method::DELETE, path).bearer(&ada.token).await.expect(204);
    end(&format!("/v1/sessions/{}", other.as_str().unwrap())).await;
    end("/v1/sessions").await;
    end("/v1/sessions?includeCurrent=true").await;
    assert!(shed().await > before, "the gateway was full all the time");

    flood.shutdown().await;
    drop(lock);
    for session in leaving.iter().chain(&others).chain([&ada]) {
        wait::until_true("there is room again", async || session.me(&api).await.status == 401).await;
    }
    assert_nothing_stays(&stack).await;
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_nothing_of_it_stays() {
    let stack = Stack::builder().without_limits().env(Part::Gateway, "MAX_IN_FLIGHT", "8").start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;

    stack.auths[0].pause().await;
    let answers = load::at_once((0..300).map(|_| api.get("/v1/me").bearer(&ada.token))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.json()["code"] == "CAPACITY").collect();
    assert!(refused.len() > 100, "{:?}", by_code(&answers));
    for answer in refused {
        assert_eq!((answer.status, &answer.json()["type"]), (503, &REDUCED_CAPACITY.into()));
        answer.expect_header("retry-after");
    }
    assert!(answers.iter().all(|answer| answer.status == 503), "{:?}", by_code(&answers));
    api.get("/health").await.expect(200);
    let metrics = Metrics::of(&stack.gateways[0]).await;
    assert!(metrics.total("bulkhead_shed_total", &[("bulkhead", "requests")]) > 0.0);

    stack.auths[0].resume().await;
    wait::until_true("sessions are served again", async || ada.me(&api).await.status == 200).await;
    for _ in 0..5 {
        let answers = load::at_once((0..6).map(|_| api.get("/v1/me").bearer(&ada.token))).await;
        assert_eq!(load::by_status(&answers), [(200, 6)].into());
    }
    assert_nothing_stays(&stack).await;
}
