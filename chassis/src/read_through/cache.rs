//! The entries of one cache in Redis: what is read, and by which rules it is changed.

use std::borrow::Cow;
use std::future::Future;
use std::time::Duration;

use metrics::{Counter, counter};
use redis::cmd;

use super::entry::{self, Entry, Token, Tokens};
use super::flights::{Landing, Source};
use super::lease::Lease;
use super::{Cached, Settings};
use crate::postgres::LONGEST_TRANSACTION;
use crate::redis::{Link, Redis, RedisAway, Script};

/// How long a reader may take to load and fill: longer than any load.
const LEASE_TTL: Duration = Duration::from_secs(5);
/// How long a writer may take from its announcement to its commit: much longer than any transaction.
const MARKER_TTL: Duration = Duration::from_secs(30);
const _: () = assert!(MARKER_TTL.as_secs() > 2 * LONGEST_TRANSACTION.as_secs());
/// How often a reader looks whether another replica has filled, with pauses of 1, 2, 4 to 32 ms between. Then
/// it loads by itself: a reader that died with a lease costs the others next to nothing.
const LEASE_LOOKS: u32 = 6;

pub(super) struct Cache {
    redis: Redis,
    settings: Settings,
    tokens: Tokens,
    pub(super) scripts: Scripts,
    pub(super) counters: Counters,
    pub(super) marker_ttl: Duration,
}

/// What a flight finds.
pub(super) enum Claim<V> {
    /// The value, or that there is none.
    Found(Option<V>),
    /// Nothing; it is now ours to fill.
    Leased(Lease),
    /// Somebody else's lease or marker: not ours to fill.
    Refused,
    Away,
}

impl Cache {
    pub(super) fn new(redis: Redis, settings: Settings) -> Self {
        let counters = Counters::new(settings.name);
        Self {
            redis,
            settings,
            tokens: Tokens::new(),
            scripts: Scripts::new(),
            counters,
            marker_ttl: MARKER_TTL,
        }
    }

    /// The link to the server that holds a key.
    pub(super) async fn link(&self, key: &str) -> Result<Link, RedisAway> {
        self.redis.link_for(&*tag(key)).await
    }

    /// The value of a key, or that there is none, when the cache knows.
    pub(super) async fn get<V: Cached>(
        &self,
        link: &Link,
        key: &str,
    ) -> Result<Option<Option<V>>, RedisAway> {
        let name = self.name(link, key);
        let bytes: Option<Vec<u8>> = if link.refuses_when_isolated() {
            link.invoke("GET", &self.scripts.get.key(name)).await?
        } else {
            link.query("GET", cmd("GET").arg(name)).await?
        };
        Ok(match bytes.map(Entry::decode) {
            Some(Entry::Known(found)) => Some(found),
            _ => None,
        })
    }

    /// The value of a key, or the lease to fill it.
    pub(super) async fn claim<V: Cached>(&self, link: &Link, key: &str) -> Claim<V> {
        let lease = self.tokens.lease();
        let mut command = cmd("SET");
        command.arg(self.name(link, key)).arg(&lease).arg("NX").arg("GET").arg("PX").arg(millis(LEASE_TTL));
        for look in 0.. {
            let previous: Option<Vec<u8>> = match link.query("SET", &command).await {
                Ok(previous) => previous,
                Err(_) => return Claim::Away,
            };
            match previous.map(Entry::decode) {
                None => {
                    return Claim::Leased(Lease { link: link.clone(), key: key.to_owned(), token: lease });
                }
                Some(Entry::Known(found)) => return Claim::Found(found),
                Some(Entry::Leased) if look < LEASE_LOOKS => {
                    tokio::time::sleep(Duration::from_millis(1 << look)).await;
                }
                Some(Entry::Leased | Entry::Unusable) => break,
            }
        }
        Claim::Refused
    }

    /// Puts a value where `lease` still is. Tells whether it was.
    pub(super) async fn fill<V: Cached>(&self, lease: &Lease, value: Option<&V>) -> Result<bool, RedisAway> {
        self.scripts
            .fill(&lease.link, &self.name(&lease.link, &lease.key), &lease.token, value, self.ttl(value))
            .await
    }

    /// Puts a marker on a key, whatever is there.
    pub(super) async fn announce(&self, link: &Link, key: &str) -> Result<Token, RedisAway> {
        let marker = self.tokens.marker();
        let mut command = cmd("SET");
        command.arg(self.name(link, key)).arg(&marker).arg("PX").arg(millis(self.marker_ttl));
        link.query::<()>("SET", &command).await?;
        Ok(marker)
    }

    /// Puts a value where `marker` still is, and else leaves nothing.
    pub(super) async fn finish<V: Cached>(
        &self,
        link: &Link,
        key: &str,
        marker: &Token,
        value: Option<&V>,
    ) -> Result<(), RedisAway> {
        self.scripts.finish(link, &self.name(link, key), marker, value, self.ttl(value)).await
    }

    /// Removes a lease or a marker where it still is. It would expire by itself, so a failure costs some
    /// reads at most.
    pub(super) async fn withdraw(&self, link: &Link, key: &str, token: &Token) {
        let _ = self.scripts.withdraw(link, &self.name(link, key), token).await;
    }

    /// Leaves nothing under a key.
    pub(super) async fn delete(&self, link: &Link, key: &str) -> Result<(), RedisAway> {
        link.query("DEL", cmd("DEL").arg(self.name(link, key))).await
    }

    pub(super) async fn load<V, E, L, F>(&self, source: Source, load: &L) -> Landing<V, E>
    where
        L: Fn() -> F,
        F: Future<Output = Result<Option<V>, E>>,
    {
        self.counters.loads.increment(1);
        Landing { source, outcome: load().await }
    }

    /// The name of a key on the server process that `link` leads to.
    pub(super) fn name(&self, link: &Link, key: &str) -> String {
        let term = link.term().get(..8).unwrap_or_default();
        [self.settings.namespace.as_str(), ":", term, ":{", &tag(key), "}"].concat()
    }

    /// Jittered, so that what was cached together does not expire together.
    fn ttl<V>(&self, value: Option<&V>) -> Duration {
        let ttl = if value.is_some() { self.settings.ttl } else { self.settings.negative_ttl };
        ttl.mul_f64(0.9 + 0.2 * fastrand::f64())
    }
}

/// The changes that depend on what a key holds.
pub(super) struct Scripts {
    /// Reads, and counts as a write: a master that is cut off from its replicas refuses it.
    get: Script,
    pub(super) fill: Script,
    pub(super) finish: Script,
    withdraw: Script,
}

impl Scripts {
    fn new() -> Self {
        Self {
            get: Script::new("#!lua flags=allow-oom\nreturn redis.call('GET', KEYS[1])"),
            fill: Script::new(
                "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
                 redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
                 return 1",
            ),
            finish: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then
                   redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
                 else
                   redis.call('DEL', KEYS[1])
                 end",
            ),
            withdraw: Script::new(
                "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end",
            ),
        }
    }

    async fn fill<V: Cached>(
        &self,
        link: &Link,
        name: &str,
        lease: &Token,
        value: Option<&V>,
        ttl: Duration,
    ) -> Result<bool, RedisAway> {
        let mut call = self.fill.key(name);
        link.invoke("fill", call.arg(lease).arg(entry::encode(value)).arg(millis(ttl))).await
    }

    async fn finish<V: Cached>(
        &self,
        link: &Link,
        name: &str,
        marker: &Token,
        value: Option<&V>,
        ttl: Duration,
    ) -> Result<(), RedisAway> {
        let mut call = self.finish.key(name);
        link.invoke("finish", call.arg(marker).arg(entry::encode(value)).arg(millis(ttl))).await
    }

    async fn withdraw(&self, link: &Link, name: &str, token: &Token) -> Result<(), RedisAway> {
        let mut call = self.withdraw.key(name);
        link.invoke("withdraw", call.arg(token)).await
    }
}

/// A key as the part of its name that tells where it lies, the same for every term. Cluster wants it within braces, so it has none
/// of its own.
fn tag(key: &str) -> Cow<'_, str> {
    if !key.is_empty() && !key.contains(['{', '}', '%']) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(format!("%{}", key.replace('%', "%25").replace('{', "%7b").replace('}', "%7d")))
}

fn millis(duration: Duration) -> u64 {
    (duration.as_millis() as u64).max(1)
}

/// `cache_reads_total`, `cache_loads_total` and `cache_fills_total`.
pub(super) struct Counters {
    hit: Counter,
    negative: Counter,
    miss: Counter,
    shared: Counter,
    away: Counter,
    loads: Counter,
    pub(super) filled: Counter,
    pub(super) lost: Counter,
}

impl Counters {
    fn new(cache: &'static str) -> Self {
        let read = |result: &'static str| counter!("cache_reads_total", "cache" => cache, "result" => result);
        let fill = |result: &'static str| counter!("cache_fills_total", "cache" => cache, "result" => result);
        Self {
            hit: read("hit"),
            negative: read("negative"),
            miss: read("miss"),
            shared: read("shared"),
            away: read("away"),
            loads: counter!("cache_loads_total", "cache" => cache),
            filled: fill("filled"),
            lost: fill("lost"),
        }
    }

    pub(super) fn count_read(&self, source: Source) {
        let counter = match source {
            Source::Hit => &self.hit,
            Source::Negative => &self.negative,
            Source::Miss => &self.miss,
            Source::Shared => &self.shared,
            Source::Away => &self.away,
        };
        counter.increment(1);
    }
}
