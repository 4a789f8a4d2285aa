//! The protocol on a real Redis: replicas, slow loads, crashed writers, evictions and restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::redis::RedisUrl;

mod restarts;
mod sharing;
mod simulation;
mod writes;

/// What the tests cache: which write the value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(pub(super) u64);

impl Cached for Version {
    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.0.to_be_bytes());
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        bytes.as_ref().try_into().ok().map(u64::from_be_bytes).map(Self)
    }
}

type Replica = ReadThrough<Version, Arc<str>>;

/// A replica on the tests' Redis.
fn replica(shutdown: &Shutdown, namespace: &str) -> Replica {
    replica_on(&url(), shutdown, namespace)
}

fn replica_on(url: &RedisUrl, shutdown: &Shutdown, namespace: &str) -> Replica {
    let settings = Settings {
        name: "test",
        namespace: namespace.to_owned(),
        ttl: Duration::from_secs(300),
        negative_ttl: Duration::from_secs(30),
    };
    ReadThrough::new(Redis::open(url, "test", shutdown), settings, shutdown)
}

fn url() -> RedisUrl {
    url_in("TEST_CACHE_REDIS_URL")
}

#[expect(clippy::disallowed_methods, reason = "tests are told their servers in the environment")]
fn url_in(variable: &str) -> RedisUrl {
    let url = std::env::var(variable);
    url.unwrap_or_else(|_| panic!("{variable} has to name a Redis for tests")).parse().unwrap()
}

/// Keeps the keys of concurrent tests apart.
fn namespace() -> String {
    format!("test-{:016x}", fastrand::u64(..))
}

/// The system of record: a counter of writes, which takes its time to answer and counts its loads.
#[derive(Debug, Clone, Default)]
struct Database {
    version: Arc<AtomicU64>,
    loads: Arc<AtomicUsize>,
}

impl Database {
    fn at(version: u64) -> Self {
        Self { version: Arc::new(AtomicU64::new(version)), ..Self::default() }
    }

    /// Commits one more write.
    fn commit(&self) -> Version {
        Version(self.version.fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Reads the current version in the middle of `pauses`.
    async fn load<E>(self, pauses: [Duration; 2]) -> Result<Option<Version>, E> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        pause(pauses[0]).await;
        let version = self.version();
        pause(pauses[1]).await;
        Ok((version > 0).then_some(Version(version)))
    }
}

async fn pause(duration: Duration) {
    if duration.is_zero() { tokio::task::yield_now().await } else { tokio::time::sleep(duration).await }
}

/// Reads through a replica; 0 when there is no value.
async fn read(replica: &Replica, database: &Database, pauses: [Duration; 2]) -> u64 {
    let database = database.clone();
    let found = replica.read("key", move || database.clone().load(pauses)).await.unwrap();
    found.map_or(0, |version| version.0)
}

const AT_ONCE: [Duration; 2] = [Duration::ZERO; 2];

/// What Redis holds under `key` for the process behind the replica's link.
async fn raw(replica: &Replica) -> Option<Vec<u8>> {
    let link = replica.cache.link("key").await.unwrap();
    link.query("GET", redis::cmd("GET").arg(replica.cache.name(&link, "key"))).await.unwrap()
}

/// Evicts `key`.
async fn evict(replica: &Replica) {
    replica.forget("key").await;
}

#[tokio::test]
async fn a_value_and_its_absence_are_loaded_once() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let database = Database::default();
    for _ in 0..3 {
        assert_eq!(read(&replica, &database, AT_ONCE).await, 0);
    }
    assert_eq!(database.loads(), 1);
    replica.announce("key").await.unwrap().finish(Some(&database.commit())).await.unwrap();
    for _ in 0..3 {
        assert_eq!(read(&replica, &database, AT_ONCE).await, 1);
    }
    assert_eq!(database.loads(), 1, "a finished write is cached");
}

#[tokio::test]
async fn lifetimes_are_jittered_and_shorter_for_absence() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let link = replica.cache.link("key").await.unwrap();
    let mut lifetimes = Vec::new();
    for _ in 0..20 {
        for (value, bounds) in [(None, 27_000..=33_000), (Some(&Version(1)), 270_000..=330_000)] {
            replica.announce("key").await.unwrap().finish(value).await.unwrap();
            let name = replica.cache.name(&link, "key");
            let lifetime: i64 = link.query("PTTL", redis::cmd("PTTL").arg(name)).await.unwrap();
            assert!(
                (bounds.start() - 1_000..=*bounds.end()).contains(&lifetime),
                "{lifetime} not in {bounds:?}"
            );
            lifetimes.push(lifetime / 100);
        }
    }
    lifetimes.sort_unstable();
    lifetimes.dedup();
    assert!(lifetimes.len() > 10, "{lifetimes:?}");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_loaded() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let link = replica.cache.link("key").await.unwrap();
    let name = replica.cache.name(&link, "key");
    link.query::<()>("SET", redis::cmd("SET").arg(name).arg("Vshort")).await.unwrap();
    assert_eq!(read(&replica, &Database::at(3), AT_ONCE).await, 3);
}

#[tokio::test]
async fn without_a_cache_reads_are_loaded_and_writes_are_refused() {
    let shutdown = Shutdown::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let replica = replica_on(&format!("redis://{closed}").parse().unwrap(), &shutdown, "test");
    let database = Database::at(5);
    assert_eq!(read(&replica, &database, AT_ONCE).await, 5);
    assert!(replica.announce("key").await.is_err());
    assert_eq!(read(&replica, &database, AT_ONCE).await, 5);
    assert_eq!(database.loads(), 2);
}
