//! Who shares a load with whom: at most one flight at a time for each key, and a queue of one behind it.
//!
//! A request joins a flight only before that begins, so whatever a flight finds was true after each of its
//! requests arrived. Knows nothing of Redis.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::shutdown::Shutdown;
use crate::trace::TraceContext;

/// Where the answer to a read came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Hit,
    Negative,
    Miss,
    Shared,
    Away,
}

impl Source {
    pub(super) fn of<V>(found: Option<&V>) -> Self {
        if found.is_some() { Self::Hit } else { Self::Negative }
    }
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(super) struct Landing<V, E> {
    pub(super) source: Source,
    pub(super) outcome: Result<Option<V>, E>,
}

/// The flights of one cache in one process.
pub(super) struct Flights<V, E> {
    routes: Arc<Routes<V, E>>,
    shutdown: Shutdown,
}

impl<V, E> Clone for Flights<V, E> {
    fn clone(&self) -> Self {
        Self { routes: self.routes.clone(), shutdown: self.shutdown.clone() }
    }
}

/// The keys with a flight in the air or about to begin, each with the one that can still be joined.
struct Routes<V, E>(Mutex<HashMap<String, Option<Boarding<V, E>>>>);

/// A flight that has not begun: a future that nobody polled yet, and who waits for it.
struct Boarding<V, E> {
    flight: Pin<Box<dyn Future<Output = Landing<V, E>> + Send>>,
    waiting: Vec<oneshot::Sender<Landing<V, E>>>,
}

impl<V, E> Flights<V, E>
where
    V: Clone + Send + 'static,
    E: Clone + Send + 'static,
{
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { routes: Arc::new(Routes(Mutex::default())), shutdown }
    }

    /// Joins the flight of `key` that has not begun, or adds `flight` as that. `None` when it crashed.
    pub(super) async fn join<F>(&self, key: &str, flight: F) -> Option<Landing<V, E>>
    where
        F: Future<Output = Landing<V, E>> + Send + 'static,
    {
        let (landed, landing) = oneshot::channel();
        let joined = self.board(key, flight, landed);
        let mut landing = landing.await.ok()?;
        if joined {
            landing.source = Source::Shared;
        }
        Some(landing)
    }

    /// Tells whether the flight is another request's.
    fn board<F>(&self, key: &str, flight: F, landed: oneshot::Sender<Landing<V, E>>) -> bool
    where
        F: Future<Output = Landing<V, E>> + Send + 'static,
    {
        let mut routes = self.routes.lock();
        match routes.get_mut(key) {
            Some(Some(boarding)) => {
                boarding.waiting.push(landed);
                true
            }
            Some(queue @ None) => {
                *queue = Some(Boarding { flight: in_this_trace(flight), waiting: vec![landed] });
                false
            }
            None => {
                let first = Boarding { flight: in_this_trace(flight), waiting: vec![landed] };
                routes.insert(key.to_owned(), Some(first));
                let route = Route { routes: self.routes.clone(), key: key.to_owned(), closed: false };
                self.shutdown.spawn(route.operate());
                false
            }
        }
    }
}

impl<V, E> Routes<V, E> {
    /// No panic can leave the map half-changed, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Option<Boarding<V, E>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that runs the flights of one key, one after the other, until nobody waits.
struct Route<V, E> {
    routes: Arc<Routes<V, E>>,
    key: String,
    closed: bool,
}

impl<V: Clone, E: Clone> Route<V, E> {
    async fn operate(mut self) {
        while let Some(boarding) = self.next_or_close() {
            if boarding.waiting.iter().all(oneshot::Sender::is_closed) {
                continue;
            }
            let landing = boarding.flight.await;
            let mut waiting = boarding.waiting;
            // An error says nothing that could be outdated: whoever queued behind a failed load need not wait
            // for the next one.
            if landing.outcome.is_err() {
                waiting.extend(self.queued().into_iter().flat_map(|queued| queued.waiting));
            }
            for waiter in waiting {
                // One who went away needs no answer.
                let _ = waiter.send(landing.clone());
            }
        }
    }

    /// Takes the flight that is next; from then on it cannot be joined. Without one the route closes.
    fn next_or_close(&mut self) -> Option<Boarding<V, E>> {
        let mut routes = self.routes.lock();
        let next = routes.get_mut(&self.key).and_then(Option::take);
        if next.is_none() {
            routes.remove(&self.key);
            self.closed = true;
        }
        next
    }

    fn queued(&self) -> Option<Boarding<V, E>> {
        self.routes.lock().get_mut(&self.key).and_then(Option::take)
    }
}

/// A load that panics closes the route too: those who queue see that it crashed, and the next request starts
/// a new one.
impl<V, E> Drop for Route<V, E> {
    fn drop(&mut self) {
        if !self.closed {
            let stranded = self.routes.lock().remove(&self.key);
            drop(stranded);
        }
    }
}

/// A flight belongs to the trace of the request that brought it, though it runs in a task of its own.
fn in_this_trace<F>(flight: F) -> Pin<Box<dyn Future<Output = F::Output> + Send>>
where
    F: Future + Send + 'static,
{
    match TraceContext::current() {
        Some(context) => Box::pin(context.scope(flight)),
        None => Box::pin(flight),
    }
}
