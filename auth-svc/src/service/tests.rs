//! The use cases on a real Postgres, each test with a database of its own, and a real Redis.

use std::time::Duration;

use chassis::postgres::Postgres;
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;

use super::*;
use crate::hasher;
use crate::outbox::Outbox;
use crate::sessions::Lifetimes;
use crate::test_servers::{fresh_database, server};

mod known_clients;
mod registration_once;

mod by_mail;

mod deletion;

const PASSWORD: &str = "correct horse battery staple";

pub(super) const LIFETIMES: Lifetimes =
    Lifetimes { idle: Duration::from_secs(1800), absolute: Duration::from_secs(86_400) };

pub(super) struct Bench {
    pub service: AuthService,
    pub postgres: Postgres,
    pub state: Redis,
    pub cache: Redis,
    /// Begins the names of this test's keys in the cache.
    pub namespace: String,
    pub shutdown: Shutdown,
}

pub(super) fn open_state(shutdown: &Shutdown) -> Redis {
    Redis::open(&server("TEST_STATE_REDIS_URL").parse().unwrap(), "state", shutdown)
}

pub(super) async fn bench() -> Bench {
    let shutdown = Shutdown::new();
    let (postgres, database, _) = fresh_database().await;
    let cache = Redis::open(&server("TEST_CACHE_REDIS_URL").parse().unwrap(), "cache", &shutdown);
    let users = Users::new(postgres.clone());
    let state = open_state(&shutdown);
    let sessions = Sessions::new(state.clone(), LIFETIMES, 50, &shutdown);
    let limits = hasher::Limits { threads: 1, queue: 64, deadline: Duration::from_secs(60), niceness: 0 };
    let service = AuthService {
        user_cache: UserCache::new(cache.clone(), &database, users.clone(), &shutdown),
        users,
        revocations: Revocations::new(postgres.clone(), sessions.clone(), Duration::ZERO),
        erasure: Erasure::new(postgres.clone()),
        relay: Relay::new(Outbox::new(postgres.clone()), state.clone(), &database),
        session_clients: SessionClients::new(postgres.clone()),
        audit: Audit::start(postgres.clone(), &shutdown),
        sessions,
        devices: Devices::new(postgres.clone()),
        mail: Mail {
            queue: mail::Queue::new(postgres.clone()),
            tokens: mail::Tokens::new(postgres.clone()),
            sends: true,
        },
        registration_keys: RegistrationKeys::new(postgres.clone()),
        hasher: Hasher::start(limits, crate::pepper::Peppers::default()).unwrap(),
        password_min_length: 15,
    };
    Bench { service, postgres, state, cache, namespace: database, shutdown }
}

pub(super) fn client() -> Client {
    Client::new("192.0.2.1", "a browser")
}

#[tokio::test]
async fn a_user_registers_logs_in_and_out() {
    let Bench { service, .. } = bench().await;
    let user = service.register("Alice", PASSWORD, Some("alice@example.org"), &client()).await.unwrap();
    let login = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    assert_eq!(login.user, user);
    let session = service.validate(login.token.encoded()).await.unwrap();
    assert_eq!((session.user_id, session.id), (user.id, login.session.id));
    assert_eq!(service.user_by_id(&user.id.to_string()).await.unwrap(), user);
    assert_eq!(service.user_by_username("ALICE").await.unwrap(), user);

    service.logout(login.token.encoded(), &client()).await.unwrap();
    assert!(matches!(service.validate(login.token.encoded()).await, Err(AuthError::SessionInvalid)));
    assert!(matches!(service.logout(login.token.encoded(), &client()).await, Err(AuthError::SessionInvalid)));
}

#[tokio::test]
async fn a_username_is_taken_whatever_its_case_and_however_many_ask_at_once() {
    let Bench { service, .. } = bench().await;
    let client = client();
    let attempts =
        ["Alice", "alice", "ALICE", "aLiCe"].map(|name| service.register(name, PASSWORD, None, &client));
    let outcomes = futures_util::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(
        outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .all(|e| matches!(e, AuthError::UsernameTaken))
    );
}

#[tokio::test]
async fn all_that_is_wrong_with_a_registration_is_told_at_once() {
    let Bench { service, .. } = bench().await;
    let Err(AuthError::InvalidFields(violations)) =
        service.register("a", "short", Some("nowhere"), &client()).await
    else {
        panic!("it was accepted");
    };
    assert_eq!(violations.iter().map(|v| v.field).collect::<Vec<_>>(), ["username", "password", "email"]);
}

#[tokio::test]
async fn login_does_not_reveal_whether_the_username_exists() {
    let Bench { service, .. } = bench().await;
    service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let too_long = "x".repeat(5000);
    for (username, password) in [
        ("alice", "wrong password"),
        ("nobody", PASSWORD),
        ("", ""),
        ("alice", ""),
        ("alice", too_long.as_str()),
    ] {
        let error = service.login(username, password, &client(), "").await.err().unwrap();
        assert!(matches!(error, AuthError::InvalidCredentials), "{username}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_hashed_for_a_session_that_cannot_be_kept() {
    let Bench { mut service, shutdown, .. } = bench().await;
    service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Redis::open(&format!("redis://{nowhere}").parse().unwrap(), "state", &shutdown);
    service.sessions = Sessions::new(away, LIFETIMES, 50, &shutdown);
    for password in [PASSWORD, "not the password"] {
        let outcome = service.login("alice", password, &client(), "").await;
        assert!(matches!(outcome.err(), Some(AuthError::SessionStoreAway(_))), "nobody looked at {password}");
    }
}

#[tokio::test]
async fn a_login_that_verified_old_credentials_gets_no_session() {
    let Bench { service, postgres, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
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
    let outcome = service.open_session(stale.user, stale.generation, &client()).await;
    assert!(matches!(outcome.err(), Some(AuthError::InvalidCredentials)));
    let login = service.login("alice", PASSWORD, &client(), "").await.unwrap();
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

#[tokio::test]
async fn the_list_is_the_sessions_that_authenticate_with_their_clients() {
    let Bench { service, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let id = user.id.to_string();
    let first = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    let second = service.login("alice", PASSWORD, &Client::new("2001:db8::1", "curl"), "").await.unwrap();
    let listed = service.list_sessions(&id).await.unwrap();
    let seen: Vec<_> =
        listed.iter().map(|(session, client)| (session.id, client.clone().unwrap().address)).collect();
    assert!(seen.contains(&(first.session.id, "192.0.2.1".into())), "{seen:?}");
    assert!(seen.contains(&(second.session.id, "2001:db8::1".into())), "{seen:?}");

    service.end_session(&id, &first.session.id.to_string(), &client()).await.unwrap();
    assert!(matches!(service.validate(first.token.encoded()).await, Err(AuthError::SessionInvalid)));
    let again = service.end_session(&id, &first.session.id.to_string(), &client()).await;
    assert!(matches!(again, Err(AuthError::SessionNotFound)));
    let listed = service.list_sessions(&id).await.unwrap();
    assert_eq!(listed.iter().map(|(session, _)| session.id).collect::<Vec<_>>(), [second.session.id]);
}

#[tokio::test]
async fn all_others_end_or_all_of_them() {
    let Bench { service, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let id = user.id.to_string();
    let mut logins = Vec::new();
    for _ in 0..3 {
        logins.push(service.login("alice", PASSWORD, &client(), "").await.unwrap());
    }
    let kept = &logins[1];
    assert_eq!(service.end_sessions(&id, &kept.session.id.to_string(), &client()).await.unwrap(), 2);
    for login in &logins {
        let valid = service.validate(login.token.encoded()).await.is_ok();
        assert_eq!(valid, login.session.id == kept.session.id);
    }
    assert_eq!(service.end_sessions(&id, "", &client()).await.unwrap(), 1);
    assert!(service.validate(kept.token.encoded()).await.is_err());
    assert!(service.list_sessions(&id).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_password_change_ends_every_other_session_and_the_old_password() {
    const NEW: &str = "an even better passphrase";
    let Bench { service, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let id = user.id.to_string();
    let (kept, other) = (
        service.login("alice", PASSWORD, &client(), "").await.unwrap(),
        service.login("alice", PASSWORD, &client(), "").await.unwrap(),
    );
    let kept_id = kept.session.id.to_string();
    let wrong = service.change_password(&id, "not my password", NEW, &kept_id, &client()).await;
    assert!(matches!(wrong, Err(AuthError::WrongPassword)));
    assert!(matches!(
        service.change_password(&id, PASSWORD, "short", &kept_id, &client()).await,
        Err(AuthError::InvalidFields(_))
    ));
    assert!(service.validate(other.token.encoded()).await.is_ok(), "nothing has happened yet");

    service.change_password(&id, PASSWORD, NEW, &kept_id, &client()).await.unwrap();
    assert!(service.validate(kept.token.encoded()).await.is_ok());
    assert!(service.validate(other.token.encoded()).await.is_err());
    assert!(service.login("alice", PASSWORD, &client(), "").await.is_err());
    let new = service.login("alice", NEW, &client(), "").await.unwrap();
    assert!(service.validate(new.token.encoded()).await.is_ok());
    assert!(
        service.validate(kept.token.encoded()).await.is_ok(),
        "a login of the new generation ends nobody"
    );
}

#[tokio::test]
async fn an_order_that_stayed_is_carried_out_and_ends_nothing_newer() {
    let Bench { service, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let old = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    let read = service.users.credentials_by_id(user.id).await.unwrap().unwrap();
    // The password changed, and Redis was not there to be told.
    let generation =
        service.users.change_password(&read, &read.password_hash, None, &client()).await.unwrap().unwrap();
    assert!(service.validate(old.token.encoded()).await.is_ok());
    let sweep = service.revocations.clone().sweep();
    let ended = async {
        while service.validate(old.token.encoded()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = sweep => unreachable!("it goes on"),
        () = ended => {}
    }
    let new = service.login("alice", PASSWORD, &client(), "").await.unwrap();
    service.revocations.carry_out(Revocation { user_id: user.id, generation, kept: None }).await.unwrap();
    assert!(
        service.validate(new.token.encoded()).await.is_ok(),
        "the same order again ends nothing that came after it"
    );
}

#[tokio::test]
async fn an_order_that_overtakes_another_keeps_no_session_that_the_other_ends() {
    let Bench { service, .. } = bench().await;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let (first, second) = (
        service.login("alice", PASSWORD, &client(), "").await.unwrap(),
        service.login("alice", PASSWORD, &client(), "").await.unwrap(),
    );
    // The password changed twice, each time for another session, and Redis is told of the later change first.
    let mut orders = Vec::new();
    for kept in [second.session.id, first.session.id] {
        let read = service.users.credentials_by_id(user.id).await.unwrap().unwrap();
        let changed = service.users.change_password(&read, &read.password_hash, Some(kept), &client()).await;
        let generation = changed.unwrap().unwrap();
        orders.push(Revocation { user_id: user.id, generation, kept: Some(kept) });
    }
    for order in orders.into_iter().rev() {
        service.revocations.carry_out(order).await.unwrap();
        assert!(service.validate(first.token.encoded()).await.is_err(), "the first change ended it");
    }
    assert!(service.validate(second.token.encoded()).await.is_err(), "the second change ended it");
}

#[tokio::test]
async fn a_login_makes_an_outdated_hash_again() {
    let Bench { service, postgres, .. } = bench().await;
    service.register("alice", PASSWORD, None, &client()).await.unwrap();
    // The hash of "password" with more memory and the reference implementation.
    let outdated = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    postgres
        .run("test", async |connection| {
            sqlx::query("UPDATE users SET password_hash = $1").bind(outdated).execute(connection).await
        })
        .await
        .unwrap();
    assert!(service.login("alice", "not the password", &client(), "").await.is_err());
    let hash = async || {
        service.users.credentials(&Username::parse("alice").unwrap()).await.unwrap().unwrap().password_hash
    };
    assert_eq!(hash().await, outdated);
    service.login("alice", "password", &client(), "").await.unwrap();
    assert!(hash().await.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    service.login("alice", "password", &client(), "").await.unwrap();
}

#[tokio::test]
async fn a_common_password_is_refused_with_the_reason() {
    let Bench { service, .. } = bench().await;
    let Err(AuthError::InvalidFields(violations)) =
        service.register("alice", "congratulations", None, &client()).await
    else {
        panic!("it was accepted");
    };
    assert!(violations[0].field == "password" && violations[0].description.contains("everybody tries"));
}
