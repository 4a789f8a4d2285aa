//! Tokens that came back, in Postgres. A token is deleted by the statement that does what it is good for, so that it does so once.

use chassis::postgres::Postgres;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MailToken, Purpose};
use crate::audit::Event;
use crate::error::AuthError;
use crate::revocations::Revocation;
use crate::session_clients::Client;
use crate::users::User;

/// The store of tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    postgres: Postgres,
}

/// Whose token it is, while it is good.
#[derive(Clone)]
pub struct Pending {
    pub user_id: Uuid,
    pub username: String,
    /// Whether the address that the token went to is verified already.
    pub email_verified: bool,
}

/// That a token is out, but not which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub purpose: String,
    /// Where it went.
    pub email: String,
    pub issued_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
}

impl Tokens {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Looks at a token without using it up. `None` when it is unknown, used, expired, or overtaken: the address has changed since, or, of a
    /// reset, the password has.
    pub async fn pending(&self, token: &MailToken, purpose: Purpose) -> Result<Option<Pending>, AuthError> {
        let (digest, name) = (token.digest().to_vec(), purpose.name());
        let is_reset = purpose == Purpose::PasswordReset;
        let pending = self.postgres.run("mail_tokens.pending", async |connection| {
            sqlx::query_as!(
                Pending,
                "SELECT users.id AS user_id, users.username, users.email_verified
                 FROM mail_tokens AS token JOIN users ON users.id = token.user_id AND users.email = token.email
                 WHERE token.digest = $1 AND token.purpose = $2 AND token.expires_at > now()
                     AND (users.session_generation = token.session_generation OR NOT $3)",
                digest,
                name,
                is_reset
            )
            .fetch_optional(connection)
            .await
        });
        Ok(pending.await?)
    }

    /// Sets another password, moves the session generation on, orders the end of all sessions and tells the audit trail, at once. With
    /// `verify` the address that the token went to is verified by it. `None` when the token is not good any more.
    pub async fn reset_password(
        &self,
        token: &MailToken,
        new_hash: &str,
        verify: bool,
        client: &Client,
    ) -> Result<Option<(Revocation, User)>, AuthError> {
        let digest = token.digest().to_vec();
        let user = self.postgres.run("mail_tokens.reset_password", async |connection| {
            sqlx::query!(
                r#"WITH used AS (
                     DELETE FROM mail_tokens WHERE digest = $1 AND purpose = 'PASSWORD_RESET' AND expires_at > now()
                     RETURNING user_id, email, session_generation
                 ), changed AS (
                     UPDATE users SET password_hash = $2, session_generation = users.session_generation + 1,
                         email_verified = users.email_verified OR $3
                     FROM used
                     WHERE users.id = used.user_id AND users.email = used.email
                         AND users.session_generation = used.session_generation
                     RETURNING users.id, users.username, users.email, users.email_verified, users.created_at,
                         users.session_generation
                 ), ordered AS (
                     INSERT INTO session_revocations (user_id, generation, kept_session_id)
                     SELECT id, session_generation, NULL FROM changed
                     ON CONFLICT (user_id) DO UPDATE SET generation = excluded.generation, kept_session_id = NULL
                     RETURNING user_id
                 ), told AS MATERIALIZED (
                     SELECT audit_append($4, user_id, NULL, $5, $6) FROM ordered
                 )
                 SELECT id, username, email, email_verified, created_at, session_generation FROM changed, told"#,
                digest,
                new_hash,
                verify,
                Event::PasswordReset.name(),
                client.address,
                client.user_agent
            )
            .fetch_optional(connection)
            .await
        });
        Ok(user.await?.map(|row| {
            let order = Revocation { user_id: row.id, generation: row.session_generation, kept: None };
            let user = User {
                id: row.id,
                username: row.username,
                email: row.email,
                email_verified: row.email_verified,
                created_at: row.created_at,
            };
            (order, user)
        }))
    }

    /// Verifies the address that the token went to, and tells the audit trail. `None` when the token is not good any more.
    pub async fn verify_email(&self, token: &MailToken, client: &Client) -> Result<Option<User>, AuthError> {
        let digest = token.digest().to_vec();
        let user = self.postgres.run("mail_tokens.verify_email", async |connection| {
            sqlx::query_as!(
                User,
                "WITH used AS (
                     DELETE FROM mail_tokens WHERE digest = $1 AND purpose = 'EMAIL_VERIFICATION' AND expires_at > now()
                     RETURNING user_id, email
                 ), changed AS (
                     UPDATE users SET email_verified = true FROM used
                     WHERE users.id = used.user_id AND users.email = used.email
                     RETURNING users.id, users.username, users.email, users.email_verified, users.created_at
                 ), told AS MATERIALIZED (
                     SELECT audit_append($2, id, NULL, $3, $4) FROM changed
                 )
                 SELECT id, username, email, email_verified, created_at FROM changed, told",
                digest,
                Event::EmailVerified.name(),
                client.address,
                client.user_agent
            )
            .fetch_optional(connection)
            .await
        });
        Ok(user.await?)
    }

    /// The tokens of a user that are out.
    pub async fn of_user(&self, user_id: Uuid) -> Result<Vec<Sent>, AuthError> {
        let sent = self.postgres.run("mail_tokens.of_user", async |connection| {
            sqlx::query_as!(
                Sent,
                "SELECT purpose, email, issued_at, expires_at FROM mail_tokens WHERE user_id = $1 ORDER BY issued_at DESC",
                user_id
            )
            .fetch_all(connection)
            .await
        });
        Ok(sent.await?)
    }

    /// Forgets tokens that expired an hour ago: for so long they are counted.
    pub async fn forget_expired(&self) -> Result<(), AuthError> {
        let forgotten = self.postgres.run("mail_tokens.forget_expired", async |connection| {
            sqlx::query!("DELETE FROM mail_tokens WHERE expires_at < now() - interval '1 hour'")
                .execute(connection)
                .await
        });
        forgotten.await?;
        Ok(())
    }
}
