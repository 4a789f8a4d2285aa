//! Who deletes the account is gone: at once for everybody who asks, and soon from every store, whatever is away or under way.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tests::api::{Answer, Api};
use tests::person::{Person, SignedIn};
use tests::stack::{Part, Stack};
use tests::traces::Traces;
use tests::{grpc, wait};

async fn delete(api: &Api, ada: &SignedIn) -> Answer {
    let body = json!({"password": ada.person.password});
    let delete =
        async || api.call(Method::DELETE, "/v1/me").bearer(&ada.token).json(&body).await.unless_full();
    wait::until("the hash pool has room", delete).await
}

/// Somebody with everything that there is to have.
async fn settled(apis: &[Api]) -> SignedIn {
    let ada = Person::registered(&apis[0]).await;
    for api in apis {
        ada.sign_in(api).await;
    }
    let ada = ada.sign_in(&apis[0]).await.noted(&apis[0]).await;
    let change = json!({"displayName": ada.person.username, "bio": format!("Write to {}", ada.person.email)});
    ada.change(&apis[0], &change).await.expect(200);
    for api in apis {
        ada.me(api).await.expect(200);
        ada.profile(api).await.expect(200);
        api.get(&ada.person.public_profile()).await.expect(200);
        api.post("/v1/login").json(&json!({"username": ada.person.username, "password": "wrong"})).await;
    }
    ada
}

/// Every store has forgotten the person, the streams and the cache as well.
async fn until_nothing_is_left(stack: &Stack, ada: &SignedIn) {
    let gone = async || Traces::of(stack, ada).await.is_empty();
    wait::until_true("no store knows the person", gone).await;
}

#[tokio::test]
async fn nothing_of_the_person_remains_in_any_store() {
    let stack = Stack::builder().gateways(2).auths(2).profiles(2).start();
    let apis = stack.apis();
    let (ada, bob) = (settled(&apis).await, settled(&apis).await);
    let before = Traces::of(&stack, &ada).await;
    for place in ["auth.users", "auth.session_clients", "profile.profiles", "redis-state", "redis-cache"] {
        assert!(
            before.iter().any(|trace| trace.starts_with(place)),
            "{place} should hold something: {before:?}"
        );
    }

    delete(&apis[1], &ada).await.expect(204);
    for api in &apis {
        ada.me(api).await.expect_problem(401, "SESSION_INVALID");
        ada.person.log_in(api).await.expect_problem(401, "INVALID_CREDENTIALS");
    }
    until_nothing_is_left(&stack, &ada).await;
    for api in &apis {
        api.get(&ada.person.public_profile()).await.expect(404);
        bob.profile(api).await.expect(200);
    }

    // The name is free, and whoever takes it begins anew.
    ada.person.register(&apis[0]).await.expect(201);
    let namesake = ada.person.sign_in(&apis[0]).await;
    assert_ne!(namesake.id, ada.id);
    assert_eq!(namesake.profile(&apis[1]).await.expect(200).json()["bio"], "");
}

#[tokio::test]
async fn a_wrong_password_deletes_nothing() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let body = json!({"password": "not my password at all"});
    let answer = wait::until("the hash pool has room", async || {
        api.call(Method::DELETE, "/v1/me").bearer(&ada.token).json(&body).await.unless_full()
    });
    answer.await.expect_problem(403, "WRONG_PASSWORD");
    ada.me(&api).await.expect(200);
    ada.profile(&api).await.expect(200);
}

#[tokio::test]
async fn who_leaves_while_profiles_are_away_is_forgotten_when_they_are_back() {
    let stack = Stack::builder().profiles(2).without_limits().start();
    let api = stack.api(0);
    let ada = settled(&stack.apis()).await;
    for replica in &stack.profiles {
        replica.kill().await;
    }
    delete(&api, &ada).await.expect(204);
    ada.me(&api).await.expect(401);
    assert!(!Traces::of(&stack, &ada).await.is_empty(), "the profile is still there");
    // Nor does it matter that Redis forgets, or auth-svc dies.
    stack.state.flush().await;
    stack.auths[0].kill().await;
    stack.auths[0].start().await;

    stack.profiles[1].start().await;
    until_nothing_is_left(&stack, &ada).await;
}

#[tokio::test]
async fn who_leaves_is_forgotten_whichever_process_dies_on_the_way() {
    let stack = Stack::builder().auths(2).profiles(2).without_limits().start();
    let apis = stack.apis();
    for round in 0..4 {
        let ada = settled(&apis).await;
        let bob = settled(&apis).await;
        // With the profiles held up, one event is in the stream, or taken and not done, when its process dies.
        for replica in &stack.profiles {
            replica.pause().await;
        }
        delete(&apis[0], &ada).await.expect(204);
        delete(&apis[0], &bob).await.expect(204);
        let (dying, living) = (&stack.profiles[round % 2], &stack.profiles[1 - round % 2]);
        dying.resume().await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..30))).await;
        dying.kill().await;
        let relay = &stack.auths[round % 2];
        relay.kill().await;
        living.resume().await;
        until_nothing_is_left(&stack, &ada).await;
        until_nothing_is_left(&stack, &bob).await;
        dying.start().await;
        relay.start().await;
    }
}

/// The gateway has asked auth-svc whether there is such a user, and creates the profile only after the user is gone.
#[tokio::test]
async fn a_profile_that_is_made_too_late_is_not_made() {
    let stack = Stack::builder().without_limits().start();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    delete(&api, &ada).await.expect(204);
    until_nothing_is_left(&stack, &ada).await;
    let late = proto::profile::v1::CreateProfileRequest {
        user_id: ada.id.clone(),
        username: ada.person.username.clone(),
    };
    let refused = grpc::profile(&stack.profiles[0]).await.create_profile(late).await.err();
    assert_eq!(grpc::reason(&refused.expect("it is refused")).1, "PROFILE_NOT_FOUND");
    until_nothing_is_left(&stack, &ada).await;
}

#[tokio::test]
async fn who_leaves_under_fire_is_let_in_nowhere_afterwards_and_leaves_nothing() {
    let stack = Stack::builder().gateways(3).auths(3).profiles(2).without_limits();
    let stack = stack.env(Part::Auth, "SESSION_IDLE_SECONDS", "600").start();
    let apis = stack.apis();
    for round in 0..6 {
        let ada = Person::registered(&apis[0]).await;
        let leaving = ada.sign_in(&apis[round % 3]).await;
        let gone = std::cell::Cell::new(false);
        // First reads, changes and further logins, all over the place.
        let busy = async |api: &Api, kind: usize| {
            let mut after = 0;
            while after < 3 {
                let was_gone = gone.get();
                let answer = match kind {
                    0 => leaving.me(api).await,
                    1 => leaving.profile(api).await,
                    2 => leaving.change(api, &json!({"bio": ada.email})).await,
                    _ => ada.log_in(api).await,
                };
                assert!(!(was_gone && answer.status == 200), "{} after the end", answer.request);
                assert!(matches!(answer.status, 200 | 401 | 404 | 503 | 504), "{}", answer.text());
                after += usize::from(was_gone);
            }
        };
        let kinds = (0..4).flat_map(|kind| apis.iter().map(move |api| (api, kind)));
        let everybody = join_all(kinds.map(|(api, kind)| busy(api, kind)));
        let deletion = async {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
            delete(&apis[(round + 1) % 3], &leaving).await.expect(204);
            gone.set(true);
        };
        tokio::join!(everybody, deletion);
        until_nothing_is_left(&stack, &leaving).await;
    }
}

#[tokio::test]
async fn without_a_store_nobody_is_told_that_they_are_gone() {
    let stack = Stack::builder().without_limits().start();
    let api = stack.api(0);
    let ada = settled(&stack.apis()).await;
    stack.cache.kill().await;
    delete(&api, &ada).await.expect_problem(503, "CACHE_UNAVAILABLE");
    stack.cache.start().await;
    ada.me(&api).await.expect(200);
    let deleted = async || delete(&api, &ada).await.status == 204;
    wait::until_true("the deletion is taken", deleted).await;
    until_nothing_is_left(&stack, &ada).await;
}

#[tokio::test]
async fn who_takes_everything_along_has_all_of_it_or_is_told_to_come_back() {
    let stack = Stack::builder().gateways(2).without_limits().start();
    let apis = stack.apis();
    let ada = settled(&apis).await;
    let export = async || apis[1].get("/v1/me/export").bearer(&ada.token).await;
    let answer = export().await.expect(200);
    assert!(answer.expect_header("content-disposition").starts_with("attachment"));
    assert_eq!(answer.expect_header("cache-control"), "no-store");
    let document = answer.json();
    assert_eq!(document["account"]["email"], ada.person.email.as_str());
    assert_eq!(document["profile"], ada.profile(&apis[0]).await.expect(200).json());
    assert_eq!(document["sessions"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["signIns"].as_array().map(Vec::len), Some(3));
    assert_eq!(document["sessions"][0]["clientAddress"], "127.0.0.1");
    assert!(document["devices"].as_array().is_some_and(|devices| !devices.is_empty()), "{document}");
    let happened = |event: &str| {
        let activity = document["activity"].as_array().into_iter().flatten();
        activity.filter(|entry| entry["event"] == event).count()
    };
    assert_eq!((happened("REGISTERED"), happened("LOGGED_IN"), happened("EXPORTED")), (1, 3, 1));
    let token = answer.text().contains(&ada.token);
    assert!(!token && !answer.text().contains("argon2"), "no secret is told");

    stack.profiles[0].kill().await;
    export().await.expect(503);
    stack.profiles[0].start().await;
    wait::until_true("profiles are back", async || export().await.status == 200).await;
}
