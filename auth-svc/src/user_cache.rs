//! Users in the read-through cache: who is signed in can be told while Postgres is away.

use std::time::Duration;

use bytes::Bytes;
use chassis::read_through::{Announced, Cached, ReadThrough, Settings};
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::AuthError;
use crate::users::{User, Users};

/// As long as a session may live, so that a user who is signed in stays known when the database goes away.
const TTL: Duration = Duration::from_secs(24 * 60 * 60);
const NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Users by their id, read through the cache.
#[derive(Clone)]
pub struct UserCache {
    cache: ReadThrough<User, AuthError>,
    users: Users,
}

impl UserCache {
    /// `namespace` begins every key.
    pub fn new(redis: Redis, namespace: &str, users: Users, shutdown: &Shutdown) -> Self {
        let settings =
            Settings { name: "users", namespace: namespace.to_owned(), ttl: TTL, negative_ttl: NEGATIVE_TTL };
        Self { cache: ReadThrough::new(redis, settings, shutdown), users }
    }

    pub async fn by_id(&self, id: Uuid) -> Result<Option<User>, AuthError> {
        let users = self.users.clone();
        let load = move || {
            let users = users.clone();
            async move { users.by_id(id).await }
        };
        self.cache.read(&id.to_string(), load).await
    }

    /// Tells every replica that a user is about to change. To be called before the change is committed.
    ///
    /// # Errors
    /// The cache cannot be told: the change must not be made.
    pub async fn announce(&self, id: Uuid) -> Result<Announced<User>, AuthError> {
        self.cache.announce(&id.to_string()).await.map_err(AuthError::CacheAway)
    }

    /// Reads a user who signs in, so that the first question about them needs no database, even if that goes away with the answer to the
    /// login.
    pub async fn warm(&self, id: Uuid) {
        // A failure is told to whoever asks later.
        let _ = self.by_id(id).await;
    }
}

/// How a user lies in the cache.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(bytes = "bytes", tag = "1")]
    id: Bytes,
    #[prost(string, tag = "2")]
    username: String,
    #[prost(string, optional, tag = "3")]
    email: Option<String>,
    /// Microseconds since 1970, as exact as Postgres has it.
    #[prost(int64, tag = "4")]
    created_at: i64,
    #[prost(bool, tag = "5")]
    email_verified: bool,
}

impl Cached for User {
    fn encode(&self, buffer: &mut Vec<u8>) {
        let entry = Entry {
            id: Bytes::copy_from_slice(self.id.as_bytes()),
            username: self.username.clone(),
            email: self.email.clone(),
            email_verified: self.email_verified,
            created_at: (self.created_at.unix_timestamp_nanos() / 1000) as i64,
        };
        entry.encode_raw(buffer);
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let entry = Entry::decode(bytes).ok()?;
        Some(Self {
            id: Uuid::from_slice(&entry.id).ok()?,
            username: entry.username,
            email: entry.email,
            email_verified: entry.email_verified,
            created_at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(entry.created_at) * 1000)
                .ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_survives_the_round_trip() {
        let user = User {
            id: Uuid::now_v7(),
            username: "Alice".into(),
            email: Some("alice@example.org".into()),
            email_verified: true,
            created_at: time::macros::datetime!(2026-01-02 03:04:05.678901 UTC),
        };
        let mut buffer = Vec::new();
        Cached::encode(&user, &mut buffer);
        assert_eq!(<User as Cached>::decode(buffer.into()), Some(user));
        assert_eq!(<User as Cached>::decode(Bytes::from_static(b"\xff\xff")), None);
    }
}
