//! What an upstream counts. Handles are looked up once: counting a call costs an atomic addition.

use metrics::{Counter, Gauge};

/// How one attempt of a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The replica answered, be it with an error.
    Answered,
    /// The request did not reach the replica.
    NotSent,
    /// The connection or stream ended before the answer.
    Lost,
    /// No answer within the attempt's time.
    TimedOut,
    /// Refused here: too many calls are in flight already.
    Shed,
    /// There was no replica to send it to.
    Away,
}

const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Answered, "answered"),
    (Outcome::NotSent, "not_sent"),
    (Outcome::Lost, "lost"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Shed, "shed"),
    (Outcome::Away, "away"),
];

/// `upstream_calls_total{upstream,outcome}`, by attempt, and `upstream_retries_total{upstream}`.
pub(crate) struct AttemptCounters {
    by_outcome: [Counter; OUTCOMES.len()],
    retries: Counter,
}

impl AttemptCounters {
    pub(super) fn new(upstream: &'static str) -> Self {
        let by_outcome = OUTCOMES.map(
            |(_, name)| metrics::counter!("upstream_calls_total", "upstream" => upstream, "outcome" => name),
        );
        Self { by_outcome, retries: metrics::counter!("upstream_retries_total", "upstream" => upstream) }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.by_outcome[outcome as usize].increment(1);
    }

    pub(super) fn count_retry(&self) {
        self.retries.increment(1);
    }
}

/// `upstream_endpoints{upstream,state}`.
pub(super) struct ReplicaGauges {
    ready: Gauge,
    draining: Gauge,
    connecting: Gauge,
    away: Gauge,
}

impl ReplicaGauges {
    pub(super) fn new(upstream: &'static str) -> Self {
        let gauge = |state| metrics::gauge!("upstream_endpoints", "upstream" => upstream, "state" => state);
        Self {
            ready: gauge("ready"),
            draining: gauge("draining"),
            connecting: gauge("connecting"),
            away: gauge("away"),
        }
    }

    pub(super) fn set(&self, ready: usize, draining: usize, connecting: usize, away: usize) {
        self.ready.set(ready as f64);
        self.draining.set(draining as f64);
        self.connecting.set(connecting as f64);
        self.away.set(away as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_counter() {
        for (index, (outcome, _)) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
    }
}
