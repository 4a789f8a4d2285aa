//! Where sessions were opened from, in Postgres. It never decides whether a session is valid.

use std::collections::HashMap;
use std::time::Duration;

use chassis::postgres::Postgres;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::audit::Event;
use crate::error::AuthError;
use crate::token::SessionId;

const USER_AGENT_MAX_CHARS: usize = 256;
/// The longest textual IPv6 address, with a zone.
const ADDRESS_MAX_CHARS: usize = 64;

/// The other end of a session, as it was at the login.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    pub address: String,
    pub user_agent: String,
}

impl Client {
    /// Cuts what is too long, and drops what Postgres cannot store.
    pub fn new(address: &str, user_agent: &str) -> Self {
        let clean = |text: &str, max| text.chars().filter(|c| !c.is_control()).take(max).collect();
        Self {
            address: clean(address, ADDRESS_MAX_CHARS),
            user_agent: clean(user_agent, USER_AGENT_MAX_CHARS),
        }
    }
}

/// Told of one user at most. The audit trail has all of them.
const SIGN_INS: i64 = 5000;

/// That a session was opened, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    pub session: SessionId,
    pub at: OffsetDateTime,
    pub client: Client,
}

/// The store of sessions' clients.
#[derive(Debug, Clone)]
pub struct SessionClients {
    postgres: Postgres,
}

impl SessionClients {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres }
    }

    /// Notes the client of a session that has just been opened at `generation`, and tells the user's session generation as it is now;
    /// `None` when the user is gone. Only if it is still the same is this a login, and the audit trail told of one.
    pub async fn insert(
        &self,
        user_id: Uuid,
        id: SessionId,
        generation: i32,
        client: &Client,
    ) -> Result<Option<i32>, AuthError> {
        let inserted = self.postgres.run("session_clients.insert", async |connection| {
            sqlx::query!(
                // The row of the user is locked before the trail, as by everybody else who needs both.
                "WITH owner AS MATERIALIZED (
                     SELECT id, session_generation FROM users WHERE id = $1 FOR KEY SHARE
                 ), opened AS (
                     INSERT INTO session_clients (session_id, user_id, address, user_agent)
                     SELECT $2, id, $3, $4 FROM owner
                 )
                 SELECT session_generation,
                        CASE WHEN session_generation = $5 THEN audit_append($6, $1, $2, $3, $4) END AS told
                 FROM owner",
                user_id,
                &id.0[..],
                client.address,
                client.user_agent,
                generation,
                Event::LoggedIn.name()
            )
            .fetch_optional(connection)
            .await
        });
        Ok(inserted.await?.map(|row| row.session_generation))
    }

    /// The clients of a user's sessions, valid or not.
    pub async fn of_user(&self, user_id: Uuid) -> Result<HashMap<SessionId, Client>, AuthError> {
        let rows = self.postgres.run("session_clients.of_user", async |connection| {
            sqlx::query!(
                "SELECT session_id, address, user_agent FROM session_clients WHERE user_id = $1",
                user_id
            )
            .fetch_all(connection)
            .await
        });
        let clients = rows.await?.into_iter().filter_map(|row| {
            let id = SessionId(row.session_id.try_into().ok()?);
            Some((id, Client { address: row.address, user_agent: row.user_agent }))
        });
        Ok(clients.collect())
    }

    /// What is remembered of a user's sessions, valid or not, the newest first.
    pub async fn sign_ins(&self, user_id: Uuid) -> Result<Vec<SignIn>, AuthError> {
        let rows = self.postgres.run("session_clients.sign_ins", async |connection| {
            sqlx::query!(
                "SELECT session_id, address, user_agent, opened_at FROM session_clients
                 WHERE user_id = $1 ORDER BY opened_at DESC LIMIT $2",
                user_id,
                SIGN_INS
            )
            .fetch_all(connection)
            .await
        });
        let sign_ins = rows.await?.into_iter().filter_map(|row| {
            let session = SessionId(row.session_id.try_into().ok()?);
            let client = Client { address: row.address, user_agent: row.user_agent };
            Some(SignIn { session, at: row.opened_at, client })
        });
        Ok(sign_ins.collect())
    }

    /// Forgets the clients of sessions that were opened longer ago than any session lives.
    pub async fn forget_older_than(&self, lifetime: Duration) -> Result<u64, AuthError> {
        let seconds = lifetime.as_secs_f64();
        let forgotten = self.postgres.run("session_clients.forget", async |connection| {
            sqlx::query!(
                "DELETE FROM session_clients WHERE opened_at < now() - make_interval(secs => $1)",
                seconds
            )
            .execute(connection)
            .await
        });
        Ok(forgotten.await?.rows_affected())
    }
}
