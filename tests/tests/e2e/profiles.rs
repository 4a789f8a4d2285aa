//! Profiles as their owners and everybody else see them.

use serde_json::{Value, json};
use tests::person::Person;
use tests::stack::Stack;

#[tokio::test]
async fn a_new_profile_has_every_field() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let answer = ada.profile(&api).await.expect(200);
    assert_eq!(answer.expect_header("etag"), format!("\"{}.1\"", ada.id));
    assert_eq!(answer.expect_header("vary"), "Authorization, Cookie");
    assert_eq!(answer.expect_header("cache-control"), "private, no-cache");
    let mut profile = answer.json();
    for time in ["createdAt", "updatedAt"] {
        let time = profile[time].take();
        assert!(time.as_str().is_some_and(|time| time.len() == 24 && time.ends_with('Z')), "{time}");
    }
    profile["lastSeen"].take();
    let name = &ada.person.username;
    let expected = json!({
        "id": ada.id, "username": name, "displayName": name, "bio": "", "locale": "en", "timezone": "UTC",
        "role": "user", "links": [], "avatarUrl": null, "lastSeen": null, "createdAt": null, "updatedAt": null,
        "version": 1,
    });
    assert_eq!(profile, expected);
}

#[tokio::test]
async fn a_login_is_noted_and_is_no_change() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await.noted(&api).await;
    assert_eq!(ada.profile(&api).await.expect(200).version(), 1);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_null_clears() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let everything = json!({
        "displayName": "Ada Lovelace", "bio": "Enchantress\nof numbers", "locale": "en-gb", "timezone": "europe/london",
        "links": [{"label": "home", "url": "https://ada.example/"}], "avatarUrl": "https://ada.example/a.png",
    });
    let answer = ada.change(&api, &everything).await.expect(200);
    let changed = answer.json();
    let mut expected = everything;
    (expected["locale"], expected["timezone"]) = ("en-GB".into(), "Europe/London".into());
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&changed[name], value);
    }
    assert_eq!((answer.version(), &changed["version"]), (2, &json!(2)));

    let cleared = json!({"displayName": null, "bio": null, "links": null, "avatarUrl": null});
    let patch = api.patch("/v1/profile").bearer(&ada.token).if_match(answer.expect_header("etag"));
    let answer = patch.body("application/merge-patch+json", cleared.to_string()).await.expect(200);
    let expected = [
        ("displayName", json!(ada.person.username)),
        ("bio", json!("")),
        ("links", json!([])),
        ("avatarUrl", Value::Null),
        ("locale", json!("en-GB")),
    ];
    for (name, value) in expected {
        assert_eq!(answer.json()[name], value);
    }
    assert_eq!(ada.profile(&api).await.expect(200).json(), answer.json());

    let unchanged = ada.change(&api, &json!({})).await.expect(200);
    assert_eq!(unchanged.version(), 3);
}

#[tokio::test]
async fn values_that_cannot_be_are_pointed_at_and_change_nothing() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    let link = json!({"label": "x", "url": "https://a.example"});
    for (change, pointer) in [
        (json!({"displayName": "a".repeat(65)}), "/displayName"),
        (json!({"bio": "a".repeat(501)}), "/bio"),
        (json!({"bio": "nul\u{0}"}), "/bio"),
        (json!({"locale": "en_US"}), "/locale"),
        (json!({"timezone": "Mars/Olympus"}), "/timezone"),
        (json!({"avatarUrl": "http://a.example/a.png"}), "/avatarUrl"),
        (json!({"links": [link, {"label": "y", "url": "javascript:alert(1)"}]}), "/links/1/url"),
        (json!({"links": vec![link.clone(); 11]}), "/links"),
        (json!({"role": "admin"}), "/role"),
        (json!({"shoeSize": 42}), "/shoeSize"),
    ] {
        let document = ada.change(&api, &change).await.expect_problem(400, "INVALID_FIELD");
        assert_eq!(document["errors"][0]["pointer"], pointer, "{document}");
    }
    assert_eq!(ada.profile(&api).await.expect(200).version(), 1);
}

#[tokio::test]
async fn everybody_sees_the_public_part_alone() {
    let stack = Stack::shared();
    let api = stack.api(0);
    let ada = Person::signed_in(&api).await;
    ada.change(&api, &json!({"bio": "hello", "timezone": "Europe/London"})).await.expect(200);
    let shouted = format!("/v1/users/{}/profile", ada.person.username.to_uppercase());
    for path in [&ada.person.public_profile(), &shouted] {
        let profile = api.get(path).await.expect(200).json();
        let members: Vec<_> = profile.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["avatarUrl", "bio", "createdAt", "displayName", "links", "username"]);
        assert_eq!(profile["bio"], "hello");
    }
}

#[tokio::test]
async fn who_has_it_already_is_told_so() {
    let stack = Stack::shared();
    let (api, other) = (stack.api(0), stack.api(1));
    let (ada, bob) = (Person::signed_in(&api).await, Person::signed_in(&api).await);
    let own = ada.profile(&api).await.expect(200);
    let tag = own.expect_header("etag");
    let read = |tag: &str| other.get("/v1/profile").bearer(&ada.token).header("if-none-match", tag);
    for known in [tag.to_owned(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = read(&known).await.expect(304);
        assert!(answer.body.is_empty());
        assert_eq!(answer.expect_header("etag"), tag);
    }
    // Two users never share one.
    other.get("/v1/profile").bearer(&bob.token).header("if-none-match", tag).await.expect(200);
    ada.change(&api, &json!({"bio": "new"})).await.expect(200);
    read(tag).await.expect(200);

    let public = api.get(&ada.person.public_profile()).await.expect(200);
    let tag = public.expect_header("etag").to_owned();
    other.get(&ada.person.public_profile()).header("if-none-match", tag).await.expect(304);
}
