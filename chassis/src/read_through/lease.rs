//! A reader's turn to fill a key, which anybody's write ends.

use super::Cached;
use super::cache::Cache;
use super::entry::Token;
use crate::redis::Link;

/// Held from before a load begins until its value is filled or given up. Bound to one link, and so to one
/// server process.
pub(super) struct Lease {
    pub(super) link: Link,
    pub(super) key: String,
    pub(super) token: Token,
}

impl Lease {
    /// Caches what was loaded, unless the lease was lost meanwhile.
    pub(super) async fn fill<V: Cached>(self, cache: &Cache, value: Option<&V>) {
        match cache.fill(&self, value).await {
            Ok(true) => cache.counters.filled.increment(1),
            Ok(false) | Err(_) => cache.counters.lost.increment(1),
        }
    }

    /// Leaves the key to the next reader: the load failed.
    pub(super) async fn release(self, cache: &Cache) {
        cache.withdraw(&self.link, &self.key, &self.token).await;
    }
}
