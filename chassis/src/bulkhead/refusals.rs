//! How many refusals a second a process can afford.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// To refuse costs some 30 microseconds, with reading the request and writing the answer: this many are a sixteenth of a core.
const PER_SECOND: f64 = 2_000.0;
/// As many at once as fit into the moment after which they are due.
const BURST: f64 = 100.0;

/// What a process may refuse after a wait. Clones share it, and so do all bulkheads of a process.
#[derive(Clone)]
pub struct Refusals(Arc<Mutex<Bucket>>);

struct Bucket {
    left: f64,
    at: Instant,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Bucket { left: BURST, at: Instant::now() })))
    }
}

impl Refusals {
    /// Takes one, if there is one.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = bucket.left + now.duration_since(bucket.at).as_secs_f64() * PER_SECOND;
        *bucket = Bucket { left: refilled.min(BURST), at: now };
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    impl Refusals {
        /// Nobody is ever refused after a wait.
        pub(in crate::bulkhead) fn none() -> Self {
            Self(Arc::new(Mutex::new(Bucket { left: f64::NEG_INFINITY, at: Instant::now() })))
        }
    }

    #[test]
    fn there_are_so_many_a_second() {
        let refusals = Refusals::default();
        let begun = Instant::now() + Duration::from_secs(60);
        let all = |at| (0..10_000).filter(|_| refusals.take_at(at)).count();
        assert_eq!(all(begun), 100);
        assert_eq!(all(begun + Duration::from_millis(10)), 20);
        assert_eq!(all(begun + Duration::from_secs(60)), 100, "what is not used is not kept");
    }
}
