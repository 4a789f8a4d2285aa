//! What the caches spare the databases.

use std::collections::BTreeMap;

use serde_json::json;
use tests::controlled::Replica;
use tests::load::{at_once, by_status};
use tests::metrics::Metrics;
use tests::person::Person;
use tests::stack::Stack;

/// Statements about users and profiles, by their operation, that each replica has sent.
async fn statements_for_requests(replicas: impl Iterator<Item = &Replica>) -> Vec<BTreeMap<String, u64>> {
    let mut statements = Vec::new();
    for replica in replicas {
        let mut by_operation = Metrics::of(replica).await.by_label("db_client_operations_total", "operation");
        // Looking now and then for mails, events and orders that are left is nobody's request.
        by_operation
            .retain(|operation, _| operation.starts_with("users.") || operation.starts_with("profiles."));
        statements.push(by_operation);
    }
    statements
}

#[tokio::test]
async fn cached_reads_issue_no_sql() {
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).without_limits().start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await.noted(&apis[0]).await;
    let read_all = async || {
        for api in &apis {
            ada.me(api).await.expect(200);
            ada.profile(api).await.expect(200);
            api.get(&ada.person.public_profile()).await.expect(200);
        }
    };
    read_all().await;

    let services = || stack.auths.iter().chain(&stack.profiles);
    let before = statements_for_requests(services()).await;
    assert!(before.iter().any(|of_replica| of_replica.contains_key("profiles.insert")), "{before:?}");
    // Whatever would be asked of the databases now would fail.
    stack.auth_database.execute("ALTER TABLE users RENAME TO users_away").await;
    stack.profile_database.execute("ALTER TABLE profiles RENAME TO profiles_away").await;
    for _ in 0..10 {
        read_all().await;
    }
    assert_eq!(statements_for_requests(services()).await, before);

    // It would indeed.
    stack.cache.flush().await;
    ada.profile(&apis[0]).await.expect(503);
}

#[tokio::test]
async fn a_thousand_concurrent_cold_reads_of_one_profile_issue_one_query_per_replica_at_most() {
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).without_limits().start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await.noted(&apis[0]).await;
    ada.change(&apis[0], &json!({"bio": "Enchantress of numbers"})).await.expect(200);
    // Slow enough for everybody to come while the first is still waiting.
    stack.profile_database.slow_down("profiles", "0.3").await;
    let public = ada.person.public_profile();
    let counts = async |operation| {
        let (first, second) = (&stack.profiles[0], &stack.profiles[1]);
        let count = async |replica| Metrics::of(replica).await.statements(Some(operation));
        [count(first).await, count(second).await]
    };
    let assert_few = |before: [u64; 2], after: [u64; 2], what: &str| {
        let issued = [after[0] - before[0], after[1] - before[1]];
        assert!(issued.iter().all(|count| *count <= 1) && issued != [0, 0], "{what}: {issued:?}");
    };

    stack.cache.flush().await;
    let before = counts("profiles.by_id").await;
    let own = at_once((0..1000).map(|number| apis[number % 3].get("/v1/profile").bearer(&ada.token))).await;
    assert_eq!(by_status(&own), [(200, 1000)].into());
    assert!(own.iter().all(|answer| answer.json()["bio"] == "Enchantress of numbers"));
    assert_few(before, counts("profiles.by_id").await, "own profile by id");

    stack.cache.flush().await;
    let before = [counts("profiles.by_id").await, counts("profiles.id_of").await];
    let others = at_once((0..1000).map(|number| apis[number % 3].get(&public))).await;
    assert_eq!(by_status(&others), [(200, 1000)].into());
    assert_few(before[0], counts("profiles.by_id").await, "public profile by id");
    assert_few(before[1], counts("profiles.id_of").await, "public profile by name");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_looked_up_once() {
    let stack = Stack::builder().profiles(2).without_limits().start();
    let api = stack.api(0);
    let nobody = Person::new();
    for _ in 0..20 {
        api.get(&nobody.public_profile()).await.expect_problem(404, "PROFILE_NOT_FOUND");
    }
    let mut issued = 0;
    for replica in &stack.profiles {
        issued += Metrics::of(replica).await.statements(Some("profiles.id_of"));
    }
    assert_eq!(issued, 1);
}
