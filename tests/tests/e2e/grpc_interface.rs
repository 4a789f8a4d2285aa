//! The services as operators and other programs meet them: reflection, health, rich errors.

use local::process::Signal;
use proto::auth::v1 as auth;
use proto::profile::v1 as profile;
use tests::grpc;
use tests::person::Person;
use tests::reflection::{Reflection, Version};
use tests::stack::{Part, Stack};
use tests::wait;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

const AUTH: &str = "sallyport.auth.v1.AuthService";
const PROFILE: &str = "sallyport.profile.v1.ProfileService";

#[tokio::test]
async fn both_services_are_listed_and_called_by_reflection_alone() {
    let stack = Stack::shared();
    let ada = Person::signed_in(&stack.api(0)).await;
    stack.api(0).get(&ada.person.public_profile()).await.expect(200);
    let username = ada.person.username.as_str();
    let called = [
        (&stack.auths[0], AUTH, "GetUser", "user", "id", "USER_NOT_FOUND"),
        (&stack.profiles[0], PROFILE, "GetProfile", "profile", "user_id", "PROFILE_NOT_FOUND"),
    ];
    for (replica, service, method, member, id, not_found) in called {
        for version in [Version::V1, Version::V1Alpha] {
            let reflection = Reflection::learn(grpc::connect(replica).await, version).await.unwrap();
            for expected in [service, "grpc.health.v1.Health"] {
                assert!(reflection.services().iter().any(|known| known == expected), "{expected}");
            }
            let answer = reflection.call(service, method, &[("username", username)]).await.unwrap().unwrap();
            let found = answer.get_field_by_name(member).unwrap();
            let found = found.as_message().unwrap();
            assert_eq!(found.get_field_by_name(id).unwrap().as_str(), Some(ada.id.as_str()));
            assert_eq!(found.get_field_by_name("username").unwrap().as_str(), Some(username));

            let nobody = Person::new().username;
            let status =
                reflection.call(service, method, &[("username", &nobody)]).await.unwrap().unwrap_err();
            assert_eq!((status.code(), grpc::reason(&status).1.as_str()), (Code::NotFound, not_found));
        }
    }
}

#[tokio::test]
async fn failures_carry_code_reason_and_what_is_wrong() {
    let stack = Stack::shared();
    let ada = Person::signed_in(&stack.api(0)).await;
    let mut auth = grpc::auth(&stack.auths[0]).await;
    let mut profiles = grpc::profile(&stack.profiles[1]).await;
    let ours = |reason: &str| ("auth.sallyport".to_owned(), reason.to_owned());

    let registration = auth::RegisterRequest {
        username: ada.person.username.clone(),
        password: ada.person.password.clone(),
        ..Default::default()
    };
    let taken = auth.register(registration.clone()).await.unwrap_err();
    assert_eq!((taken.code(), grpc::reason(&taken)), (Code::AlreadyExists, ours("USERNAME_TAKEN")));

    let invalid = auth::RegisterRequest { username: "a b".into(), password: "short".into(), ..registration };
    let invalid = auth.register(invalid).await.unwrap_err();
    assert_eq!((invalid.code(), grpc::reason(&invalid)), (Code::InvalidArgument, ours("INVALID_FIELD")));
    let violations = invalid.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["username", "password"]);

    let wrong = auth::LoginRequest {
        username: ada.person.username.clone(),
        password: "wrong".into(),
        ..Default::default()
    };
    let wrong = auth.login(wrong).await.unwrap_err();
    assert_eq!((wrong.code(), grpc::reason(&wrong)), (Code::Unauthenticated, ours("INVALID_CREDENTIALS")));

    let made_up =
        auth.validate_session(auth::ValidateSessionRequest { token: "made up".into() }).await.unwrap_err();
    assert_eq!((made_up.code(), grpc::reason(&made_up)), (Code::Unauthenticated, ours("SESSION_INVALID")));

    let change = profile::UpdateProfileRequest {
        profile: Some(profile::Profile { user_id: ada.id.clone(), bio: "x".into(), ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["bio".into()] }),
        expected_version: 41,
    };
    let outdated = profiles.update_profile(change).await.unwrap_err();
    let theirs = ("profile.sallyport".to_owned(), "VERSION_MISMATCH".to_owned());
    assert_eq!((outdated.code(), grpc::reason(&outdated)), (Code::Aborted, theirs));
}

#[tokio::test]
async fn the_unary_calls_do_what_the_streams_do() {
    let stack = Stack::shared();
    let ada = Person::signed_in(&stack.api(0)).await;
    let mut auth = grpc::auth(&stack.auths[1]).await;
    let token = ada.token.clone();
    let validate = || auth::ValidateSessionRequest { token: token.clone() };
    let session = auth.validate_session(validate()).await.unwrap().into_inner().session.unwrap();
    assert_eq!(session.user_id, ada.id);

    let mut profiles = grpc::profile(&stack.profiles[0]).await;
    let key = profile::get_profile_request::Key::UserId(ada.id.clone());
    let found = profiles.get_profile(profile::GetProfileRequest { key: Some(key) }).await;
    assert_eq!(found.unwrap().into_inner().profile.unwrap().username, ada.person.username);

    let ended =
        auth.logout(auth::LogoutRequest { token: token.clone(), client: None }).await.unwrap().into_inner();
    assert_eq!((ended.session_id, ended.user_id), (session.id, ada.id.clone()));
    ada.me(&stack.api(2)).await.expect(401);
    assert_eq!(auth.validate_session(validate()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn health_is_told_and_watched_until_the_drain() {
    let stack = Stack::builder().env_everywhere("DRAIN_DELAY_MS", "2000").start();
    for (part, replica, service) in
        [(Part::Auth, &stack.auths[0], AUTH), (Part::Profile, &stack.profiles[0], PROFILE)]
    {
        let mut health = HealthClient::new(grpc::connect(replica).await);
        let mut watched = Vec::new();
        for name in ["", service] {
            let request = HealthCheckRequest { service: name.to_owned() };
            let status = health.check(request.clone()).await.unwrap().into_inner().status();
            assert_eq!(status, ServingStatus::Serving, "{part:?} {name}");
            let mut changes = health.watch(request).await.unwrap().into_inner();
            assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
            watched.push(changes);
        }
        let unknown = HealthCheckRequest { service: "no.such.Service".to_owned() };
        assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

        replica.signal(Signal::Terminate);
        for mut changes in watched {
            assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
        }
        wait::until_true("the drained process has ended", async || replica.process_id().is_none()).await;
    }
}
