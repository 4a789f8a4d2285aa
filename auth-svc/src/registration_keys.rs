//! Registrations by their idempotency keys, in Postgres: which attempt runs, and whom it has made.
//!
//! An attempt is noted before any work, and completed by the statement that adds its user. One that has died is taken over after a while; should
//! it live on after all, it finds that it may no longer complete and adds nobody.

use std::time::Duration;

use chassis::postgres::{LONGEST_TRANSACTION, Postgres};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::error::AuthError;

/// How long a key is remembered.
const LIFETIME: Duration = Duration::from_secs(86_400);
/// An attempt that is older has died.
const LONGEST_ATTEMPT: Duration = LONGEST_TRANSACTION;

/// One request with a key: what is kept of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    key_hash: [u8; 32],
    fingerprint: [u8; 32],
}

impl Request {
    /// The password is no part of it: nothing here can be tried against a list of passwords.
    pub fn new(key: &str, username: &str, email: Option<&str>) -> Self {
        let fingerprint = Sha256::new()
            .chain_update((key.len() as u64).to_be_bytes())
            .chain_update(key)
            .chain_update((username.len() as u64).to_be_bytes())
            .chain_update(username)
            .chain_update([u8::from(email.is_some())])
            .chain_update(email.unwrap_or_default());
        Self { key_hash: Sha256::digest(key).into(), fingerprint: fingerprint.finalize().into() }
    }
}

/// The right to complete a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub key_hash: [u8; 32],
    pub id: Uuid,
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is the caller's to carry out.
    First(Attempt),
    /// Another attempt runs.
    Running,
    /// The key belongs to another request.
    OtherRequest,
    /// It has made this user.
    Done(Uuid),
}

/// The store of keys.
#[derive(Debug, Clone)]
pub struct RegistrationKeys {
    postgres: Postgres,
}

impl RegistrationKeys {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Notes an attempt at a request, if none runs and none has succeeded.
    pub async fn begin(&self, request: &Request) -> Result<Progress, AuthError> {
        let attempt = Attempt { key_hash: request.key_hash, id: Uuid::now_v7() };
        let (lifetime, longest) = (LIFETIME.as_secs_f64(), LONGEST_ATTEMPT.as_secs_f64());
        let begun = self.postgres.run("registration_keys.begin", async |connection| {
            sqlx::query!(
                "INSERT INTO registration_keys AS known (key_hash, fingerprint, attempt) VALUES ($1, $2, $3)
                 ON CONFLICT (key_hash) DO UPDATE
                 SET fingerprint = excluded.fingerprint, attempt = excluded.attempt, user_id = NULL, begun_at = now()
                 WHERE known.begun_at < now() - make_interval(secs => $4)
                    OR known.user_id IS NULL AND known.begun_at < now() - make_interval(secs => $5)",
                &attempt.key_hash[..],
                &request.fingerprint[..],
                attempt.id,
                lifetime,
                longest
            )
            .execute(connection)
            .await
        });
        if begun.await?.rows_affected() == 1 {
            return Ok(Progress::First(attempt));
        }
        self.progress(request).await
    }

    /// Where a request stands that somebody else has begun.
    async fn progress(&self, request: &Request) -> Result<Progress, AuthError> {
        let row = self.postgres.run("registration_keys.progress", async |connection| {
            sqlx::query!(
                "SELECT fingerprint, user_id FROM registration_keys WHERE key_hash = $1",
                &request.key_hash[..]
            )
            .fetch_optional(connection)
            .await
        });
        Ok(match row.await? {
            Some(row) if row.fingerprint != request.fingerprint => Progress::OtherRequest,
            Some(row) => row.user_id.map_or(Progress::Running, Progress::Done),
            // It failed a moment ago: the next repetition is the first again.
            None => Progress::Running,
        })
    }

    /// Frees the key of an attempt that failed. One that made its user in spite of what its caller was told stays.
    pub async fn release(&self, attempt: &Attempt) -> Result<(), AuthError> {
        let released = self.postgres.run("registration_keys.release", async |connection| {
            sqlx::query!(
                "DELETE FROM registration_keys WHERE key_hash = $1 AND attempt = $2 AND user_id IS NULL",
                &attempt.key_hash[..],
                attempt.id
            )
            .execute(connection)
            .await
        });
        released.await?;
        Ok(())
    }

    /// Forgets keys that are too old to be asked for.
    pub async fn forget_expired(&self) -> Result<u64, AuthError> {
        let lifetime = LIFETIME.as_secs_f64();
        let forgotten = self.postgres.run("registration_keys.forget_expired", async |connection| {
            sqlx::query!(
                "DELETE FROM registration_keys WHERE begun_at < now() - make_interval(secs => $1)",
                lifetime
            )
            .execute(connection)
            .await
        });
        Ok(forgotten.await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_key_username_and_email() {
        let request = Request::new("key", "ada", Some("x"));
        assert_eq!(request, Request::new("key", "ada", Some("x")));
        for other in [
            Request::new("key", "ada", None),
            Request::new("key", "ada", Some("")),
            Request::new("key", "ad", Some("ax")),
            Request::new("keya", "da", Some("x")),
        ] {
            assert_ne!(request.fingerprint, other.fingerprint);
        }
    }
}
