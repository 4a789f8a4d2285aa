//! The spans that have ended and are not sent yet: so many bytes and no more. Whoever ends a span never waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::Counter;
use tokio::sync::Notify;

use super::wire;

/// What is sent without waiting for more: some 700 spans.
const BATCH: usize = 256 * 1024;

/// What waits at most: some 9,000 spans. Collectors take requests of 4 MiB, so that it always fits into one.
const CAPACITY: usize = 3 * 1024 * 1024;

#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Batch>,
    batch_complete: Notify,
    dropped: Counter,
}

/// Spans as they are sent.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) spans: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Queue {
    /// `dropped` counts the spans for which there was no room.
    pub(crate) fn new(dropped: Counter) -> Self {
        Self { waiting: Mutex::default(), batch_complete: Notify::new(), dropped }
    }

    /// Adds an encoded span.
    pub(crate) fn push(&self, span: &[u8]) {
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        if before + span.len() > CAPACITY {
            drop(waiting);
            return self.dropped.increment(1);
        }
        wire::put_span(&mut waiting.bytes, span);
        waiting.spans += 1;
        let after = waiting.bytes.len();
        drop(waiting);
        // Waking the exporter takes a system call: not for each span.
        if before < BATCH && after >= BATCH {
            self.batch_complete.notify_one();
        }
    }

    /// All that wait, as soon as they are a batch or the time is up.
    pub(crate) async fn take(&self, patience: Duration) -> Batch {
        let _ = tokio::time::timeout(patience, self.batch_complete.notified()).await;
        self.take_now()
    }

    pub(crate) fn take_now(&self) -> Batch {
        let mut waiting = self.lock();
        // The next batch will be about as long.
        let next = Batch { spans: 0, bytes: Vec::with_capacity(waiting.bytes.len()) };
        std::mem::replace(&mut waiting, next)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().spans == 0
    }

    /// No panic can leave the batch half-changed in a way that matters: a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_full_queue_drops_what_comes_on_top_and_counts_it() {
        let dropped = Arc::new(AtomicU64::new(0));
        let queue = Queue::new(Counter::from_arc(dropped.clone()));
        let span = vec![0; CAPACITY / 3 - 100];
        (0..5).for_each(|_| queue.push(&span));
        let taken = queue.take_now();
        assert_eq!((taken.spans, dropped.load(Ordering::Relaxed)), (3, 2));
        assert!(taken.bytes.len() <= CAPACITY);
        queue.push(&span);
        assert_eq!((queue.take_now().spans, dropped.load(Ordering::Relaxed)), (1, 2), "there is room again");
    }

    #[tokio::test]
    async fn a_complete_batch_waits_for_nothing() {
        let queue = Queue::new(Counter::noop());
        let hour = Duration::from_secs(3600);
        queue.push(&vec![0; BATCH / 2]);
        assert!(queue.take(hour).now_or_never().is_none());
        queue.push(&vec![0; BATCH / 2]);
        assert_eq!(queue.take(hour).await.spans, 2);
    }
}
