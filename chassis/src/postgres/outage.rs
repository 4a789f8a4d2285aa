//! What an outage of the database may cost: while it gives no answer, a few units of work try it, and the others fail at once.
//!
//! Without this everything that needs the database would stand and wait for its time-outs, with whatever it holds meanwhile: places
//! that those need who get by without the database.
//!
//! And what it leaves behind: another server may have taken the place of one that was only out of reach. Connections to the old one
//! may come back to life with the network, and tell what was true before. So after a silence none is used that was there before it.

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
    /// The same for connections that were there already: none of them has answered since. One that cannot be made is no sign
    /// against those that there are.
    mute_since: AtomicU64,
    /// What was connected before this may lead to a server that has been replaced.
    trusted_since: AtomicU64,
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
            mute_since: AtomicU64::new(0),
            trusted_since: AtomicU64::new(0),
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

    /// A connection gave no answer in time, or broke.
    pub(super) fn mute(&self) {
        let _ = self.mute_since.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether a connection of this age leads to the server that answers now.
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let silence = self.mute_since.load(Ordering::Relaxed).max(self.trusted_since.load(Ordering::Relaxed));
        silence == 0 || age < Duration::from_millis(self.now().saturating_sub(silence))
    }

    fn is_away(&self) -> bool {
        self.is_outage(self.silent_since.load(Ordering::Relaxed))
    }

    /// Whether what began then is long enough.
    fn is_outage(&self, since: u64) -> bool {
        since != 0 && self.now() >= since + DOUBT.as_millis() as u64
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
        if self.0.mute_since.load(Ordering::Relaxed) != 0 {
            let since = self.0.mute_since.swap(0, Ordering::Relaxed);
            if self.0.is_outage(since) {
                self.0.trusted_since.fetch_max(since, Ordering::Relaxed);
            }
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
    fn after_a_silence_no_connection_from_before_it_is_trusted() {
        let outage = Outage::new(8);
        let made = Instant::now();
        assert!(outage.trusts(made.elapsed()));
        std::thread::sleep(Duration::from_millis(2));
        outage.mute();
        assert!(!outage.trusts(made.elapsed()));
        std::thread::sleep(DOUBT);
        let next = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(outage.trusts(next.elapsed()), "made since");
        outage.begin().unwrap().answered();
        assert!(!outage.trusts(made.elapsed()), "nor when another one has answered");
        assert!(outage.trusts(next.elapsed()));
    }

    #[test]
    fn one_slow_statement_among_others_costs_no_connections() {
        let outage = Outage::new(8);
        let made = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
        outage.mute();
        outage.begin().unwrap().answered();
        assert!(outage.trusts(made.elapsed()));
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
