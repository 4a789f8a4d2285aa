//! Users in Postgres: the truth about names, passwords and session generations.

use chassis::postgres::Postgres;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::Event;
use crate::error::AuthError;
use crate::registration_keys::Attempt;
use crate::session_clients::Client;
use crate::token::SessionId;
use crate::username::Username;

/// What others may know of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub username: String,
    pub email: Option<String>,
    /// Whether what was sent to the address came back.
    pub email_verified: bool,
    pub created_at: OffsetDateTime,
}

/// A user to be.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    pub id: Uuid,
    pub username: &'a Username,
    pub email: Option<&'a str>,
    /// In PHC string format.
    pub password_hash: &'a str,
    /// Whether a mail to the address, if there is one, is queued along with it.
    pub verify: bool,
}

/// What a login needs to know of a user.
#[derive(Clone)]
pub struct Credentials {
    pub user: User,
    /// In PHC string format.
    pub password_hash: String,
    /// The session generation when the row was read.
    pub generation: i32,
}

/// The store of users.
#[derive(Debug, Clone)]
pub struct Users {
    postgres: Postgres,
}

impl Users {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Adds a user, and tells the audit trail. An attempt at a request with a key is completed by it.
    ///
    /// # Errors
    /// `UsernameTaken` when the case-folded name is in use, `KeyInUse` when another attempt has taken over.
    pub async fn insert(
        &self,
        new: NewUser<'_>,
        client: &Client,
        attempt: Option<&Attempt>,
    ) -> Result<User, AuthError> {
        let NewUser { id, username, email, password_hash, verify } = new;
        let (shown, key) = (username.as_shown(), username.key());
        let (request, attempt) = attempt.map(|attempt| (&attempt.key_hash[..], attempt.id)).unzip();
        let inserted = self.postgres.run("users.insert", async |connection| {
            sqlx::query_as!(
                User,
                r#"WITH completed AS (
                         UPDATE registration_keys SET user_id = $1
                         WHERE key_hash = $10 AND attempt = $11 AND user_id IS NULL
                         RETURNING attempt
                     ), added AS (
                         INSERT INTO users (id, username, username_key, email, password_hash)
                         SELECT $1, $2, $3, $4, $5 WHERE $11::uuid IS NULL OR EXISTS (SELECT FROM completed)
                         RETURNING id, username, email, email_verified, created_at
                     ), queued AS (
                         INSERT INTO mails (user_id, purpose)
                         SELECT id, 'EMAIL_VERIFICATION' FROM added WHERE email IS NOT NULL AND $9
                     ), told AS MATERIALIZED (
                         SELECT audit_append($6, id, NULL, $7, $8) FROM added
                     )
                     SELECT id, username, email, email_verified, created_at FROM added, told"#,
                id,
                shown,
                key,
                email,
                password_hash,
                Event::Registered.name(),
                client.address,
                client.user_agent,
                verify,
                request,
                attempt
            )
            .fetch_optional(connection)
            .await
        });
        let inserted = inserted.await.map_err(|error| {
            match error.as_database_error().and_then(|error| error.constraint()) {
                Some("users_username_key") => AuthError::UsernameTaken,
                _ => error.into(),
            }
        });
        inserted?.ok_or(AuthError::KeyInUse)
    }

    pub async fn username_exists(&self, username: &Username) -> Result<bool, AuthError> {
        let key = username.key();
        let exists = self.postgres.run("users.username_exists", async |connection| {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT 1 FROM users WHERE username_key = $1) AS "exists!""#,
                key
            )
            .fetch_one(connection)
            .await
        });
        Ok(exists.await?)
    }

    pub async fn credentials(&self, username: &Username) -> Result<Option<Credentials>, AuthError> {
        let key = username.key();
        let row = self.postgres.run("users.credentials", async |connection| {
            sqlx::query!(
                "SELECT id, username, email, email_verified, created_at, password_hash, session_generation
                     FROM users WHERE username_key = $1",
                key
            )
            .fetch_optional(connection)
            .await
        });
        Ok(row.await?.map(|row| Credentials {
            user: User {
                id: row.id,
                username: row.username,
                email: row.email,
                email_verified: row.email_verified,
                created_at: row.created_at,
            },
            password_hash: row.password_hash,
            generation: row.session_generation,
        }))
    }

    pub async fn credentials_by_id(&self, id: Uuid) -> Result<Option<Credentials>, AuthError> {
        let row = self.postgres.run("users.credentials_by_id", async |connection| {
            sqlx::query!(
                "SELECT id, username, email, email_verified, created_at, password_hash, session_generation
                 FROM users WHERE id = $1",
                id
            )
            .fetch_optional(connection)
            .await
        });
        Ok(row.await?.map(|row| Credentials {
            user: User {
                id: row.id,
                username: row.username,
                email: row.email,
                email_verified: row.email_verified,
                created_at: row.created_at,
            },
            password_hash: row.password_hash,
            generation: row.session_generation,
        }))
    }

    /// Replaces the hash of a password that stays, unless the password has changed since.
    pub async fn replace_hash(&self, read: &Credentials, new_hash: &str) -> Result<(), AuthError> {
        let (id, old_hash) = (read.user.id, read.password_hash.as_str());
        let replaced = self.postgres.run("users.replace_hash", async |connection| {
            sqlx::query!(
                "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2",
                id,
                old_hash,
                new_hash
            )
            .execute(connection)
            .await
        });
        replaced.await?;
        Ok(())
    }

    /// Sets another password, moves the session generation on, orders the end of all sessions but `kept`, and tells the audit trail, at
    /// once. `None` when the credentials are no longer those that were read before.
    pub async fn change_password(
        &self,
        read: &Credentials,
        new_hash: &str,
        kept: Option<SessionId>,
        client: &Client,
    ) -> Result<Option<i32>, AuthError> {
        let (id, generation, old_hash) = (read.user.id, read.generation, read.password_hash.as_str());
        let kept = kept.map(|id| id.0.to_vec());
        let generation = self.postgres.run("users.change_password", async |connection| {
            sqlx::query_scalar!(
                "WITH changed AS (
                     UPDATE users SET password_hash = $4, session_generation = session_generation + 1
                     WHERE id = $1 AND session_generation = $2 AND password_hash = $3
                     RETURNING id, session_generation
                 ), ordered AS (
                     INSERT INTO session_revocations (user_id, generation, kept_session_id)
                     SELECT id, session_generation, $5 FROM changed
                     ON CONFLICT (user_id) DO UPDATE
                     SET generation = excluded.generation, kept_session_id = excluded.kept_session_id
                     RETURNING user_id, generation, kept_session_id
                 ), told AS MATERIALIZED (
                     SELECT audit_append($6, user_id, kept_session_id, $7, $8) FROM ordered
                 )
                 SELECT generation FROM ordered, told",
                id,
                generation,
                old_hash,
                new_hash,
                kept,
                Event::PasswordChanged.name(),
                client.address,
                client.user_agent
            )
            .fetch_optional(connection)
            .await
        });
        Ok(generation.await?)
    }

    pub async fn by_id(&self, id: Uuid) -> Result<Option<User>, AuthError> {
        let user = self.postgres.run("users.by_id", async |connection| {
            sqlx::query_as!(
                User,
                "SELECT id, username, email, email_verified, created_at FROM users WHERE id = $1",
                id
            )
            .fetch_optional(connection)
            .await
        });
        Ok(user.await?)
    }

    pub async fn by_username(&self, username: &Username) -> Result<Option<User>, AuthError> {
        let key = username.key();
        let user = self.postgres.run("users.by_username", async |connection| {
            sqlx::query_as!(
                User,
                "SELECT id, username, email, email_verified, created_at FROM users WHERE username_key = $1",
                key
            )
            .fetch_optional(connection)
            .await
        });
        Ok(user.await?)
    }
}
