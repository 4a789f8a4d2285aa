//! The one transaction that removes a person from Postgres, and leaves behind what has to happen elsewhere because of it.

use chassis::postgres::Postgres;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use crate::audit::Audit;
use crate::error::AuthError;
use crate::outbox;
use crate::revocations::Revocation;
use crate::users::Credentials;

/// Removes people.
#[derive(Debug, Clone)]
pub struct Erasure {
    postgres: Postgres,
}

impl Erasure {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Removes a user whose credentials are still those that were read before, and orders the end of all sessions. `None` when they
    /// are not, or somebody else was quicker.
    pub async fn erase(&self, read: &Credentials) -> Result<Option<Revocation>, AuthError> {
        let (user_id, generation) = (read.user.id, read.generation);
        let erased = self.postgres.run("erasure.erase", async |connection| {
            let mut transaction = connection.begin().await?;
            let deleted = sqlx::query!(
                "DELETE FROM users WHERE id = $1 AND session_generation = $2 RETURNING username_key, email",
                user_id,
                generation
            );
            let Some(deleted) = deleted.fetch_optional(&mut *transaction).await? else { return Ok(None) };
            forget_mail_requests(&mut transaction, &deleted.username_key, deleted.email.as_deref()).await?;
            // Logins that read the user before are of this generation, or of none in Redis.
            let order = Revocation { user_id, generation: generation.saturating_add(1), kept: None };
            order_end(&mut transaction, &order).await?;
            outbox::add_user_deleted(&mut transaction, user_id).await?;
            Audit::erase(&mut transaction, user_id).await?;
            transaction.commit().await?;
            Ok(Some(order))
        });
        Ok(erased.await?)
    }
}

/// Drops requests for mails that name the user. One that is just being looked up is gone in a moment anyway; one for an address that
/// another user has as well is that one's.
async fn forget_mail_requests(
    connection: &mut PgConnection,
    username_key: &str,
    email: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM mail_requests WHERE id IN (
             SELECT id FROM mail_requests
             WHERE username_key = $1
                OR (lower(email) = lower($2)
                    AND NOT EXISTS (SELECT 1 FROM users WHERE lower(users.email) = lower($2)))
             FOR UPDATE SKIP LOCKED
         )",
        username_key,
        email
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// To be carried out twice, for a session may appear in Redis until every login that read the user has ended.
async fn order_end(connection: &mut PgConnection, order: &Revocation) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO session_revocations (user_id, generation, passes) VALUES ($1, $2, 2)
         ON CONFLICT (user_id) DO UPDATE
         SET generation = excluded.generation, kept_session_id = NULL, passes = 2, due_at = now()",
        order.user_id,
        order.generation
    )
    .execute(connection)
    .await?;
    Ok(())
}
