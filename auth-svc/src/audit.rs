//! The audit trail: what happened to accounts, who did it, when and from where, in a chain that shows every change made to it.
//!
//! An entry holds no secret, name or address of a person's own choosing: the user's id, the session's, and the client's address and user
//! agent, all of which can be erased without breaking the chain. What is written here is never changed otherwise. The chain itself is made
//! by the database (`audit_append` in the migrations), so that an entry is part of the transaction of what it tells.

use chassis::postgres::Postgres;
use chassis::shutdown::Shutdown;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::AuthError;
use crate::session_clients::Client;
use crate::token::SessionId;

mod chain;
mod expiry;
mod queue;
mod verify;

pub use chain::Head;
pub use expiry::expire;
use queue::Queue;
pub use verify::{Intact, head, verify};

/// What can happen. The names are kept for good: they are in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Registered,
    LoggedIn,
    LoginFailed,
    LoggedOut,
    SessionEnded,
    /// The oldest one, by a login beyond the limit.
    SessionDisplaced,
    OtherSessionsEnded,
    AllSessionsEnded,
    PasswordChanged,
    PasswordChangeRefused,
    DeletionRefused,
    PasswordResetRequested,
    PasswordReset,
    EmailVerified,
    Exported,
}

impl Event {
    pub fn name(self) -> &'static str {
        match self {
            Self::Registered => "REGISTERED",
            Self::LoggedIn => "LOGGED_IN",
            Self::LoginFailed => "LOGIN_FAILED",
            Self::LoggedOut => "LOGGED_OUT",
            Self::SessionEnded => "SESSION_ENDED",
            Self::SessionDisplaced => "SESSION_DISPLACED",
            Self::OtherSessionsEnded => "OTHER_SESSIONS_ENDED",
            Self::AllSessionsEnded => "ALL_SESSIONS_ENDED",
            Self::PasswordChanged => "PASSWORD_CHANGED",
            Self::PasswordChangeRefused => "PASSWORD_CHANGE_REFUSED",
            Self::DeletionRefused => "DELETION_REFUSED",
            Self::PasswordResetRequested => "PASSWORD_RESET_REQUESTED",
            Self::PasswordReset => "PASSWORD_RESET",
            Self::EmailVerified => "EMAIL_VERIFIED",
            Self::Exported => "EXPORTED",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub event: Event,
    /// Whose account it is about; `None` when it is nobody's.
    pub user_id: Option<Uuid>,
    /// The session that it is about, or that survived it.
    pub session: Option<SessionId>,
    /// Whence it was asked for.
    pub client: Client,
}

/// An entry as its user may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// Its number in the chain: later entries have higher ones.
    pub seq: i64,
    pub at: OffsetDateTime,
    pub event: String,
    pub session: Option<SessionId>,
    pub client: Client,
}

/// A part of a user's activity, the newest first.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub activity: Vec<Activity>,
    /// Where the next part goes on: before this entry. `None` when there is nothing more.
    pub next: Option<i64>,
}

/// The trail, as one replica writes it.
#[derive(Clone)]
pub struct Audit {
    postgres: Postgres,
    queue: Queue,
}

impl Audit {
    /// Begins to write what is noted. The end of the process waits for it.
    pub fn start(postgres: Postgres, shutdown: &Shutdown) -> Self {
        let queue = Queue::start(postgres.clone(), shutdown);
        Self { postgres, queue }
    }

    /// Adds an entry in the transaction of what it tells. Everybody else who has something to add waits from here until the transaction
    /// ends: this is its last statement. Rows of users are locked before, never after: a foreign key that is checked at the end of a
    /// statement counts as after, so that the statement has to lock the row itself.
    #[cfg(test)]
    pub async fn append(connection: &mut PgConnection, entry: &Entry) -> sqlx::Result<()> {
        let session = entry.session.map(|id| id.0.to_vec());
        sqlx::query!(
            "SELECT audit_append($1, $2, $3, $4, $5)",
            entry.event.name(),
            entry.user_id,
            session,
            entry.client.address,
            entry.client.user_agent
        )
        .fetch_one(connection)
        .await?;
        Ok(())
    }

    /// Takes all that is personal from the entries about a user, and adds `ACCOUNT_DELETED`, which tells nothing of whose it was. In
    /// the transaction that deletes the user, and at its end, for everybody else who has something to add waits until then: what comes in later about the same user is
    /// kept without personal fields.
    pub async fn erase(connection: &mut PgConnection, user_id: Uuid) -> sqlx::Result<()> {
        sqlx::query!("SELECT audit_erase($1)", user_id).fetch_one(connection).await?;
        Ok(())
    }

    /// Adds an entry for what has already happened elsewhere. It is written when this returns, unless the database is away or slow: then it
    /// is written when that answers again, with the time at which it happened. Lost only with the process, or beyond the
    /// bound of the queue, which a metric counts.
    pub async fn note(&self, entry: Entry) {
        self.queue.add_and_wait(entry).await;
    }

    /// The same without any wait, for what must not take longer for one than for another.
    pub fn note_later(&self, entry: Entry) {
        self.queue.add(entry);
    }

    /// What happened to a user, the newest first: at most `limit` entries with numbers below `before`.
    pub async fn of_user(&self, user_id: Uuid, limit: u32, before: Option<i64>) -> Result<Page, AuthError> {
        let before = before.unwrap_or(i64::MAX);
        // One more tells whether there is more.
        let (wanted, asked) = (limit as usize, i64::from(limit) + 1);
        let rows = self.postgres.run("audit.of_user", async |connection| {
            sqlx::query!(
                "SELECT seq, at, event, session_id, address, user_agent FROM audit_log
                 WHERE user_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
                user_id,
                before,
                asked
            )
            .fetch_all(connection)
            .await
        });
        let rows = rows.await?;
        let there_is_more = rows.len() > wanted;
        let activity = rows.into_iter().take(wanted).map(|row| Activity {
            seq: row.seq,
            at: row.at,
            event: row.event,
            session: row.session_id.and_then(|id| Some(SessionId(id.try_into().ok()?))),
            client: Client {
                address: row.address.unwrap_or_default(),
                user_agent: row.user_agent.unwrap_or_default(),
            },
        });
        let activity: Vec<_> = activity.collect();
        let next = activity.last().filter(|_| there_is_more).map(|last| last.seq);
        Ok(Page { activity, next })
    }
}

#[cfg(test)]
mod tests;
