//! What other services have to hear of, in Postgres: written in the transaction of its cause, deleted when it is confirmed.

use chassis::postgres::Postgres;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::error::AuthError;

const BATCH: i64 = 100;

/// The store of events.
#[derive(Debug, Clone)]
pub struct Outbox {
    postgres: Postgres,
}

/// An event that is to be published, perhaps again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub event_id: Uuid,
    /// Who was deleted; there is no other event yet.
    pub user_id: Uuid,
    /// The stream entry that it was last published as.
    pub entry: Option<String>,
}

/// Adds the event that a user was deleted, in the transaction that does it.
pub async fn add_user_deleted(connection: &mut PgConnection, user_id: Uuid) -> sqlx::Result<()> {
    let event_id = Uuid::now_v7();
    sqlx::query!("INSERT INTO outbox (event_id, user_id) VALUES ($1, $2)", event_id, user_id)
        .execute(connection)
        .await?;
    Ok(())
}

impl Outbox {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Takes events whose time has come; each replica gets others. They are due again after a while, which grows to a minute.
    pub async fn take_due(&self) -> Result<Vec<Due>, AuthError> {
        let due = self.postgres.run("outbox.take_due", async |connection| {
            sqlx::query_as!(
                Due,
                "UPDATE outbox SET
                     publications = publications + 1,
                     due_at = now() + (0.75 + random() / 2)
                         * least(interval '4 seconds' * (1 << least(publications, 4)), interval '1 minute')
                 WHERE event_id IN (
                     SELECT event_id FROM outbox WHERE due_at <= now() ORDER BY due_at LIMIT $1
                     FOR UPDATE SKIP LOCKED
                 )
                 RETURNING event_id, user_id, entry",
                BATCH
            )
            .fetch_all(connection)
            .await
        });
        Ok(due.await?)
    }

    /// Notes as which entry an event was published.
    pub async fn note_entry(&self, event_id: Uuid, entry: &str) -> Result<(), AuthError> {
        let noted = self.postgres.run("outbox.note_entry", async |connection| {
            sqlx::query!("UPDATE outbox SET entry = $2 WHERE event_id = $1", event_id, entry)
                .execute(connection)
                .await
        });
        noted.await?;
        Ok(())
    }

    /// Puts events back that could not be published, to be tried again soon.
    pub async fn put_back(&self, event_ids: &[Uuid]) -> Result<(), AuthError> {
        let put_back = self.postgres.run("outbox.put_back", async |connection| {
            sqlx::query!(
                "UPDATE outbox SET publications = greatest(publications - 1, 0), due_at = now() + interval '250 milliseconds'
                 WHERE event_id = ANY($1)",
                event_ids
            )
            .execute(connection)
            .await
        });
        put_back.await?;
        Ok(())
    }

    /// Deletes an event that was carried out. Again: nothing happens.
    pub async fn confirm(&self, event_id: Uuid) -> Result<(), AuthError> {
        let confirmed = self.postgres.run("outbox.confirm", async |connection| {
            sqlx::query!("DELETE FROM outbox WHERE event_id = $1", event_id).execute(connection).await
        });
        confirmed.await?;
        Ok(())
    }
}
