//! Who gets a mail, in Postgres: what was asked for, looked up behind the answer, and what is still to be sent.

use std::sync::Arc;
use std::time::Duration;

use chassis::postgres::Postgres;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{Lifetimes, MailToken, Purpose};
use crate::audit::Event;
use crate::error::AuthError;
use crate::session_clients::Client;
use crate::username::Username;

/// Requests that nobody has looked at yet, at most. A replica looks at a hundred in one statement, so that more than that means that
/// none does.
const WAITING_AT_MOST: i64 = 10_000;
/// Requests that one statement looks at.
const BATCH: i64 = 100;
/// Users who get a mail when somebody names their common address.
const USERS_OF_ONE_ADDRESS: i64 = 5;
/// Accounts that one address may be asked to confirm within an hour: whoever registers with somebody else's address fills nobody's
/// mailbox.
const CONFIRMATIONS_PER_HOUR: i64 = 5;
/// For so long the mail belongs to the replica that took it; longer than any attempt.
const LEASE: Duration = Duration::from_secs(90);
/// A mail that could not be sent for so long is not sent at all.
const GIVE_UP_AFTER: Duration = Duration::from_secs(3600);

/// The account that somebody names, existing or not.
#[derive(Clone)]
pub enum Account {
    Username(Username),
    Email(String),
}

/// A stranger's request for a mail.
#[derive(Clone)]
pub struct MailRequest {
    pub account: Account,
    pub client: Client,
}

/// A mail that this replica is to send now.
#[derive(Clone)]
pub struct Outgoing {
    pub user_id: Uuid,
    pub purpose: Purpose,
    /// This one included.
    pub attempts: i32,
    pub username: String,
    /// `None`: the mail is not wanted any more.
    pub email: Option<String>,
}

/// The store of requests and mails.
#[derive(Debug, Clone)]
pub struct Queue {
    postgres: Postgres,
    work: Arc<Notify>,
}

impl Queue {
    pub fn new(postgres: Postgres) -> Self {
        Self { postgres, work: Arc::default() }
    }

    /// Notes what a stranger asks for. It takes the same one insertion whether or not there is such a user.
    ///
    /// # Errors
    /// `Capacity` when too many wait.
    pub async fn ask(&self, request: &MailRequest) -> Result<(), AuthError> {
        let MailRequest { account, client } = request;
        let (username_key, email) = match account {
            Account::Username(username) => (Some(username.key()), None),
            Account::Email(email) => (None, Some(email.as_str())),
        };
        let noted = self.postgres.run("mail_requests.insert", async |connection| {
            sqlx::query!(
                "INSERT INTO mail_requests (username_key, email, address, user_agent)
                 SELECT $1::text, $2::text, $3::text, $4::text
                 WHERE (SELECT count(*) FROM (SELECT FROM mail_requests LIMIT $5) AS waiting) < $5",
                username_key,
                email,
                client.address,
                client.user_agent,
                WAITING_AT_MOST
            )
            .execute(connection)
            .await
        });
        if noted.await?.rows_affected() == 0 {
            return Err(AuthError::Capacity);
        }
        self.work.notify_one();
        Ok(())
    }

    /// Puts a mail to a user into the queue, where there is none yet.
    pub async fn add(&self, user_id: Uuid, purpose: Purpose) -> Result<(), AuthError> {
        let added = self.postgres.run("mails.insert", async |connection| {
            sqlx::query!(
                "INSERT INTO mails (user_id, purpose) SELECT id, $2 FROM users WHERE id = $1
                 ON CONFLICT (user_id, purpose) DO UPDATE SET requested_at = now()",
                user_id,
                purpose.name()
            )
            .execute(connection)
            .await
        });
        added.await?;
        self.work.notify_one();
        Ok(())
    }

    /// Tells the worker that there is something to do.
    pub fn wake(&self) {
        self.work.notify_one();
    }

    pub async fn woken(&self) {
        self.work.notified().await;
    }

    /// Looks up who is meant by some of the requests, queues a mail for each and tells the audit trail; tells whether there may be more.
    pub async fn look_up(&self) -> Result<bool, AuthError> {
        let looked_at = self.postgres.run("mail_requests.look_up", async |connection| {
            // All users are locked before the head of the audit trail is, as a deletion does it: sorting takes them all first.
            sqlx::query!(
                r#"WITH taken AS (
                     DELETE FROM mail_requests WHERE id IN (
                         SELECT id FROM mail_requests ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
                     ) RETURNING username_key, email, address, user_agent
                 ), meant AS (
                     SELECT meant.id, taken.address, taken.user_agent FROM taken CROSS JOIN LATERAL (
                         SELECT id FROM users
                         WHERE email IS NOT NULL AND (username_key = taken.username_key OR lower(email) = lower(taken.email))
                         ORDER BY email_verified DESC, created_at LIMIT $2 FOR KEY SHARE
                     ) AS meant
                 ), queued AS (
                     INSERT INTO mails (user_id, purpose)
                     SELECT id, $3 FROM (SELECT DISTINCT id FROM meant) AS users ORDER BY id
                     ON CONFLICT (user_id, purpose) DO UPDATE SET requested_at = now() RETURNING user_id
                 ), told AS MATERIALIZED (
                     SELECT audit_append($4, id, NULL, address, user_agent) FROM (
                         SELECT meant.id, meant.address, meant.user_agent
                         FROM queued JOIN meant ON meant.id = queued.user_id ORDER BY meant.id
                     ) AS all_meant
                 )
                 SELECT count(*) AS "looked_at!", (SELECT count(*) FROM told) AS told FROM taken"#,
                BATCH,
                USERS_OF_ONE_ADDRESS,
                Purpose::PasswordReset.name(),
                Event::PasswordResetRequested.name()
            )
            .fetch_one(connection)
            .await
        });
        Ok(looked_at.await?.looked_at == BATCH)
    }

    /// Takes the mail that is due longest, and stores its token in place of an older one.
    pub async fn take(&self, token: &MailToken, lifetimes: Lifetimes) -> Result<Option<Outgoing>, AuthError> {
        let digest = token.digest().to_vec();
        let lease = LEASE.as_secs_f64();
        let (reset, verification) =
            (lifetimes.password_reset.as_secs_f64(), lifetimes.email_verification.as_secs_f64());
        let row = self.postgres.run("mails.take", async |connection| {
            sqlx::query!(
                r#"WITH next AS (
                     SELECT user_id, purpose FROM mails WHERE due_at <= now()
                     ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
                 ), taken AS (
                     UPDATE mails SET due_at = now() + make_interval(secs => $2), attempts = attempts + 1
                     FROM next WHERE mails.user_id = next.user_id AND mails.purpose = next.purpose
                     RETURNING mails.user_id, mails.purpose, mails.attempts
                 ), issued AS (
                     INSERT INTO mail_tokens (digest, user_id, purpose, email, session_generation, expires_at)
                     SELECT $1, users.id, taken.purpose, users.email, users.session_generation,
                         now() + make_interval(secs => CASE taken.purpose WHEN 'PASSWORD_RESET' THEN $3::float8 ELSE $4 END)
                     FROM taken JOIN users ON users.id = taken.user_id
                     WHERE users.email IS NOT NULL AND (
                         taken.purpose = 'PASSWORD_RESET' OR NOT users.email_verified AND $5 > (
                             SELECT count(*) FROM mail_tokens AS others
                             WHERE lower(others.email) = lower(users.email) AND others.user_id <> users.id
                                 AND others.purpose = 'EMAIL_VERIFICATION'
                                 AND others.issued_at > now() - interval '1 hour'
                         )
                     )
                     ON CONFLICT (user_id, purpose) DO UPDATE
                     SET digest = excluded.digest, email = excluded.email, issued_at = now(),
                         session_generation = excluded.session_generation, expires_at = excluded.expires_at
                     RETURNING user_id, email
                 )
                 SELECT taken.user_id AS "user_id!", taken.purpose AS "purpose!", taken.attempts AS "attempts!",
                     users.username AS "username!", issued.email AS "email?"
                 FROM taken JOIN users ON users.id = taken.user_id LEFT JOIN issued ON issued.user_id = taken.user_id"#,
                digest,
                lease,
                reset,
                verification,
                CONFIRMATIONS_PER_HOUR
            )
            .fetch_optional(connection)
            .await
        });
        Ok(row.await?.and_then(|row| {
            Some(Outgoing {
                user_id: row.user_id,
                purpose: Purpose::parse(&row.purpose)?,
                attempts: row.attempts,
                username: row.username,
                email: row.email,
            })
        }))
    }

    /// Takes a mail off the queue: it is sent, or never will be.
    pub async fn strike_off(&self, mail: &Outgoing) -> Result<(), AuthError> {
        let (user_id, purpose) = (mail.user_id, mail.purpose.name());
        let struck_off = self.postgres.run("mails.strike_off", async |connection| {
            sqlx::query!("DELETE FROM mails WHERE user_id = $1 AND purpose = $2", user_id, purpose)
                .execute(connection)
                .await
        });
        struck_off.await?;
        Ok(())
    }

    /// Puts off a mail that could not be sent.
    pub async fn put_off(&self, mail: &Outgoing, pause: Duration) -> Result<(), AuthError> {
        let (user_id, purpose, seconds) = (mail.user_id, mail.purpose.name(), pause.as_secs_f64());
        let put_off = self.postgres.run("mails.put_off", async |connection| {
            sqlx::query!(
                "UPDATE mails SET due_at = now() + make_interval(secs => $3) WHERE user_id = $1 AND purpose = $2",
                user_id,
                purpose,
                seconds
            )
            .execute(connection)
            .await
        });
        put_off.await?;
        Ok(())
    }

    /// How long until the next mail is due; `None` when none waits.
    pub async fn next_due(&self) -> Result<Option<Duration>, AuthError> {
        let seconds = self.postgres.run("mails.next_due", async |connection| {
            sqlx::query_scalar!("SELECT extract(epoch FROM min(due_at) - now())::float8 FROM mails")
                .fetch_one(connection)
                .await
        });
        Ok(seconds.await?.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 3600.0))))
    }

    /// Drops what could not be sent, or looked up, for too long; tells how much that was.
    pub async fn give_up(&self) -> Result<u64, AuthError> {
        let seconds = GIVE_UP_AFTER.as_secs_f64();
        let given_up = self.postgres.run("mails.give_up", async |connection| {
            sqlx::query_scalar!(
                r#"WITH requests AS (
                     DELETE FROM mail_requests WHERE requested_at < now() - make_interval(secs => $1) RETURNING 1
                 ), unsent AS (
                     DELETE FROM mails WHERE requested_at < now() - make_interval(secs => $1) RETURNING 1
                 )
                 SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM unsent) AS "given_up!""#,
                seconds
            )
            .fetch_one(connection)
            .await
        });
        Ok(given_up.await?.cast_unsigned())
    }
}
