//! Devices that have signed in as a user before, in Postgres. A device opens nothing: it tells the user's own logins from
//! those of strangers, for as long as strangers are refused.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::postgres::Postgres;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::AuthError;
use crate::username::Username;

/// How long a device is remembered from its last login on.
pub const LIFETIME: Duration = Duration::from_secs(180 * 86_400);
/// Devices of one user at most. Beyond that those go first that were never shown again.
const PER_USER: i64 = 50;
const TOKEN_BYTES: usize = 32;

/// 256 random bits in URL-safe base64 without padding. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceToken(String);

impl DeviceToken {
    fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// `None` for what cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        // More characters would not fit, and fewer leave bytes.
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (decoded == TOKEN_BYTES).then(|| Self(text.to_owned()))
    }

    /// What is told to the device.
    pub fn encoded(&self) -> &str {
        &self.0
    }

    /// What is kept of it, and names it.
    pub fn hash(&self) -> DeviceId {
        DeviceId(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceToken").finish_non_exhaustive()
    }
}

/// The SHA-256 of a token: names a device, and cannot be shown in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceId([u8; 32]);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "it consists of times, which are named like all others")]
pub struct Device {
    pub created_at: OffsetDateTime,
    /// When it was last shown.
    pub seen_at: Option<OffsetDateTime>,
    pub expires_at: OffsetDateTime,
}

/// The store of devices.
#[derive(Debug, Clone)]
pub struct Devices {
    postgres: Postgres,
}

impl Devices {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Whether a device has signed in as this user before.
    pub async fn is_known(&self, username: &Username, device: DeviceId) -> Result<bool, AuthError> {
        let key = username.key();
        let known = self.postgres.run("devices.is_known", async |connection| {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (
                       SELECT 1 FROM known_devices JOIN users ON users.id = known_devices.user_id
                       WHERE token_hash = $1 AND username_key = $2 AND expires_at > now()
                   ) AS "known!""#,
                &device.0[..],
                key
            )
            .fetch_one(connection)
            .await
        });
        Ok(known.await?)
    }

    /// Notes a login from a device, and tells the token that it is to show the next time: the one that it has shown, or a new one when
    /// that is not one of this user's.
    pub async fn remember(
        &self,
        user_id: Uuid,
        shown: Option<DeviceToken>,
    ) -> Result<DeviceToken, AuthError> {
        if let Some(shown) = shown
            && self.renew(user_id, shown.hash()).await?
        {
            return Ok(shown);
        }
        let token =
            DeviceToken::generate().map_err(|error| AuthError::Internal(std::sync::Arc::new(error)))?;
        self.insert(user_id, token.hash()).await?;
        Ok(token)
    }

    async fn renew(&self, user_id: Uuid, device: DeviceId) -> Result<bool, AuthError> {
        let lifetime = LIFETIME.as_secs_f64();
        let renewed = self.postgres.run("devices.renew", async |connection| {
            sqlx::query!(
                "UPDATE known_devices SET seen_at = now(), expires_at = now() + make_interval(secs => $3)
                 WHERE token_hash = $1 AND user_id = $2 AND expires_at > now()",
                &device.0[..],
                user_id,
                lifetime
            )
            .execute(connection)
            .await
        });
        Ok(renewed.await?.rows_affected() == 1)
    }

    /// A user who is gone gets none, which is no failure.
    async fn insert(&self, user_id: Uuid, device: DeviceId) -> Result<(), AuthError> {
        let lifetime = LIFETIME.as_secs_f64();
        let inserted = self.postgres.run("devices.insert", async |connection| {
            sqlx::query!(
                "WITH surplus AS (
                     DELETE FROM known_devices WHERE token_hash IN (
                         SELECT token_hash FROM known_devices WHERE user_id = $2
                         ORDER BY seen_at DESC NULLS LAST, created_at DESC OFFSET $4
                     )
                 )
                 INSERT INTO known_devices (token_hash, user_id, expires_at)
                 SELECT $1, id, now() + make_interval(secs => $3) FROM users WHERE id = $2",
                &device.0[..],
                user_id,
                lifetime,
                PER_USER - 1
            )
            .execute(connection)
            .await
        });
        inserted.await?;
        Ok(())
    }

    /// The devices of a user, the newest first.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Device>, AuthError> {
        let devices = self.postgres.run("devices.of_user", async |connection| {
            sqlx::query_as!(
                Device,
                "SELECT created_at, seen_at, expires_at FROM known_devices WHERE user_id = $1
                 ORDER BY created_at DESC",
                user_id
            )
            .fetch_all(connection)
            .await
        });
        Ok(devices.await?)
    }

    /// Forgets devices that were not seen for too long.
    pub async fn forget_expired(&self) -> Result<u64, AuthError> {
        let forgotten = self.postgres.run("devices.forget_expired", async |connection| {
            sqlx::query!("DELETE FROM known_devices WHERE expires_at <= now()").execute(connection).await
        });
        Ok(forgotten.await?.rows_affected())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_round_trip_and_shows_nothing() {
        let token = DeviceToken::generate().unwrap();
        assert_eq!(DeviceToken::parse(token.encoded()), Some(token.clone()));
        assert_ne!(token, DeviceToken::generate().unwrap());
        assert!(!format!("{token:?}").contains(token.encoded()));
        let padded = format!("{}=", token.encoded());
        let doubled = token.encoded().repeat(2);
        for text in ["", "short", &padded, &doubled, &"!".repeat(43)] {
            assert_eq!(DeviceToken::parse(text), None, "{text}");
        }
    }
}
