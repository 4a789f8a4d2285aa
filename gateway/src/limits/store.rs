//! The counters in Redis: a number with a time to live per policy, subject and window.
//!
//! Plain commands, for a script costs Redis twice as much. `PEXPIRE NX` goes with every count, so that no counter is left
//! without an end. One key per call, so that the counters may be spread over a cluster. Only where windows grow, which is off the hot
//! path, there is a script on a hash.

use std::fmt::Write as _;
use std::time::Duration;

use chassis::redis::{Redis, RedisAway, Script};
use redis::{FromRedisValue, ParsingError, Pipeline, Value};

use super::growth::{Growth, MEMORY};
use super::{Policy, Subject};

/// Gives a unit back if the window in which it was counted is still that one. Refused requests were counted too, but hold no
/// unit: what is above the quota is dropped first.
const GIVE_BACK: &str = r"
if redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[1]) then return 0 end
local quota = tonumber(ARGV[2])
if tonumber(redis.call('GET', KEYS[1])) > quota then
    redis.call('SET', KEYS[1], quota - 1, 'KEEPTTL')
else
    redis.call('DECR', KEYS[1])
end
return 1";

const COUNT_GROWING: &str = include_str!("count_growing.lua");
const GIVE_BACK_GROWING: &str = include_str!("give_back_growing.lua");

/// A counter after one more request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Requests in this window, this one included.
    pub used: u32,
    pub resets_in: Duration,
    /// From its first request to its end.
    pub window: Duration,
    /// The window's end in Redis time, milliseconds; names the window.
    window_end: Option<i64>,
}

impl Count {
    /// A count of which nothing can be given back by window.
    pub fn without_window(used: u32, resets_in: Duration, window: Duration) -> Self {
        Self { used, resets_in, window, window_end: None }
    }
}

/// The answer to a command that is sent for its effect. `Pipeline::ignore` keeps a set of such, which costs more than this.
struct Ignored;

impl FromRedisValue for Ignored {
    fn from_redis_value(_: Value) -> Result<Self, ParsingError> {
        Ok(Self)
    }
}

pub struct Store {
    redis: Redis,
    prefix: String,
    give_back: Script,
    count_growing: Script,
    give_back_growing: Script,
}

impl Store {
    pub fn new(redis: Redis, prefix: String) -> Self {
        Self {
            redis,
            prefix,
            give_back: Script::new(GIVE_BACK),
            count_growing: Script::new(COUNT_GROWING),
            give_back_growing: Script::new(GIVE_BACK_GROWING),
        }
    }

    /// Counts a request that is never given back.
    pub async fn count(&self, policy: &Policy, subject: Subject) -> Result<Count, RedisAway> {
        let mut pipeline = redis::pipe();
        let key = self.add_count(&mut pipeline, policy, subject);
        let (used, Ignored, resets_in) = self.redis.pipeline("rate_limit.count", key, &pipeline).await?;
        Ok(Count::without_window(clamped(used), remaining(resets_in, policy), policy.quota.window))
    }

    /// Counts a request that may be given back. All at one moment, so that the count and the window's end belong together.
    pub async fn count_returnable(&self, policy: &Policy, subject: Subject) -> Result<Count, RedisAway> {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        let key = self.add_count(&mut pipeline, policy, subject);
        pipeline.cmd("PEXPIRETIME").arg(&key);
        let (used, Ignored, resets_in, window_end) =
            self.redis.pipeline("rate_limit.count", key, &pipeline).await?;
        Ok(Count {
            used: clamped(used),
            resets_in: remaining(resets_in, policy),
            window: policy.quota.window,
            window_end: Some(window_end),
        })
    }

    /// Counts a request that may be given back, in a window that is the longer the more quotas were used up before it.
    pub async fn count_growing(
        &self,
        policy: &Policy,
        growth: Growth,
        subject: Subject,
    ) -> Result<Count, RedisAway> {
        let mut invocation = self.count_growing.key(self.key(policy, subject));
        invocation.arg(policy.quota.requests).arg(policy.quota.window.as_millis() as u64);
        invocation.arg(growth.window(policy.quota.window, u32::MAX).as_millis() as u64);
        invocation.arg(MEMORY.as_millis() as u64);
        let (used, resets_in, window, window_end) =
            self.redis.invoke("rate_limit.count_growing", &invocation).await?;
        Ok(Count {
            used,
            resets_in: Duration::from_millis(resets_in),
            window: Duration::from_millis(window),
            window_end: Some(window_end),
        })
    }

    fn add_count(&self, pipeline: &mut Pipeline, policy: &Policy, subject: Subject) -> String {
        let key = self.key(policy, subject);
        let window = policy.quota.window.as_millis() as u64;
        pipeline.cmd("INCR").arg(&key).cmd("PEXPIRE").arg(&key).arg(window).arg("NX").cmd("PTTL").arg(&key);
        key
    }

    pub async fn give_back(&self, policy: &Policy, subject: Subject, count: Count) {
        let Some(window_end) = count.window_end else { return };
        let script = if policy.growth.is_some() { &self.give_back_growing } else { &self.give_back };
        let mut invocation = script.key(self.key(policy, subject));
        invocation.arg(window_end).arg(policy.quota.requests);
        let outcome = self.redis.invoke::<()>("rate_limit.give_back", &invocation).await;
        note_failure(outcome, "a unit was not given back");
    }

    /// Forgets that quotas were used up before.
    pub async fn forgive(&self, policy: &Policy, subject: Subject) {
        let mut command = redis::cmd("HDEL");
        let key = self.key(policy, subject);
        command.arg(&key).arg("used_up");
        let outcome = self.redis.query::<()>("rate_limit.forgive", key, &command).await;
        note_failure(outcome, "it is still remembered that quotas were used up");
    }

    pub async fn forget(&self, policy: &Policy, subject: Subject) {
        let mut command = redis::cmd("UNLINK");
        let key = self.key(policy, subject);
        command.arg(&key);
        let outcome = self.redis.query::<()>("rate_limit.forget", key, &command).await;
        note_failure(outcome, "a counter was not removed");
    }

    fn key(&self, policy: &Policy, subject: Subject) -> String {
        let mut key = String::with_capacity(self.prefix.len() + policy.name.len() + 33);
        key.push_str(&self.prefix);
        key.push_str(policy.name);
        // A counter of another kind has another name, so that versions that count otherwise run side by side.
        key.push_str(if policy.growth.is_some() { "+:" } else { ":" });
        // Writing to a string cannot fail.
        let _ = write!(key, "{subject}");
        key
    }
}

fn clamped(used: u64) -> u32 {
    u32::try_from(used).unwrap_or(u32::MAX)
}

/// The rest of the window. A counter that ended between two commands is told as a whole window.
fn remaining(millis: i64, policy: &Policy) -> Duration {
    u64::try_from(millis).map_or(policy.quota.window, Duration::from_millis)
}

fn note_failure(outcome: Result<(), RedisAway>, what: &str) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use chassis::shutdown::Shutdown;

    use super::*;
    use crate::limits::WhenStoreIsAway;

    #[expect(
        clippy::disallowed_methods,
        reason = "how `local with-servers` tells tests where its servers are"
    )]
    fn store() -> Store {
        let url = std::env::var("TEST_CACHE_REDIS_URL").expect("run with: local with-servers -- cargo test");
        let redis = Redis::open(&url.parse().unwrap(), "test", &Shutdown::new());
        Store::new(redis, format!("test:{}:", uuid::Uuid::new_v4()))
    }

    fn policy(quota: &str) -> Policy {
        Policy::new("test", quota.parse().unwrap(), WhenStoreIsAway::CountAlone)
    }

    #[tokio::test]
    async fn a_unit_is_not_given_back_to_a_later_window() {
        let (store, policy, subject) = (store(), policy("5/1"), Subject::token("t"));
        let old = store.count_returnable(&policy, subject).await.unwrap();
        tokio::time::sleep(old.resets_in + Duration::from_millis(20)).await;
        assert_eq!(store.count_returnable(&policy, subject).await.unwrap().used, 1, "a new window");
        store.give_back(&policy, subject, old).await;
        assert_eq!(store.count_returnable(&policy, subject).await.unwrap().used, 2);
    }

    #[tokio::test]
    async fn refused_requests_hold_no_unit() {
        let (store, policy, subject) = (store(), policy("2/60"), Subject::token("t"));
        let mut counts = Vec::new();
        for _ in 0..7 {
            counts.push(store.count_returnable(&policy, subject).await.unwrap());
        }
        store.give_back(&policy, subject, counts[0]).await;
        assert_eq!(store.count_returnable(&policy, subject).await.unwrap().used, 2, "one unit is free again");
        assert_eq!(store.count_returnable(&policy, subject).await.unwrap().used, 3, "and one alone");
    }

    #[tokio::test]
    async fn a_quota_whose_windows_grow_is_exact_whoever_asks_at_once() {
        let (store, subject) = (store(), Subject::token("t"));
        let growth = Growth { longest: Duration::from_secs(3600) };
        let policy = policy("7/60").growing(growth);
        let counts = (0..50).map(|_| store.count_growing(&policy, growth, subject));
        let counts: Vec<_> = futures_util::future::join_all(counts).await.into_iter().flatten().collect();
        assert_eq!(counts.iter().filter(|count| count.used <= 7).count(), 7);
        store.give_back(&policy, subject, counts[0]).await;
        assert_eq!(
            store.count_growing(&policy, growth, subject).await.unwrap().used,
            7,
            "one unit is free again"
        );
        assert_eq!(store.count_growing(&policy, growth, subject).await.unwrap().used, 8, "and one alone");
    }

    #[tokio::test]
    async fn a_unit_of_a_window_that_has_grown_is_not_given_back_to_a_later_one() {
        let (store, subject) = (store(), Subject::token("t"));
        let growth = Growth { longest: Duration::from_secs(2) };
        let policy = policy("1/1").growing(growth);
        let count = async || store.count_growing(&policy, growth, subject).await.unwrap();
        let old = count().await;
        assert_eq!((old.used, old.window), (1, Duration::from_secs(1)));
        tokio::time::sleep(old.resets_in + Duration::from_millis(20)).await;
        let next = count().await;
        assert_eq!((next.used, next.window), (1, Duration::from_secs(2)));
        store.give_back(&policy, subject, old).await;
        assert_eq!(count().await.used, 2, "it holds no unit of this window");
    }

    #[tokio::test]
    async fn a_counter_without_an_end_gets_one() {
        let (store, policy, subject) = (store(), policy("5/60"), Subject::token("t"));
        let key = store.key(&policy, subject);
        store.redis.query::<()>("set", &key, redis::cmd("SET").arg(&key).arg(3)).await.unwrap();
        let count = store.count(&policy, subject).await.unwrap();
        assert_eq!(count.used, 4);
        let left: i64 = store.redis.query("pttl", &key, redis::cmd("PTTL").arg(&key)).await.unwrap();
        assert!((1..=60_000).contains(&left), "{left}");
    }

    #[tokio::test]
    async fn a_forgotten_counter_is_gone() {
        let (store, policy, subject) = (store(), policy("5/60"), Subject::token("t"));
        store.count(&policy, subject).await.unwrap();
        store.forget(&policy, subject).await;
        assert_eq!(store.count(&policy, subject).await.unwrap().used, 1);
    }
}
