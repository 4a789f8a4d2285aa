//! How long a job that comes now would wait, as far as one can tell from those before it. Refuses nothing itself.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// What the threads have before them, and how fast they are.
pub(super) struct Pace {
    threads: u16,
    waiting: AtomicU32,
    /// A moving average over the last few jobs; 0 before the first.
    each_micros: AtomicU64,
}

impl Pace {
    pub fn new(threads: u16) -> Self {
        Self { threads, waiting: AtomicU32::new(0), each_micros: AtomicU64::new(0) }
    }

    pub fn queued(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    pub fn dequeued(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn took(&self, duration: Duration) {
        let (last, before) = (duration.as_micros() as u64, self.each_micros.load(Ordering::Relaxed));
        let average = if before == 0 { last } else { (7 * before + last) / 8 };
        self.each_micros.store(average, Ordering::Relaxed);
    }

    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Until a thread takes up what comes now.
    pub fn wait(&self) -> Duration {
        let each = Duration::from_micros(self.each_micros.load(Ordering::Relaxed));
        each * self.waiting() / u32::from(self.threads.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_that_of_all_who_came_before() {
        let pace = Pace::new(2);
        (0..10).for_each(|_| pace.queued());
        assert_eq!(pace.wait(), Duration::ZERO, "nothing is known yet");
        pace.took(Duration::from_millis(20));
        assert_eq!(pace.wait(), Duration::from_millis(100));
        (0..60).for_each(|_| pace.took(Duration::from_millis(40)));
        assert!(pace.wait() > Duration::from_millis(190), "{:?}", pace.wait());
        (0..10).for_each(|_| pace.dequeued());
        assert_eq!(pace.wait(), Duration::ZERO);
    }
}
