//! Bulkheads: so many places for one kind of work and no more, so that what hangs fills its own and nobody else's.
//!
//! What finds no place waits, in order of arrival, for most crowds are gone soon. Where the line has fallen too far behind it is refused, after a
//! moment, or at once where the line is long. To refuse is work as well, though, and who is refused may be back at once: a process that does nothing else than refuse serves nobody. So there
//! are so many refusals a second, and who gets none waits on, which costs nothing. A line that is full refuses whatever comes.
//!
//! To enter and to leave where there is room costs a few atomic operations each, no timer and no allocation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

mod refusals;

pub use refusals::Refusals;

/// The places for one kind of work in this process. Clones share them.
///
/// Told as `bulkhead_in_flight{bulkhead}`, `bulkhead_limit{bulkhead}` and `bulkhead_shed_total{bulkhead}`.
#[derive(Clone)]
pub struct Bulkhead(Arc<Places>);

/// How much of one kind of work there may be.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub places: usize,
    /// Who may wait for one of them.
    pub line: usize,
    /// How far behind the line may be before anybody is refused: how long ago the one came who got the last place.
    pub crowd: Duration,
    /// How long one waits at least before one is refused, but for a long line.
    pub moment: Duration,
    /// How long one waits who cannot be refused before.
    pub patience: Duration,
}

struct Places {
    room: Room,
    opened: Instant,
    taken: AtomicUsize,
    /// When the one came who got the last place there was, in microseconds since the places were opened.
    served: AtomicU64,
    waiting: AtomicUsize,
    freed: Notify,
    refusals: Refusals,
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
    pub fn new(name: &'static str, room: Room, refusals: &Refusals) -> Self {
        metrics::gauge!("bulkhead_limit", "bulkhead" => name).set(room.places as f64);
        let in_flight = metrics::gauge!("bulkhead_in_flight", "bulkhead" => name);
        in_flight.set(0.0);
        let shed = metrics::counter!("bulkhead_shed_total", "bulkhead" => name);
        shed.absolute(0);
        Self(Arc::new(Places {
            room,
            opened: Instant::now(),
            taken: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            refusals: refusals.clone(),
            in_flight,
            shed,
        }))
    }

    /// Takes a place if there is one, and nobody waits for it.
    pub fn try_enter(&self) -> Option<Place> {
        if self.0.waiting.load(Ordering::Relaxed) > 0 { None } else { self.take(self.0.room.places) }
    }

    /// Takes a place, be it one of so many beyond the limit that are there for this kind of work alone.
    pub fn try_enter_beyond(&self, reserve: usize) -> Option<Place> {
        self.take(self.0.room.places.saturating_add(reserve))
    }

    /// Takes a place, and waits for it as the module says.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn enter(&self) -> Result<Place, Full> {
        match self.try_enter() {
            Some(place) => Ok(place),
            None => self.wait().await,
        }
    }

    async fn wait(&self) -> Result<Place, Full> {
        let places = &*self.0;
        let (ahead, _waiting) = places.stand_in_line();
        if ahead >= places.room.line {
            return Err(self.refuse());
        }
        let (begun, served) = (Instant::now(), places.served.load(Ordering::Relaxed));
        let Room { crowd, moment, patience, .. } = places.room;
        let patience = patience.max(2 * moment);
        let (moment, crowd, patience) = (begun + moment, begun + crowd.min(patience), begun + patience);
        // In a long line it takes no moment to see that it will take more than one.
        let mut until = if ahead < places.room.places {
            moment
        } else if places.may_refuse() {
            return Err(self.refuse());
        } else {
            crowd.max(moment)
        };
        loop {
            let mut freed = std::pin::pin!(places.freed.notified());
            freed.as_mut().enable();
            if let Some(place) = self.take(places.room.places) {
                places.has_served(begun);
                return Ok(place);
            }
            while timeout_at(until, freed.as_mut()).await.is_err() {
                // Who has waited for long is refused only if the line stands, for else the turn is near.
                let stands = || places.served.load(Ordering::Relaxed) == served;
                if until == patience || (until == moment || stands()) && places.may_refuse() {
                    return Err(self.refuse());
                }
                until = if until < crowd { crowd } else { patience };
            }
        }
    }

    /// Leaves the place that the caller holds to others, for as long as the caller waits for somebody whose time is not ours.
    pub fn lend(&self) -> Lent<'_> {
        self.0.leave();
        Lent(self)
    }

    pub fn in_flight(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    fn take(&self, limit: usize) -> Option<Place> {
        let places = &self.0;
        let taken = places.taken.fetch_add(1, Ordering::Relaxed) + 1;
        if taken > limit {
            places.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        if taken == places.room.places {
            places.has_served(Instant::now());
        }
        places.in_flight.set(taken as f64);
        Some(Place(self.0.clone()))
    }

    /// Counts a refusal that was decided elsewhere.
    pub fn refuse(&self) -> Full {
        self.0.shed.increment(1);
        Full
    }
}

impl Lent<'_> {
    /// Ends the wait: the place is the holder's again, as soon as one is free.
    ///
    /// # Errors
    /// There is none in time. The caller still holds one too many, and is to give it up at once.
    pub async fn take_back(self) -> Result<(), Full> {
        let place = self.0.enter().await?;
        // The holder counts again before the place goes, so that nobody gets in between.
        drop(self);
        drop(place);
        Ok(())
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
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }

    fn has_served(&self, arrival: Instant) {
        self.served.store(arrival.duration_since(self.opened).as_micros() as u64, Ordering::Relaxed);
    }

    /// How long ago the one came who got the last place.
    fn behind(&self) -> Duration {
        let served = self.opened + Duration::from_micros(self.served.load(Ordering::Relaxed));
        served.elapsed()
    }

    fn may_refuse(&self) -> bool {
        self.behind() >= self.room.crowd && self.refusals.take()
    }

    /// How many were there before, too.
    fn stand_in_line(&self) -> (usize, InLine<'_>) {
        (self.waiting.fetch_add(1, Ordering::Relaxed), InLine(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

struct InLine<'a>(&'a Places);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
