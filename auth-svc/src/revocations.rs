//! Ends of sessions that are ordered in Postgres, in the transaction of their cause, and carried out in Redis.
//!
//! Whoever caused one carries it out before answering. When Redis does not answer at that moment the caller is told so, the order
//! stays, and this replica tries again until it is done. Every replica also looks now and then for what others left behind when
//! they died. Doing one twice, or late, ends nothing that is newer than the order.
//!
//! The end of a deleted user's sessions is ordered twice: Redis keeps no generation of a user without sessions, so a login that read
//! the user before may still open one. It takes that back by itself when Postgres knows no such user; if it dies or is
//! given up before that, the second pass removes what stayed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::postgres::Postgres;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::error::AuthError;
use crate::session_clients::SessionClients;
use crate::sessions::{self, Sessions};
use crate::token::SessionId;

/// How often a replica looks for orders that others left behind, give or take a half.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// How soon a replica tries again what it could not carry out itself, give or take a half.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// How often a replica forgets the clients of sessions that are long over.
const CLEANING_INTERVAL: Duration = Duration::from_secs(600);
/// How much later than the longest login the second pass of an order is due.
const SETTLING_MARGIN: Duration = Duration::from_secs(10);
const BATCH: i64 = 100;

/// One order: all sessions of a user end, but the kept one, and those of earlier generations are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    pub user_id: Uuid,
    pub generation: i32,
    pub kept: Option<SessionId>,
}

/// The orders, and the store that they are carried out in.
#[derive(Clone)]
pub struct Revocations {
    postgres: Postgres,
    sessions: Sessions,
    settling: Duration,
    left_behind: Arc<Notify>,
}

impl Revocations {
    /// `longest_login`: how long a login may take from reading the user to opening the session.
    pub fn new(postgres: Postgres, sessions: Sessions, longest_login: Duration) -> Self {
        Self { postgres, sessions, settling: longest_login + SETTLING_MARGIN, left_behind: Arc::default() }
    }

    /// Carries out an order, and strikes it off; one that has another pass to go stays until that is due.
    ///
    /// # Errors
    /// Redis does not answer: the order stays. That it cannot be struck off is no error, for it can be carried out again.
    pub async fn carry_out(&self, order: Revocation) -> Result<(), AuthError> {
        self.carry_out_after(order, Duration::ZERO).await
    }

    async fn carry_out_after(&self, order: Revocation, waited: Duration) -> Result<(), AuthError> {
        let began = Instant::now();
        let Revocation { user_id, generation, kept } = order;
        if let Err(away) = self.sessions.end_all(user_id, kept, Some(generation)).await {
            self.left_behind.notify_one();
            return Err(away.into());
        }
        sessions::record_lag("order", waited + began.elapsed());
        let settling = self.settling.as_secs_f64();
        let struck_off = self.postgres.run("revocations.strike_off", async |connection| {
            // Two replicas that do the same pass count it once: it is due for the first of them.
            sqlx::query!(
                "WITH last_pass AS (
                     DELETE FROM session_revocations
                     WHERE user_id = $1 AND generation = $2 AND passes <= 1 AND due_at <= now()
                 )
                 UPDATE session_revocations SET passes = passes - 1, due_at = now() + make_interval(secs => $3)
                 WHERE user_id = $1 AND generation = $2 AND passes > 1 AND due_at <= now()",
                user_id,
                generation,
                settling
            )
            .execute(connection)
            .await
        });
        if let Err(error) = struck_off.await {
            tracing::debug!(%error, "revocation stays to be done again");
        }
        Ok(())
    }

    /// Has this replica's sweep look soon.
    #[cfg(test)]
    pub fn look_again(&self) {
        self.left_behind.notify_one();
    }

    /// What is due, and for how long it has been.
    async fn pending(&self) -> Result<Vec<(Revocation, Duration)>, AuthError> {
        let rows = self.postgres.run("revocations.pending", async |connection| {
            sqlx::query!(
                r#"SELECT user_id, generation, kept_session_id,
                     extract(epoch FROM clock_timestamp() - due_at)::float8 AS "waited!"
                 FROM session_revocations WHERE due_at <= now() ORDER BY due_at LIMIT $1"#,
                BATCH
            )
            .fetch_all(connection)
            .await
        });
        let orders = rows.await?.into_iter().map(|row| {
            let kept = row.kept_session_id.and_then(|id| Some(SessionId(id.try_into().ok()?)));
            let waited = Duration::try_from_secs_f64(row.waited).unwrap_or_default();
            (Revocation { user_id: row.user_id, generation: row.generation, kept }, waited)
        });
        Ok(orders.collect())
    }

    /// Carries out what stayed, for as long as the process runs.
    pub async fn sweep(self) {
        loop {
            let interval = if self.sweep_once().await.is_ok() { SWEEP_INTERVAL } else { RETRY_INTERVAL };
            let pause = tokio::time::sleep(jittered(interval));
            tokio::select! {
                () = pause => {}
                () = self.left_behind.notified() => tokio::time::sleep(jittered(RETRY_INTERVAL)).await,
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), AuthError> {
        for (order, waited) in self.pending().await? {
            self.carry_out_after(order, waited).await?;
        }
        Ok(())
    }
}

/// Forgets the clients of sessions that can no longer be, for as long as the process runs.
pub async fn clean(clients: SessionClients, longest_session: Duration) {
    loop {
        tokio::time::sleep(jittered(CLEANING_INTERVAL)).await;
        if let Err(error) = clients.forget_older_than(longest_session).await {
            tracing::debug!("clients of old sessions are kept for now: {error}");
        }
    }
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.5 + fastrand::f64())
}
