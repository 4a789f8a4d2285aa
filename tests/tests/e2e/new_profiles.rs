//! A profile exists as soon as its user does, whatever was away in between.

use tests::person::Person;
use tests::stack::Stack;
use tests::wait;

#[tokio::test]
async fn who_registers_while_profiles_are_away_has_one_when_they_are_back() {
    let stack = Stack::builder().profiles(2).without_limits().start();
    let api = stack.api(0);
    for replica in &stack.profiles {
        replica.stop().await;
    }
    let (ada, bob) = (Person::signed_in(&api).await, Person::registered(&api).await);
    ada.profile(&api).await.expect(503);
    api.get(&bob.public_profile()).await.expect(503);

    for replica in &stack.profiles {
        replica.start().await;
    }
    let back = async || api.get(&Person::new().public_profile()).await.status == 404;
    wait::until_true("profiles are back", back).await;
    // The very first read finds it: one's own, and a stranger's by name.
    let own = ada.profile(&api).await.expect(200).json();
    assert_eq!((&own["id"], &own["username"]), (&ada.id.clone().into(), &ada.person.username.clone().into()));
    let public = api.get(&bob.public_profile()).await.expect(200).json();
    assert_eq!(public["username"], bob.username.as_str());
}

#[tokio::test]
async fn a_change_can_be_the_first_thing_that_happens_to_a_profile() {
    let stack = Stack::builder().without_limits().start();
    let api = stack.api(0);
    stack.profiles[0].stop().await;
    let ada = Person::signed_in(&api).await;
    stack.profiles[0].start().await;
    let back = async || api.get(&Person::new().public_profile()).await.status == 404;
    wait::until_true("profiles are back", back).await;
    let changed = ada.change(&api, &serde_json::json!({"bio": "first"})).await.expect(200);
    assert_eq!((changed.version(), &changed.json()["bio"]), (2, &"first".into()));
}

#[tokio::test]
async fn many_first_reads_at_once_make_one_profile() {
    let stack = Stack::builder().gateways(3).auths(2).profiles(2).without_limits().start();
    let apis = stack.apis();
    let ada = Person::signed_in(&apis[0]).await.noted(&apis[0]).await;
    stack.profile_database.execute("DELETE FROM profiles").await;
    stack.cache.flush().await;
    let reads = (0..60).map(|number| apis[number % 3].get("/v1/profile").bearer(&ada.token));
    let answers = tests::load::at_once(reads).await;
    let first = answers[0].clone().expect(200).json();
    for answer in answers {
        assert_eq!(answer.expect(200).json()["createdAt"], first["createdAt"]);
    }
}
