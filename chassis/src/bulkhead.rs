//! Bulkheads: so many places for one kind of work and no more, so that what hangs fills its own and nobody else's.
//!
//! A bulkhead refuses; it never waits and holds no timer. To enter and to leave cost a few atomic operations each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge};

/// The places for one kind of work in this process. Clones share them.
///
/// Told as `bulkhead_in_flight{bulkhead}`, `bulkhead_limit{bulkhead}` and `bulkhead_shed_total{bulkhead}`.
#[derive(Clone)]
pub struct Bulkhead(Arc<Places>);

struct Places {
    limit: usize,
    taken: AtomicUsize,
    in_flight: Gauge,
    shed: Counter,
}

/// Every place is taken: the work is to be refused, and has been counted as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// One place, until it is dropped.
#[must_use = "the place is free again when this is dropped"]
pub struct Place(Arc<Places>);

/// A place that its holder does without for a while.
#[must_use = "the place is its holder's again when this is dropped"]
pub struct Lent<'a>(&'a Bulkhead);

impl Bulkhead {
    /// `name` is its label in the metrics.
    pub fn new(name: &'static str, limit: usize) -> Self {
        metrics::gauge!("bulkhead_limit", "bulkhead" => name).set(limit as f64);
        let in_flight = metrics::gauge!("bulkhead_in_flight", "bulkhead" => name);
        in_flight.set(0.0);
        let shed = metrics::counter!("bulkhead_shed_total", "bulkhead" => name);
        shed.absolute(0);
        Self(Arc::new(Places { limit, taken: AtomicUsize::new(0), in_flight, shed }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// There is none.
    pub fn enter(&self) -> Result<Place, Full> {
        self.enter_beyond(0)
    }

    /// Takes a place, be it one of so many beyond the limit that are there for this kind of work alone.
    ///
    /// # Errors
    /// There is none.
    pub fn enter_beyond(&self, reserve: usize) -> Result<Place, Full> {
        let places = &self.0;
        let taken = places.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if taken > places.limit.saturating_add(reserve) {
            places.taken.fetch_sub(1, Ordering::Relaxed);
            places.shed.increment(1);
            return Err(Full);
        }
        places.in_flight.set(taken as f64);
        Ok(Place(self.0.clone()))
    }

    /// Leaves the place that the caller holds to others, for as long as the caller waits for somebody whose time is not ours.
    pub fn lend(&self) -> Lent<'_> {
        self.0.leave();
        Lent(self)
    }

    pub fn in_flight(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }
}

impl Lent<'_> {
    /// Ends the wait.
    ///
    /// # Errors
    /// Every place has been taken meanwhile. The caller still holds one too many, and is to give it up at once.
    pub fn take_back(self) -> Result<(), Full> {
        let places = &self.0.0;
        if places.taken.load(Ordering::Relaxed) < places.limit {
            return Ok(());
        }
        places.shed.increment(1);
        Err(Full)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.0.taken.fetch_add(1, Ordering::Relaxed);
    }
}

impl Places {
    fn leave(&self) {
        let before = self.taken.fetch_sub(1, Ordering::Relaxed);
        self.in_flight.set(before.saturating_sub(1) as f64);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_refused_and_a_place_that_was_left_is_free() {
        let bulkhead = Bulkhead::new("test", 2);
        let first = bulkhead.enter().unwrap();
        let _second = bulkhead.enter().unwrap();
        for _ in 0..3 {
            assert!(bulkhead.enter().is_err());
        }
        assert_eq!(bulkhead.in_flight(), 2, "refusals take nothing");
        drop(first);
        assert!(bulkhead.enter().is_ok());
    }

    #[test]
    fn the_reserve_is_for_those_alone_who_may_go_beyond_the_limit() {
        let bulkhead = Bulkhead::new("test", 1);
        let _ordinary = bulkhead.enter().unwrap();
        let reserved = bulkhead.enter_beyond(1).unwrap();
        assert!(bulkhead.enter_beyond(1).is_err());
        assert!(bulkhead.enter().is_err());
        drop(reserved);
        assert!(bulkhead.enter().is_err(), "the limit is as it was");
        assert_eq!(bulkhead.in_flight(), 1);
    }

    #[test]
    fn a_lent_place_is_free_to_others_and_comes_back_when_there_is_room() {
        let bulkhead = Bulkhead::new("test", 1);
        let mine = bulkhead.enter().unwrap();
        let lent = bulkhead.lend();
        let other = bulkhead.enter().unwrap();
        assert!(lent.take_back().is_err(), "somebody else has it");
        drop((mine, other));
        assert_eq!(bulkhead.in_flight(), 0);

        let mine = bulkhead.enter().unwrap();
        assert!(bulkhead.lend().take_back().is_ok());
        assert_eq!(bulkhead.in_flight(), 1);
        drop(bulkhead.lend());
        drop(mine);
        assert_eq!(bulkhead.in_flight(), 0, "a wait that was given up costs nothing");
    }

    #[test]
    fn threads_that_crowd_in_and_out_leave_it_empty() {
        let bulkhead = Bulkhead::new("test", 3);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        let place = bulkhead.enter();
                        assert!(bulkhead.in_flight() <= 3 + 4);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(bulkhead.in_flight(), 0);
    }
}
