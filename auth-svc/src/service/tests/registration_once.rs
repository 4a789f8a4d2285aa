//! Registrations with an idempotency key.

use super::*;
use crate::registration_keys::{Progress, Request};

async fn once(service: &AuthService, key: &str, name: &str, password: &str) -> Result<Registered, AuthError> {
    service.register_once(key, name, password, Some("a@example.org"), &client()).await
}

async fn count(postgres: &Postgres, table: &str) -> i64 {
    let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    postgres
        .run("test", async |connection| sqlx::query_scalar(count).fetch_one(connection).await)
        .await
        .unwrap()
}

/// Makes every key look as if it had been begun so many seconds earlier.
async fn age(postgres: &Postgres, seconds: u32) {
    let age = format!("UPDATE registration_keys SET begun_at = begun_at - interval '{seconds} s'");
    let age = sqlx::AssertSqlSafe(age);
    postgres.run("test", async |connection| sqlx::query(age).execute(connection).await).await.unwrap();
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_makes_nobody() {
    let Bench { service, postgres, .. } = bench().await;
    let first = once(&service, "key", "alice", PASSWORD).await.unwrap();
    assert!(!first.replayed);
    let again = once(&service, "key", "alice", PASSWORD).await.unwrap();
    assert!(again.replayed);
    assert_eq!((first.user, count(&postgres, "users").await), (again.user, 1));
    let without = service.register_once("", "alice", PASSWORD, None, &client()).await;
    assert!(matches!(without, Err(AuthError::UsernameTaken)));
    let other_key = once(&service, "other", "alice", PASSWORD).await;
    assert!(matches!(other_key, Err(AuthError::UsernameTaken)));
}

#[tokio::test]
async fn a_key_is_not_for_other_fields_and_the_password_is_one() {
    let Bench { service, postgres, .. } = bench().await;
    once(&service, "key", "alice", PASSWORD).await.unwrap();
    for (name, password) in [("bob", PASSWORD), ("Alice", PASSWORD), ("alice", "another long passphrase")] {
        let outcome = once(&service, "key", name, password).await;
        assert!(matches!(outcome, Err(AuthError::KeyReused)), "{name}");
    }
    let no_email = service.register_once("key", "alice", PASSWORD, None, &client()).await;
    assert!(matches!(no_email, Err(AuthError::KeyReused)));
    assert_eq!(count(&postgres, "users").await, 1);
}

#[tokio::test]
async fn a_failed_attempt_leaves_its_key_free() {
    let Bench { service, postgres, .. } = bench().await;
    service.register("alice", PASSWORD, None, &client()).await.unwrap();
    assert!(matches!(once(&service, "key", "alice", PASSWORD).await, Err(AuthError::UsernameTaken)));
    assert!(matches!(once(&service, "key", "a", "short").await, Err(AuthError::InvalidFields(_))));
    assert!(matches!(
        once(&service, "key", "bob", "congratulations").await,
        Err(AuthError::InvalidFields(_))
    ));
    assert_eq!(count(&postgres, "registration_keys").await, 0);
    assert!(!once(&service, "key", "bob", PASSWORD).await.unwrap().replayed);
}

#[tokio::test]
async fn of_many_at_once_one_makes_the_user() {
    let Bench { service, postgres, .. } = bench().await;
    let attempts = (0..20).map(|_| once(&service, "key", "alice", PASSWORD));
    let outcomes = futures_util::future::join_all(attempts).await;
    let made = outcomes.iter().filter(|outcome| outcome.as_ref().is_ok_and(|made| !made.replayed)).count();
    assert_eq!((made, count(&postgres, "users").await), (1, 1));
    let others = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    for error in others {
        assert!(matches!(error, AuthError::KeyInUse), "{error}");
    }
}

#[tokio::test]
async fn an_attempt_that_died_is_taken_over_and_cannot_complete_any_more() {
    let Bench { service, postgres, .. } = bench().await;
    let request = Request::new("key", "alice", Some("a@example.org"));
    let Progress::First(dead) = service.registration_keys.begin(&request).await.unwrap() else {
        panic!("it is the first");
    };
    assert!(matches!(once(&service, "key", "alice", PASSWORD).await, Err(AuthError::KeyInUse)));
    assert!(matches!(once(&service, "key", "bob", PASSWORD).await, Err(AuthError::KeyReused)));
    age(&postgres, 11).await;
    let Progress::First(next) = service.registration_keys.begin(&request).await.unwrap() else {
        panic!("it is taken over");
    };
    // It lives after all, and comes to its end late.
    let late = service.register_as("alice", PASSWORD, None, &client(), Some(&dead)).await;
    assert!(matches!(late, Err(AuthError::KeyInUse)));
    assert_eq!((count(&postgres, "users").await, count(&postgres, "registration_keys").await), (0, 1));
    service.registration_keys.release(&dead).await.unwrap();
    service.register_as("alice", PASSWORD, None, &client(), Some(&next)).await.unwrap();
    service.registration_keys.release(&next).await.unwrap();
    assert!(once(&service, "key", "alice", PASSWORD).await.unwrap().replayed, "what is done stays done");
}

#[tokio::test]
async fn keys_are_kept_for_a_day_without_secrets_and_go_with_their_user() {
    let Bench { service, postgres, .. } = bench().await;
    once(&service, "a key of mine", "alice", PASSWORD).await.unwrap();
    let stored: String = postgres
        .run("test", async |connection| {
            sqlx::query_scalar("SELECT registration_keys::text FROM registration_keys")
                .fetch_one(connection)
                .await
        })
        .await
        .unwrap();
    for word in ["a key of mine", "alice", "a@example.org", PASSWORD] {
        let hex: Vec<_> = word.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!stored.contains(word) && !stored.contains(&hex.concat()), "{stored}");
    }
    age(&postgres, 86_000).await;
    assert_eq!(service.registration_keys.forget_expired().await.unwrap(), 0);
    assert!(once(&service, "a key of mine", "alice", PASSWORD).await.unwrap().replayed);
    age(&postgres, 1_000).await;
    assert!(!once(&service, "a key of mine", "bob", PASSWORD).await.unwrap().replayed, "it is forgotten");
    age(&postgres, 87_000).await;
    assert_eq!(service.registration_keys.forget_expired().await.unwrap(), 1);

    once(&service, "key", "carol", PASSWORD).await.unwrap();
    let delete = "DELETE FROM users WHERE username = 'carol'";
    postgres.run("test", async |connection| sqlx::query(delete).execute(connection).await).await.unwrap();
    assert_eq!(count(&postgres, "registration_keys").await, 0);
}
