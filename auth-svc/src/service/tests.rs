//! The use cases on a real Postgres, each test with a database of its own, and a real Redis.

use std::time::Duration;

use chassis::postgres::Postgres;
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;

use super::*;
use crate::hasher;
use crate::sessions::Lifetimes;

const PASSWORD: &str = "correct horse battery staple";

struct Bench {
    service: AuthService,
    postgres: Postgres,
    _shutdown: Shutdown,
}

#[expect(clippy::disallowed_methods, reason = "the test runner says where its servers are")]
fn server(variable: &str) -> String {
    std::env::var(variable).expect("run through `make test`, which starts the servers")
}

async fn bench() -> Bench {
    let shutdown = Shutdown::new();
    let admin_url = server("TEST_POSTGRES_URL");
    let database = format!("auth_{}", Uuid::now_v7().simple());
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
    let admin = Postgres::open(&admin_url.parse().unwrap(), "test", 1);
    admin
        .run("create database", async |connection| sqlx::query(create).execute(connection).await)
        .await
        .unwrap();
    let (server_url, _) = admin_url.rsplit_once('/').unwrap();
    let postgres = Postgres::open(&format!("{server_url}/{database}").parse().unwrap(), "test", 4);
    postgres.migrate(&sqlx::migrate!()).await.unwrap();

    let state = Redis::open(&server("TEST_STATE_REDIS_URL").parse().unwrap(), "state", &shutdown);
    let cache = Redis::open(&server("TEST_CACHE_REDIS_URL").parse().unwrap(), "cache", &shutdown);
    let lifetimes = Lifetimes { idle: Duration::from_secs(1800), absolute: Duration::from_secs(86_400) };
    let users = Users::new(postgres.clone());
    let limits = hasher::Limits { threads: 1, queue: 64, deadline: Duration::from_secs(60), niceness: 0 };
    let service = AuthService {
        user_cache: UserCache::new(cache, &database, users.clone(), &shutdown),
        users,
        sessions: Sessions::new(state, lifetimes, 50, &shutdown),
        hasher: Hasher::start(limits).unwrap(),
        password_min_length: 15,
    };
    Bench { service, postgres, _shutdown: shutdown }
}

#[tokio::test]
async fn a_user_registers_logs_in_and_out() {
    let Bench { service, .. } = bench().await;
    let user = service.register("Alice", PASSWORD, Some("alice@example.org")).await.unwrap();
    let login = service.login("alice", PASSWORD).await.unwrap();
    assert_eq!(login.user, user);
    let session = service.validate(login.token.encoded()).await.unwrap();
    assert_eq!((session.user_id, session.id), (user.id, login.session.id));
    assert_eq!(service.user_by_id(&user.id.to_string()).await.unwrap(), user);
    assert_eq!(service.user_by_username("ALICE").await.unwrap(), user);

    service.logout(login.token.encoded()).await.unwrap();
    assert!(matches!(service.validate(login.token.encoded()).await, Err(AuthError::SessionInvalid)));
    assert!(matches!(service.logout(login.token.encoded()).await, Err(AuthError::SessionInvalid)));
}

#[tokio::test]
async fn a_username_is_taken_whatever_its_case_and_however_many_ask_at_once() {
    let Bench { service, .. } = bench().await;
    let attempts = ["Alice", "alice", "ALICE", "aLiCe"].map(|name| service.register(name, PASSWORD, None));
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes
            .iter()
            .flat_map(|outcome| outcome.as_ref().err())
            .all(|e| matches!(e, AuthError::UsernameTaken))
    );
}

#[tokio::test]
async fn all_that_is_wrong_with_a_registration_is_told_at_once() {
    let Bench { service, .. } = bench().await;
    let Err(AuthError::InvalidFields(violations)) = service.register("a", "short", Some("nowhere")).await
    else {
        panic!("it was accepted");
    };
    assert_eq!(violations.iter().map(|v| v.field).collect::<Vec<_>>(), ["username", "password", "email"]);
}

#[tokio::test]
async fn login_does_not_reveal_whether_the_username_exists() {
    let Bench { service, .. } = bench().await;
    service.register("alice", PASSWORD, None).await.unwrap();
    let too_long = "x".repeat(5000);
    for (username, password) in [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("", ""),
        ("alice", ""),
        ("alice", too_long.as_str()),
    ] {
        let error = service.login(username, password).await.err().unwrap();
        assert!(matches!(error, AuthError::InvalidCredentials), "{username}: {error}");
    }
}

#[tokio::test]
async fn a_login_that_verified_old_credentials_gets_no_session() {
    let Bench { service, postgres, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None).await.unwrap();
    // The generation moves while the login is between its password check and its answer: it read the old one.
    let stale = service.users.credentials(&Username::parse("alice").unwrap()).await.unwrap().unwrap();
    postgres
        .run("test", async |connection| {
            sqlx::query("UPDATE users SET session_generation = session_generation + 1")
                .execute(connection)
                .await
        })
        .await
        .unwrap();
    let outcome = service.open_session(stale.user, stale.generation).await;
    assert!(matches!(outcome.err(), Some(AuthError::InvalidCredentials)));
    let login = service.login("alice", PASSWORD).await.unwrap();
    assert_eq!(service.validate(login.token.encoded()).await.unwrap().user_id, user.id);
}

#[tokio::test]
async fn unknown_users_are_not_found() {
    let Bench { service, .. } = bench().await;
    for id in ["", "not a uuid", &Uuid::now_v7().to_string()] {
        assert!(matches!(service.user_by_id(id).await, Err(AuthError::UserNotFound)), "{id}");
    }
    assert!(matches!(service.user_by_username("nobody").await, Err(AuthError::UserNotFound)));
    assert!(matches!(service.user_by_username("?").await, Err(AuthError::UserNotFound)));
}

#[test]
fn only_what_can_be_an_address_is_taken_for_one() {
    for valid in ["a@example.org", "first.last+tag@sub.example.org", "\u{fc}mlaut@ex\u{e4}mple.org"] {
        assert!(parse_email(valid).is_ok(), "{valid}");
    }
    for invalid in ["", "@example.org", "a@", "a@nodot", "a b@example.org", "a@.org", "a@example.", "plain"] {
        assert!(parse_email(invalid).is_err(), "{invalid}");
    }
}
