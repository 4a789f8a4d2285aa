//! Whether the process should get traffic: every upstream has answered once, and no shutdown has begun.
//!
//! "Once", not "now": a dependency that goes away later takes no replica out of rotation, for all replicas would go together
//! while each could still serve something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::shutdown::Shutdown;

/// How long a process that has just started waits for its upstreams, before it serves what it can without the rest. Longer than they
/// take to answer when nothing is wrong: who came earlier would be told of an outage that there is not.
const PATIENCE: Duration = Duration::from_secs(1);

type Check = Box<dyn Fn() -> bool + Send + Sync>;

/// What `/readyz` and the gRPC health service tell.
#[derive(Clone)]
pub struct Readiness {
    checks: Arc<[(&'static str, Check)]>,
    all_answered: Arc<AtomicBool>,
    since: Instant,
    shutdown: Shutdown,
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readiness").field("waiting_for", &self.waiting_for()).finish_non_exhaustive()
    }
}

impl Readiness {
    /// `checks` names each upstream and tells whether it has answered once.
    pub fn new(shutdown: &Shutdown, checks: Vec<(&'static str, Check)>) -> Self {
        Self {
            checks: checks.into(),
            all_answered: Arc::default(),
            since: Instant::now(),
            shutdown: shutdown.clone(),
        }
    }

    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.waiting_for().is_empty()
    }

    /// Whether it can answer some of its callers well: ready, or some upstream has answered and the others have had their time. Less
    /// than ready, and what counts when the alternative is no replica at all: one that starts during an outage still serves the rest.
    pub fn can_serve(&self) -> bool {
        let some_answered = || self.checks.iter().any(|(_, answered)| answered());
        self.is_ready() || (!self.is_draining() && self.since.elapsed() >= PATIENCE && some_answered())
    }

    pub fn is_draining(&self) -> bool {
        self.shutdown.draining().is_cancelled()
    }

    /// The upstreams that have not answered yet.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        if self.all_answered.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let waiting: Vec<_> =
            self.checks.iter().filter(|(_, answered)| !answered()).map(|(name, _)| *name).collect();
        if waiting.is_empty() {
            self.all_answered.store(true, Ordering::Relaxed);
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn some_upstream_is_enough_to_serve_after_a_while_but_not_to_be_ready() {
        let mut readiness = Readiness::new(
            &Shutdown::new(),
            vec![("redis", Box::new(|| true)), ("postgres", Box::new(|| false))],
        );
        assert!(!readiness.can_serve(), "the other may be about to answer");
        readiness.since -= PATIENCE;
        assert!(readiness.can_serve() && !readiness.is_ready());
        let mut readiness = Readiness::new(&Shutdown::new(), vec![("postgres", Box::new(|| false))]);
        readiness.since -= PATIENCE;
        assert!(!readiness.can_serve());
    }

    #[tokio::test]
    async fn ready_once_every_upstream_answered_and_until_the_drain() {
        let shutdown = Shutdown::new();
        let answered = Arc::new(AtomicBool::new(false));
        let check = answered.clone();
        let readiness =
            Readiness::new(&shutdown, vec![("redis", Box::new(move || check.load(Ordering::Relaxed)))]);
        assert_eq!(readiness.waiting_for(), ["redis"]);
        answered.store(true, Ordering::Relaxed);
        assert!(readiness.is_ready());
        answered.store(false, Ordering::Relaxed);
        assert!(readiness.is_ready(), "an upstream that goes away later takes no replica out of rotation");
        shutdown.draining().cancel();
        assert!(!readiness.is_ready());
    }
}
