//! What an outage of the database may cost: while it gives no answer, a few units of work try it, and the others fail at once.
//!
//! Without this everything that needs the database would stand and wait for its time-outs, with whatever it holds meanwhile: places
//! that those need who get by without the database.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An answer within this time of a failure, and it was no outage.
const DOUBT: Duration = Duration::from_millis(500);

/// Whether the database answers, as its callers find out.
#[derive(Debug)]
pub(super) struct Outage {
    opened: Instant,
    /// The first failure since the last answer, in milliseconds since `opened`, plus one; 0: it answers.
    silent_since: AtomicU64,
    in_flight: AtomicUsize,
    /// How many may try while it is away.
    trials: usize,
}

/// One unit of work, until it is dropped.
pub(super) struct Trial<'a>(&'a Outage);

impl Outage {
    pub(super) fn new(trials: u32) -> Self {
        Self {
            opened: Instant::now(),
            silent_since: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            trials: trials as usize,
        }
    }

    /// `None`: the database is away, and enough others try it already.
    pub(super) fn begin(&self) -> Option<Trial<'_>> {
        let trial = Trial(self);
        let others = self.in_flight.fetch_add(1, Ordering::Relaxed);
        (others < self.trials || !self.is_away()).then_some(trial)
    }

    fn is_away(&self) -> bool {
        match self.silent_since.load(Ordering::Relaxed) {
            0 => false,
            since => self.now() >= since + DOUBT.as_millis() as u64,
        }
    }

    fn now(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64 + 1
    }
}

impl Trial<'_> {
    pub(super) fn answered(&self) {
        // Most of the time there is nothing to write.
        if self.0.silent_since.load(Ordering::Relaxed) != 0 {
            self.0.silent_since.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn failed(&self) {
        let _ = self.0.silent_since.compare_exchange(0, self.0.now(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(trials: u32) -> Outage {
        let outage = Outage::new(trials);
        outage.begin().unwrap().failed();
        std::thread::sleep(DOUBT);
        outage
    }

    #[test]
    fn while_the_database_is_away_a_few_try_and_the_others_fail_at_once() {
        let outage = away(2);
        let (first, second) = (outage.begin().unwrap(), outage.begin().unwrap());
        assert!(outage.begin().is_none());
        first.failed();
        drop(first);
        let third = outage.begin().unwrap();
        assert!(outage.begin().is_none());
        third.answered();
        let crowd: Vec<_> = (0..10).map(|_| outage.begin()).collect();
        assert!(crowd.iter().all(Option::is_some), "it is back");
        drop((second, crowd, third));
        assert_eq!(outage.in_flight.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_failure_among_answers_is_no_outage() {
        let outage = away(1);
        outage.begin().unwrap().answered();
        outage.begin().unwrap().failed();
        let crowd: Vec<_> = (0..10).map(|_| outage.begin()).collect();
        assert!(crowd.iter().all(Option::is_some));
    }
}
