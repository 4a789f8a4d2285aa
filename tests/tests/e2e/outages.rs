//! An outage is told as an outage, costs nobody their session, and ends by itself. What can be served is served.

use serde_json::json;
use tests::api::{Answer, Api};
use tests::person::{Person, SignedIn};
use tests::stack::{Builder, Part, Stack};
use tests::{load, wait};

/// Limits are on, for what they do without their store is part of the picture; but no test here comes near them, be it only a
/// quarter of a quota.
fn generous(stack: Builder) -> Builder {
    ["LIMIT_LOGIN_IP", "LIMIT_LOGIN_ACCOUNT", "LIMIT_REGISTER_IP", "LIMIT_API"]
        .into_iter()
        .fold(stack, |stack, limit| stack.env(Part::Gateway, limit, "100000/600"))
}

/// 503, and that with a reason of its own.
#[track_caller]
fn assert_outage(answer: Answer) {
    let document = answer.expect(503).json();
    assert!(document["code"].as_str().is_some_and(|code| code != "INTERNAL"), "{document}");
}

/// Every replica finds its way back by itself: all of them have when so many answers in a row are good ones.
const GOOD_IN_A_ROW: usize = 20;

async fn wait_until_served(what: &str, call: impl AsyncFn() -> Answer) {
    wait::until_true(what, async || {
        for _ in 0..GOOD_IN_A_ROW {
            let answer = call().await;
            let is_good = (200..300).contains(&answer.status);
            assert!(is_good || answer.status == 503, "{}: {}", answer.request, answer.text());
            if !is_good {
                return false;
            }
        }
        true
    })
    .await;
}

fn bio(text: &str) -> serde_json::Value {
    json!({"bio": text})
}

#[tokio::test]
async fn without_the_session_store_nobody_is_told_that_they_are_logged_out_and_nobody_is() {
    let stack = generous(Stack::builder().gateways(2).auths(2)).start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    let (me, public) = (|api: &Api| api.get("/v1/me").bearer(&ada.token), ada.person.public_profile());
    let cookie = json!({
        "username": ada.person.username, "password": ada.person.password, "transport": "cookie"
    });
    let cookie = apis[0].post("/v1/login").json(&cookie).await.expect(200);
    let cookie = cookie.expect_header("set-cookie").split(';').next().unwrap().to_owned();

    stack.state.kill().await;
    for _ in 0..20 {
        for api in &apis {
            assert_outage(me(api).await);
        }
    }
    for api in &apis {
        assert_outage(api.get("/v1/me").cookie(&cookie).await);
        assert_outage(ada.profile(api).await);
        assert_outage(ada.change(api, &bio("lost")).await);
        assert_outage(ada.person.log_in(api).await);
        assert_outage(ada.log_out(api).await);
        api.get(&public).await.expect(200);
    }

    stack.state.start().await;
    for api in &apis {
        wait_until_served("the session store is back", async || me(api).await).await;
        api.get("/v1/me").cookie(&cookie).await.expect(200);
        let profile = ada.profile(api).await.expect(200);
        assert_eq!((profile.version(), &profile.json()["bio"]), (1, &json!("")));
    }
    ada.log_out(&apis[1]).await.expect(204);
    ada.me(&apis[0]).await.expect(401);
}

#[tokio::test]
async fn without_the_cache_reads_go_on_and_changes_are_refused_whole() {
    let stack = generous(Stack::builder().gateways(2).auths(2).profiles(2)).start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    ada.change(&apis[0], &bio("before")).await.expect(200);
    let version = ada.profile(&apis[0]).await.expect(200).version();

    stack.cache.kill().await;
    for api in &apis {
        ada.me(api).await.expect(200);
        assert_eq!(ada.profile(api).await.expect(200).json()["bio"], "before");
        api.get(&ada.person.public_profile()).await.expect(200);
        assert_outage(ada.change(api, &bio("lost")).await);
        let profile = ada.profile(api).await.expect(200);
        assert_eq!((profile.version(), &profile.json()["bio"]), (version, &json!("before")));
        let newcomer = Person::signed_in(api).await;
        newcomer.profile(api).await.expect(200);
        newcomer.log_out(api).await.expect(204);
        newcomer.me(api).await.expect(401);
    }

    stack.cache.start().await;
    let change = async || ada.change(&apis[1], &bio("after")).await;
    wait_until_served("changes are taken again", change).await;
    for api in &apis {
        assert_eq!(ada.profile(api).await.expect(200).json()["bio"], "after");
    }
}

#[tokio::test]
async fn without_their_store_limits_are_stricter_per_gateway_and_reads_pass() {
    let stack = Stack::builder().gateways(2).env(Part::Gateway, "LIMIT_LOGIN_IP", "12/600");
    let stack = stack.env(Part::Gateway, "LIMIT_API", "5/600").start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await;
    stack.cache.kill().await;
    for api in &apis {
        let guesses = (0..8).map(|_| api.post("/v1/login").json(&Person::new().credentials()));
        let mut statuses = Vec::new();
        for guess in guesses {
            statuses.push(guess.await.status);
        }
        assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429]);
        let reads = load::at_once((0..20).map(|_| api.get("/v1/me").bearer(&ada.token))).await;
        assert_eq!(load::by_status(&reads), [(200, 20)].into());
    }
}

#[tokio::test]
async fn without_the_database_of_users_the_signed_in_go_on() {
    let stack = generous(Stack::builder().auths(2).own_auth_postgres()).start();
    let api = stack.api(0);
    let (ada, bob) = (Person::signed_in(&api).await, Person::signed_in(&api).await);
    ada.me(&api).await.expect(200);

    stack.auth_database.server().kill().await;
    for _ in 0..4 {
        ada.me(&api).await.expect(200);
        ada.profile(&api).await.expect(200);
    }
    ada.change(&api, &bio("meanwhile")).await.expect(200);
    api.get(&ada.person.public_profile()).await.expect(200);
    assert_outage(ada.person.log_in(&api).await);
    assert_outage(Person::new().register(&api).await);
    bob.log_out(&api).await.expect(204);
    bob.me(&api).await.expect(401);

    stack.auth_database.server().start().await;
    wait_until_served("logins are served again", async || ada.person.log_in(&api).await).await;
    bob.person.log_in(&api).await.expect(200);
}

#[tokio::test]
async fn without_the_database_of_profiles_cached_profiles_are_served() {
    let stack = generous(Stack::builder().profiles(2).own_profile_postgres()).start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await.noted(&api).await;
    let bob = Person::signed_in(&api).await.noted(&api).await;
    stack.cache.flush().await;
    let version = ada.profile(&api).await.expect(200).version();
    api.get(&ada.person.public_profile()).await.expect(200);

    stack.profile_database.server().kill().await;
    for _ in 0..3 {
        assert_outage(ada.change(&api, &bio("lost")).await);
        assert_eq!(ada.profile(&api).await.expect(200).version(), version);
        api.get(&ada.person.public_profile()).await.expect(200);
        assert_outage(bob.profile(&api).await);
        assert_outage(api.get(&bob.person.public_profile()).await);
        bob.me(&api).await.expect(200);
    }
    let newcomer = Person::signed_in(&api).await;
    assert_outage(newcomer.profile(&api).await);

    stack.profile_database.server().start().await;
    stack.cache.flush().await;
    for person in [&ada, &bob, &newcomer] {
        wait_until_served("profiles are served again", async || person.profile(&api).await).await;
    }
    let untouched = ada.profile(&api).await.expect(200);
    assert_eq!((untouched.version(), &untouched.json()["bio"]), (version, &json!("")));
    assert_eq!(ada.change(&api, &bio("after")).await.expect(200).version(), version + 1);
}

#[tokio::test]
async fn without_a_service_the_other_goes_on() {
    let stack = generous(Stack::builder()).start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let public = ada.person.public_profile();
    ada.profile(&api).await.expect(200);

    stack.profiles[0].kill().await;
    ada.me(&api).await.expect(200);
    ada.person.log_in(&api).await.expect(200);
    for call in [ada.profile(&api).await, ada.change(&api, &bio("lost")).await, api.get(&public).await] {
        assert_outage(call);
    }
    stack.profiles[0].start().await;
    wait_until_served("profiles are served again", async || ada.profile(&api).await).await;

    stack.auths[0].kill().await;
    let refused = [
        ada.me(&api).await,
        ada.profile(&api).await,
        ada.person.log_in(&api).await,
        ada.log_out(&api).await,
        Person::new().register(&api).await,
    ];
    refused.into_iter().for_each(assert_outage);
    api.get(&public).await.expect(200);
    stack.auths[0].start().await;
    wait_until_served("sessions are served again", async || ada.me(&api).await).await;
    assert_eq!(ada.profile(&api).await.expect(200).version(), 1);
}

#[tokio::test]
async fn without_a_trace_collector_everything_is_served() {
    let stack = Stack::builder()
        .env_everywhere("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .env_everywhere("OTEL_TRACES_SAMPLER_ARG", "1")
        .env_everywhere("OTEL_BSP_SCHEDULE_DELAY", "20");
    let stack = stack.start();
    let api = stack.api(0);
    let ada: SignedIn = Person::signed_in(&api).await;
    for _ in 0..50 {
        ada.me(&api).await.expect(200);
        ada.profile(&api).await.expect(200);
    }
    for replica in stack.replicas() {
        replica.stop().await;
    }
}

/// As after a restore that is not done yet: the server is there, and what it is asked for is not.
#[tokio::test]
async fn a_database_without_its_tables_is_an_outage_and_loses_no_entry_of_the_audit_trail() {
    let stack = generous(Stack::builder()).start();
    let api = stack.api(0);
    let (ada, bob) = (Person::signed_in(&api).await, Person::signed_in(&api).await);
    let (users, profiles) = (&stack.auth_database, &stack.profile_database);
    let logouts = async || users.count("audit_log WHERE event = 'LOGGED_OUT'").await;

    users.execute("ALTER TABLE audit_head RENAME TO missing").await;
    profiles.execute("ALTER TABLE profiles RENAME TO missing").await;
    assert_outage(ada.change(&api, &bio("lost")).await);
    assert_outage(api.get(&Person::new().public_profile()).await);
    bob.log_out(&api).await.expect(204);
    assert_eq!(logouts().await, 0);

    users.execute("ALTER TABLE missing RENAME TO audit_head").await;
    profiles.execute("ALTER TABLE missing RENAME TO profiles").await;
    wait::until_true("the logout is on record", async || logouts().await == 1).await;
    wait_until_served("changes are taken again", async || ada.change(&api, &bio("kept")).await).await;

    users.execute("ALTER TABLE users RENAME TO missing").await;
    assert_outage(Person::new().register(&api).await);
    users.execute("ALTER TABLE missing RENAME TO users").await;
    Person::registered(&api).await;
}
