//! A read-through cache that never answers with a value older than an acknowledged write, on any replica.
//!
//! It owns the protocol between readers, writers and the cache Redis; it knows neither what is cached nor
//! where it is loaded from. A read cannot fail because of the cache; announcing a write can, and then nothing
//! may be written.
//!
//! # Protocol
//!
//! A key holds nothing, `V` and a value, `N` (there is no value), `L` and a lease token or `M` and a marker
//! token. Tokens are never used twice. Every key stands for itself.
//!
//! * **Read**: `GET`. `V` and `N` are the answer; anything else leads into a *flight*, of which there is one
//!   at a time per key and replica. A request joins a flight only before that begins; all who joined share
//!   its outcome.
//! * **Flight**: `SET key L.. NX GET PX`. It found `V` or `N`: that is the outcome. It found nothing: the
//!   lease is ours; load, then fill *if the key still holds our lease*, and end. It found a foreign lease:
//!   look again, for a few milliseconds. It found a marker, or the foreign lease stays, or the cache is away:
//!   load, and do not fill.
//! * **Write**: [`announce`](ReadThrough::announce) puts a marker on the key, in place of whatever is there;
//!   commit; [`finish`](Announced::finish): put the new value *if the key still holds our marker, else delete
//!   the key*; acknowledge.
//!
//! # Why no read is stale
//!
//! Let a read begin at `r`, and a write `W` with commit `c` and finish `e` be acknowledged before: `c < e <
//! r`. The outcome of a load that begins after `r` contains `W`, as the database is consistent, and a flight
//! serves only requests from before it began. What remains is a value seen in the cache at some `t > r`. Take
//! the last time before `t` that it was put there, by one of two:
//!
//! * *A fill*, under a lease taken at `a`, loaded at `s > a`, filled at `f`. The key held that lease from `a`
//!   to `f` without a break, for nobody else can set that token. Any finish leaves something else than a
//!   lease behind, so `e < a` or `e > f`. If `e < a` then `c < s`: the load saw `W`. If `e > f` the finish
//!   met a value, not its own marker, and deleted it: not seen at `t`.
//! * *The finish of a write `W'`*, announced at `m'`, which held its marker from `m'` to `e'` without a
//!   break. Again `e < m'` or `e > e'` (or `W'` is `W`). If `e < m'` then `c < c'`: the value of `W'` was
//!   written on top of `W`. If `e > e'` the finish of `W` deleted it.
//!
//! Nowhere does the argument need an entry to survive: evictions, expiry and `FLUSHALL` only ever turn a key
//! into nothing. This is also why a finish must delete what it does not know. A foreign marker: its writer
//! may have committed before us, and would put its older value. Nothing or a lease: a reader may have loaded
//! before our commit. A value: it may be that reader's.
//!
//! The marker's second task is the write that commits but is never finished, since its replica died or the
//! cache went away. It is not acknowledged, yet should come to light: while its marker stands nobody answers
//! from the cache, and what is filled after that was loaded after the commit. So the marker outlives the
//! longest transaction by far.
//!
//! Keys carry the *term* of the Redis process: its `run_id`, or where it has replicas the id of the history
//! of writes that began when it became master. A process that restarts from an old snapshot finds its entries
//! under a name that nobody asks for, and so does a replica that takes its master's place, then or later. A
//! finish that reaches another term than its announcement deletes there, which is all that the argument asks
//! of it.
//!
//! One term at a time has to answer for a key. A master that was replaced and does not know it yet breaks
//! this, unless it refuses to write (`min-replicas-to-write`); so where a master does that, a read of the
//! cache is a script that might write. Who moves a slot of a cluster to another master and back within the
//! life of its entries has to empty the cache: its names are those of before.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::redis::{Link, Redis, RedisAway};
use crate::shutdown::Shutdown;

mod announced;
mod cache;
mod entry;
mod flights;
mod lease;
#[cfg(test)]
mod tests;

pub use announced::Announced;

use cache::{Cache, Claim};
use flights::{Flights, Landing, Source};

/// What can be kept in a cache.
pub trait Cached: Clone + Send + Sync + 'static {
    /// Appends the value to `buffer`.
    fn encode(&self, buffer: &mut Vec<u8>);

    /// Reads what `encode` wrote, perhaps that of an older or newer version of the program. `None` when it
    /// makes no sense: the value is then loaded.
    fn decode(bytes: Bytes) -> Option<Self>;
}

/// Name and lifetimes of one cache.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `cache` label of the metrics.
    pub name: &'static str,
    /// What all keys begin with. To be changed when [`Cached::decode`] would misread what an older version
    /// wrote.
    pub namespace: String,
    /// How long a value lives, give or take a tenth.
    pub ttl: Duration,
    /// How long the absence of a value lives, give or take a tenth.
    pub negative_ttl: Duration,
}

/// The cache cannot be told about a write.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the cache does not answer")]
pub struct CacheAway(#[from] RedisAway);

/// One cache, as one replica sees it. Cheap to clone.
///
/// `V` is the value; `E` is how a load fails, shared by all who waited for it.
pub struct ReadThrough<V, E> {
    cache: Arc<Cache>,
    flights: Flights<V, E>,
}

impl<V, E> Clone for ReadThrough<V, E> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), flights: self.flights.clone() }
    }
}

impl<V: Cached, E: Clone + Send + 'static> ReadThrough<V, E> {
    pub fn new(redis: Redis, settings: Settings, shutdown: &Shutdown) -> Self {
        Self { cache: Arc::new(Cache::new(redis, settings)), flights: Flights::new(shutdown.clone()) }
    }

    /// The value of a key, from the cache or from `load`; `None` when there is none.
    ///
    /// A load goes on when the caller goes away, since others may wait for it; it has to be bounded in time
    /// by itself.
    ///
    /// # Errors
    /// What `load` failed with, for this caller or for one that it shares the load with.
    pub async fn read<L, F>(&self, key: &str, load: L) -> Result<Option<V>, E>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let mut link = self.cache.link(key).await.ok();
        if let Some(up) = &link {
            match self.cache.get::<V>(up, key).await {
                Ok(Some(found)) => {
                    self.cache.counters.count_read(Source::of(found.as_ref()));
                    return Ok(found);
                }
                Ok(None) => {}
                Err(_) => link = None,
            }
        }
        // Boxed, for a load is a large future, and a hit would carry its room along.
        Box::pin(self.load(link, key, load)).await
    }

    /// The value of a key that the cache does not have at the moment.
    async fn load<L, F>(&self, link: Option<Link>, key: &str, load: L) -> Result<Option<V>, E>
    where
        L: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let load = Arc::new(load);
        let flight = fly(self.cache.clone(), link, key.to_owned(), load.clone());
        // A flight that crashed has no outcome: the load is repeated here, where a panic is this request's own.
        let landing = match self.flights.join(key, flight).await {
            Some(landing) => landing,
            None => self.cache.load(Source::Miss, &*load).await,
        };
        self.cache.counters.count_read(landing.source);
        landing.outcome
    }

    /// Tells every replica that the value of `key` is about to change. To be called before the change is
    /// committed, and followed by [`Announced::finish`], [`Announced::erase`] or [`Announced::abandon`].
    ///
    /// # Errors
    /// The cache cannot be told: the change must not be made.
    pub async fn announce(&self, key: &str) -> Result<Announced<V>, CacheAway> {
        let link = self.cache.link(key).await?;
        let marker = self.cache.announce(&link, key).await?;
        Ok(Announced { cache: self.cache.clone(), link, key: key.to_owned(), marker, value: PhantomData })
    }

    /// Drops what is cached under `key`, which is always safe, as far as the cache can be reached.
    pub async fn forget(&self, key: &str) {
        if let Ok(link) = self.cache.link(key).await {
            let _ = self.cache.delete(&link, key).await;
        }
    }
}

/// One flight, from the first look at the key to the end of its fill. Without a link the cache is away.
async fn fly<V, E, L, F>(cache: Arc<Cache>, link: Option<Link>, key: String, load: Arc<L>) -> Landing<V, E>
where
    V: Cached,
    L: Fn() -> F,
    F: Future<Output = Result<Option<V>, E>>,
{
    let Some(link) = link else {
        return cache.load(Source::Away, &*load).await;
    };
    match cache.claim(&link, &key).await {
        Claim::Found(found) => Landing { source: Source::of(found.as_ref()), outcome: Ok(found) },
        Claim::Leased(lease) => {
            let landing = cache.load(Source::Miss, &*load).await;
            match &landing.outcome {
                Ok(value) => lease.fill(&cache, value.as_ref()).await,
                Err(_) => lease.release(&cache).await,
            }
            landing
        }
        Claim::Refused => cache.load(Source::Miss, &*load).await,
        Claim::Away => cache.load(Source::Away, &*load).await,
    }
}
