//! Sessions in Redis: the truth about who is signed in.
//!
//! Each change of state is one script, so that it happens wholly or not at all. A validation is one read; only now and then
//! does it lead to a write, which renews what exists and never creates.
//!
//! Where Redis has replicas, a failover must not undo the end of a session: an end is acknowledged when every replica has it, and reads
//! are scripts that a master refuses when it is cut off from its replicas. A session that was just opened may be lost, and is
//! opened again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chassis::redis::{Redis, RedisAway, Script};
use chassis::shutdown::Shutdown;
use uuid::Uuid;

use crate::token::{SessionId, SessionToken};

mod layout;

pub use layout::{Lifetimes, Session};

/// Renewals in flight at most. Beyond that a session is renewed by one of its later requests.
const RENEWALS_IN_FLIGHT: usize = 64;

/// Name and value, as they lie in the hash.
type Field = (Vec<u8>, Vec<u8>);

/// What a login brings about.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    pub session: Session,
    /// The user's oldest sessions, which ended because there would have been too many.
    pub displaced: Vec<SessionId>,
}

/// The store of sessions.
#[derive(Clone)]
pub struct Sessions {
    redis: Redis,
    lifetimes: Lifetimes,
    /// Sessions of one user at most.
    limit: u32,
    scripts: Arc<Scripts>,
    renewing: Arc<Mutex<HashSet<SessionId>>>,
    shutdown: Shutdown,
}

struct Scripts {
    create: Script,
    validate: Script,
    renew: Script,
    end: Script,
    end_all: Script,
    list: Script,
}

impl Sessions {
    pub fn new(redis: Redis, lifetimes: Lifetimes, limit: u32, shutdown: &Shutdown) -> Self {
        let scripts = Scripts {
            create: Script::new(include_str!("sessions/create.lua")),
            validate: Script::new(include_str!("sessions/validate.lua")),
            renew: Script::new(include_str!("sessions/renew.lua")),
            end: Script::new(include_str!("sessions/end.lua")),
            end_all: Script::new(include_str!("sessions/end_all.lua")),
            list: Script::new(include_str!("sessions/list.lua")),
        };
        Self {
            redis,
            lifetimes,
            limit,
            scripts: scripts.into(),
            renewing: Arc::default(),
            shutdown: shutdown.clone(),
        }
    }

    /// Whether there is a Redis to keep sessions in, before anything is done for one.
    pub async fn check_reachable(&self) -> Result<(), RedisAway> {
        self.redis.check_reachable().await
    }

    /// Opens a session for a login that read `generation` from Postgres; `None` when Redis knows of a later one. Beyond the limit
    /// the user's oldest session ends.
    pub async fn create(&self, token: &SessionToken, generation: i32) -> Result<Option<Opened>, RedisAway> {
        let digest = token.digest();
        let mut create = self.scripts.create.key(layout::key(token.user_id()));
        create.arg(&digest.id.0).arg(&digest.proof).arg(generation);
        create.arg(millis(self.lifetimes.idle)).arg(millis(self.lifetimes.absolute)).arg(self.limit);
        let (now_ms, displaced): (i64, Vec<Vec<u8>>) = self.redis.invoke("session.create", &create).await?;
        if now_ms == 0 {
            return Ok(None);
        }
        let session = Session {
            id: digest.id,
            user_id: token.user_id(),
            created_ms: now_ms,
            seen_ms: now_ms,
            expires_in: self.lifetimes.idle.min(self.lifetimes.absolute),
        };
        let displaced = displaced.into_iter().filter_map(|id| Some(SessionId(id.try_into().ok()?)));
        Ok(Some(Opened { session, displaced: displaced.collect() }))
    }

    /// Whose session a token is, if it is one. A session that was not renewed for a while is renewed behind the answer.
    pub async fn validate(&self, token: &SessionToken) -> Result<Option<Session>, RedisAway> {
        let digest = token.digest();
        let (generation, value, now_ms) = self.read(token.user_id(), digest.id).await?;
        let valid = value
            .as_deref()
            .and_then(layout::Stored::decode)
            .filter(|stored| stored.proves(&digest) && Some(stored.generation) == generation)
            .and_then(|stored| {
                Some((stored, self.lifetimes.left(stored.created_ms, stored.seen_ms, now_ms)?))
            });
        let Some((stored, left)) = valid else { return Ok(None) };

        let mut session = Session {
            id: digest.id,
            user_id: token.user_id(),
            created_ms: stored.created_ms,
            seen_ms: stored.seen_ms,
            expires_in: left,
        };
        if now_ms - stored.seen_ms >= millis(self.lifetimes.renewal_interval()).cast_signed() {
            session.seen_ms = now_ms;
            session.expires_in = self.lifetimes.left(stored.created_ms, now_ms, now_ms).unwrap_or(left);
            self.renew_in_background(token, session.id);
        }
        Ok(Some(session))
    }

    /// The user's generation, the session, and the time.
    async fn read(
        &self,
        user_id: Uuid,
        id: SessionId,
    ) -> Result<(Option<i32>, Option<Vec<u8>>, i64), RedisAway> {
        let key = layout::key(user_id);
        if self.redis.is_replicated() {
            let mut read = self.scripts.validate.key(key);
            return self.redis.invoke("session.validate", read.arg(&id.0)).await;
        }
        // Half as expensive for Redis as a script.
        let mut read = redis::cmd("HMGET");
        read.arg(&key).arg("g").arg(&id.0);
        let link = self.redis.link_for(&key).await?;
        let (generation, value) = link.query("session.validate", &read).await?;
        Ok((generation, value, link.server_time_ms()))
    }

    /// Ends the session of a token; tells whether it was valid until now. Once this has returned no replica accepts the token
    /// again.
    pub async fn end(&self, token: &SessionToken) -> Result<bool, RedisAway> {
        let digest = token.digest();
        self.end_proven(token.user_id(), digest.id, &digest.proof).await
    }

    /// Ends a session of a user by its id, with the same promise.
    pub async fn end_by_id(&self, user_id: Uuid, id: SessionId) -> Result<bool, RedisAway> {
        self.end_proven(user_id, id, &[]).await
    }

    async fn end_proven(&self, user_id: Uuid, id: SessionId, proof: &[u8]) -> Result<bool, RedisAway> {
        let mut end = self.scripts.end.key(layout::key(user_id));
        end.arg(&id.0).arg(proof);
        end.arg(millis(self.lifetimes.idle)).arg(millis(self.lifetimes.absolute));
        let began = Instant::now();
        let ended: i64 = self.redis.invoke_replicated("session.end", &end).await?;
        record_lag("request", began.elapsed());
        Ok(ended == 1)
    }

    /// Ends all sessions of a user but `kept`, with the same promise; tells how many were valid until now. With a `generation`
    /// logins of an earlier one are refused from now on, and an order that comes again or late ends nothing that is newer than
    /// itself.
    pub async fn end_all(
        &self,
        user_id: Uuid,
        kept: Option<SessionId>,
        generation: Option<i32>,
    ) -> Result<u32, RedisAway> {
        let mut end_all = self.scripts.end_all.key(layout::key(user_id));
        end_all.arg(kept.as_ref().map_or(&[][..], |id| &id.0)).arg(generation.unwrap_or(0));
        end_all.arg(millis(self.lifetimes.idle)).arg(millis(self.lifetimes.absolute));
        let began = Instant::now();
        let ended = self.redis.invoke_replicated("session.end_all", &end_all).await?;
        if generation.is_none() {
            record_lag("request", began.elapsed());
        }
        Ok(ended)
    }

    /// The valid sessions of a user, the newest first.
    pub async fn list(&self, user_id: Uuid) -> Result<Vec<Session>, RedisAway> {
        let read = self.scripts.list.key(layout::key(user_id));
        let (fields, now_ms): (Vec<Field>, i64) = self.redis.invoke("session.list", &read).await?;
        let generation = fields.iter().find_map(|(name, value)| {
            (name == b"g").then(|| std::str::from_utf8(value).ok()?.parse::<i32>().ok()).flatten()
        });
        let mut sessions: Vec<_> = fields
            .iter()
            .filter_map(|(name, value)| {
                let id = SessionId(name.as_slice().try_into().ok()?);
                let stored =
                    layout::Stored::decode(value).filter(|stored| Some(stored.generation) == generation)?;
                let expires_in = self.lifetimes.left(stored.created_ms, stored.seen_ms, now_ms)?;
                let (created_ms, seen_ms) = (stored.created_ms, stored.seen_ms);
                Some(Session { id, user_id, created_ms, seen_ms, expires_in })
            })
            .collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.created_ms));
        Ok(sessions)
    }

    /// One renewal a session at a time, and few at all: none is worth holding up a request or piling up for.
    fn renew_in_background(&self, token: &SessionToken, id: SessionId) {
        {
            let mut renewing = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
            if renewing.len() >= RENEWALS_IN_FLIGHT || !renewing.insert(id) {
                return;
            }
        }
        let (sessions, token) = (self.clone(), token.clone());
        self.shutdown.spawn(async move {
            if let Err(error) = sessions.renew(&token).await {
                tracing::debug!(session = %id, cause = chassis::status::cause_chain(&error), "session not renewed: {error}");
            }
            sessions.renewing.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }

    async fn renew(&self, token: &SessionToken) -> Result<bool, RedisAway> {
        let digest = token.digest();
        let mut renew = self.scripts.renew.key(layout::key(token.user_id()));
        renew.arg(&digest.id.0).arg(&digest.proof);
        renew.arg(millis(self.lifetimes.idle)).arg(millis(self.lifetimes.absolute));
        let renewed: i64 = self.redis.invoke("session.renew", &renew).await?;
        Ok(renewed == 1)
    }
}

/// Notes how long an ending took from its request, or from its order in Postgres, until no replica accepted the sessions any more.
pub fn record_lag(by: &'static str, lag: Duration) {
    metrics::histogram!("session_revocation_lag_seconds", "by" => by).record(lag);
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

#[cfg(test)]
mod tests;

/// The same tests, on a Redis Cluster.
#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "all that works on one server works there")]
#[path = "sessions/tests.rs"]
mod tests_on_a_cluster;
