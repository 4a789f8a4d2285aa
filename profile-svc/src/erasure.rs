//! The end of a profile in Postgres: each event carried out once, and nothing made again afterwards. Knows no cache and no stream.

use std::time::Duration;

use chassis::postgres::Postgres;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::error::ProfileError;
use crate::profile::UserId;

/// How long events and deleted users are remembered: longer than any request is under way, or any event comes again.
const MEMORY: &str = "1 day";
/// How often a replica forgets what is older, give or take a half.
const CLEANING_INTERVAL: Duration = Duration::from_secs(1800);

/// Removes profiles.
#[derive(Debug, Clone)]
pub struct Erasure {
    postgres: Postgres,
}

/// What an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erased {
    /// The user is gone, and with them this case-folded username, if they had a profile.
    Now { username_key: Option<String> },
    /// It had been carried out before.
    Before,
}

impl Erasure {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Removes the profile of a user and keeps it from being made again, once for each event.
    pub async fn erase(&self, event_id: Uuid, id: UserId) -> Result<Erased, ProfileError> {
        let erased = self.postgres.run("erasure.erase", async |connection: &mut PgConnection| {
            let mut transaction = connection.begin().await?;
            let received =
                sqlx::query!("INSERT INTO inbox (event_id) VALUES ($1) ON CONFLICT DO NOTHING", event_id);
            if received.execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(Erased::Before);
            }
            lock(&mut transaction, id).await?;
            sqlx::query!(
                "INSERT INTO tombstones (user_hash) VALUES (sha256(uuid_send($1))) ON CONFLICT DO NOTHING",
                id.0
            )
            .execute(&mut *transaction)
            .await?;
            let username_key =
                sqlx::query_scalar!("DELETE FROM profiles WHERE user_id = $1 RETURNING username_key", id.0)
                    .fetch_optional(&mut *transaction)
                    .await?;
            transaction.commit().await?;
            Ok(Erased::Now { username_key })
        });
        Ok(erased.await?)
    }

    /// Forgets what can no longer matter, for as long as the process runs.
    pub async fn clean(self) {
        loop {
            tokio::time::sleep(CLEANING_INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
            if let Err(error) = self.forget_old().await {
                tracing::debug!("old events are kept for now: {error}");
            }
        }
    }

    async fn forget_old(&self) -> Result<(), ProfileError> {
        let forgotten = self.postgres.run("erasure.forget", async |connection: &mut PgConnection| {
            let before = sqlx::query!(
                "WITH old AS (DELETE FROM inbox WHERE handled_at < now() - $1::text::interval)
                 DELETE FROM tombstones WHERE set_at < now() - $1::text::interval",
                MEMORY
            );
            before.execute(connection).await
        });
        forgotten.await?;
        Ok(())
    }
}

/// Lets one transaction at a time make or remove the profile of a user, to the end of it: neither sees half of the other. To be
/// followed by statements of their own, for a statement sees what was there when it began.
pub async fn lock(transaction: &mut PgConnection, id: UserId) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))", id.0)
        .execute(transaction)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
