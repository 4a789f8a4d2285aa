//! How a session lies in Redis: one small hash per user, one field per session.
//!
//! The key is `s:{<user id>}`, so that everything about a user is in one cluster slot. Field `g` holds the session generation, a
//! copy of what Postgres says. Every other field is a session: its name is the 16 bytes of the session id, its value is
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..16 | proof: the other half of the token's SHA-256 |
//! | 16..21 | created, 40 bits big-endian, milliseconds since 2020-01-01 |
//! | 21..26 | last seen, likewise |
//! | 26..30 | generation at login, 32 bits big-endian |
//!
//! Thirty bytes keep a user with one session within a 64-byte listpack.

use std::time::Duration;

use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::token::{SessionId, TokenDigest};

/// 2020-01-01T00:00:00Z in milliseconds since 1970. The scripts know it too.
pub(super) const EPOCH_MS: i64 = 1_577_836_800_000;

const VALUE_BYTES: usize = 30;

/// The key of all that Redis holds about a user's sessions.
pub(super) fn key(user_id: Uuid) -> String {
    format!("s:{{{user_id}}}")
}

/// One session as it was read. Times are milliseconds since 1970, on Redis's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub proof: [u8; 16],
    pub created_ms: i64,
    pub seen_ms: i64,
    pub generation: i32,
}

impl Stored {
    pub fn decode(value: &[u8]) -> Option<Self> {
        if value.len() != VALUE_BYTES {
            return None;
        }
        let time = |bytes: &[u8]| EPOCH_MS + bytes.iter().fold(0, |ms, byte| ms << 8 | i64::from(*byte));
        Some(Self {
            proof: value[..16].try_into().ok()?,
            created_ms: time(&value[16..21]),
            seen_ms: time(&value[21..26]),
            generation: i32::from_be_bytes(value[26..30].try_into().ok()?),
        })
    }

    pub fn proves(&self, digest: &TokenDigest) -> bool {
        self.proof.ct_eq(&digest.proof).into()
    }
}

/// When sessions end by themselves.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    /// Without a request.
    pub idle: Duration,
    /// After the login.
    pub absolute: Duration,
}

impl Lifetimes {
    /// What is left of a session at `now_ms` if nobody uses it again; `None` when it has ended.
    pub(super) fn left(&self, created_ms: i64, seen_ms: i64, now_ms: i64) -> Option<Duration> {
        let ends =
            (seen_ms + self.idle.as_millis() as i64).min(created_ms + self.absolute.as_millis() as i64);
        // The clock that is carried on here may be a few milliseconds behind the one that wrote these times.
        let now_ms = now_ms.max(seen_ms);
        let left = u64::try_from(ends - now_ms).ok().filter(|left| *left > 0)?;
        Some(Duration::from_millis(left))
    }

    /// How old the last renewal may get before a request renews again: a twentieth of the idle time-out, five minutes at most.
    /// A busy session costs one write in that time, and may end up to that much before its idle time is over.
    pub(super) fn renewal_interval(&self) -> Duration {
        (self.idle / 20).min(Duration::from_secs(300))
    }
}

/// A session that is valid at the moment of the reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user_id: Uuid,
    pub created_ms: i64,
    pub seen_ms: i64,
    /// How long it lives if it is not used again.
    pub expires_in: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_are_as_rare_as_the_idle_time_out_allows_and_five_minutes_apart_at_most() {
        let interval = |idle| {
            let lifetimes =
                Lifetimes { idle: Duration::from_secs(idle), absolute: Duration::from_secs(86_400) };
            lifetimes.renewal_interval().as_secs()
        };
        assert_eq!([60, 1800, 86_400].map(interval), [3, 90, 300]);
    }

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_session_ends_by_whichever_time_out_comes_first() {
        let lifetimes =
            Lifetimes { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(24 * 60 * 60) };
        let minutes = |left: Option<Duration>| left.map(|left| left.as_secs() / 60);
        assert_eq!(minutes(lifetimes.left(0, 0, 0)), Some(30));
        assert_eq!(minutes(lifetimes.left(0, 10 * MINUTE, 30 * MINUTE)), Some(10));
        assert_eq!(minutes(lifetimes.left(0, 10 * MINUTE, 40 * MINUTE)), None);
        assert_eq!(minutes(lifetimes.left(0, 1435 * MINUTE, 1436 * MINUTE)), Some(4));
        assert_eq!(minutes(lifetimes.left(0, 1439 * MINUTE, 1440 * MINUTE)), None);
        assert_eq!(lifetimes.left(10, 10, 7), lifetimes.left(10, 10, 10), "never more than a whole one");
    }

    #[test]
    fn only_whole_values_decode() {
        let mut value = [7; VALUE_BYTES];
        value[26..].copy_from_slice(&3_i32.to_be_bytes());
        let stored = Stored::decode(&value).unwrap();
        assert_eq!((stored.proof, stored.generation), ([7; 16], 3));
        assert_eq!(stored.created_ms, EPOCH_MS + 0x07_0707_0707);
        assert_eq!(Stored::decode(&value[..29]), None);
        assert_eq!(Stored::decode(&[]), None);
    }
}
