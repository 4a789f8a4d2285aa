//! A write that every replica knows to be under way.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::Cache;
use super::entry::Token;
use super::{CacheAway, Cached};
use crate::redis::Link;

/// How long a committed write tries to reach the cache before it goes without an acknowledgement.
const FINISH_BUDGET: Duration = Duration::from_secs(1);
/// Pause between two tries.
const FINISH_PAUSE: Duration = Duration::from_millis(50);

/// The marker of one write on one key. While it stands, nobody answers from the cache.
///
/// To be finished when the change is committed, abandoned when it certainly is not, and dropped when nobody
/// can tell: the marker then expires by itself, long after the transaction ended one way or the other.
#[must_use = "neither finished nor abandoned, an announcement keeps its key out of the cache for a while"]
pub struct Announced<V> {
    pub(super) cache: Arc<Cache>,
    pub(super) link: Link,
    pub(super) key: String,
    pub(super) marker: Token,
    pub(super) value: PhantomData<fn(V)>,
}

/// What a write leaves on its key.
enum Left<'v, V> {
    Value(Option<&'v V>),
    Nothing,
}

impl<V: Cached> Announced<V> {
    /// Caches the value as it is after the commit, `None` for none. To be called after the commit and before
    /// the acknowledgement.
    ///
    /// The value may also be one that the writer read after the announcement, when it turned out that there
    /// was nothing to change.
    ///
    /// # Errors
    /// The cache was away for a second. The write is committed but must not be acknowledged: the marker, or
    /// the next server process with its empty cache, sees to it that readers find it.
    pub async fn finish(self, value: Option<&V>) -> Result<(), CacheAway> {
        self.leave(Left::Value(value)).await
    }

    /// Leaves nothing behind, not even that there is no value: for what must not be known any more. As safe as
    /// [`finish`](Self::finish), since what is not there is loaded.
    ///
    /// # Errors
    /// As with `finish`; the marker is gone by itself after a while.
    pub async fn erase(self) -> Result<(), CacheAway> {
        self.leave(Left::Nothing).await
    }

    async fn leave(self, left: Left<'_, V>) -> Result<(), CacheAway> {
        let give_up_at = Instant::now() + FINISH_BUDGET;
        let mut link = self.link;
        loop {
            // Another term's readers do not see what is put there by the name of this one.
            if let Ok(current) = self.cache.link(&self.key).await
                && current.term() != link.term()
            {
                link = current;
            }
            let told = match left {
                Left::Value(value) => self.cache.finish(&link, &self.key, &self.marker, value).await,
                Left::Nothing => self.cache.delete(&link, &self.key).await,
            };
            let Err(away) = told else { return Ok(()) };
            if Instant::now() >= give_up_at {
                return Err(away.into());
            }
            tokio::time::sleep(FINISH_PAUSE).await;
            if let Ok(replacement) = self.cache.link(&self.key).await {
                link = replacement;
            }
        }
    }

    /// Takes the marker back: the change was certainly not made.
    pub async fn abandon(self) {
        self.cache.withdraw(&self.link, &self.key, &self.marker).await;
    }
}
