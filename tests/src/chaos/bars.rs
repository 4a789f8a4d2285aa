//! What a fault may cost, and what not.

use std::time::{Duration, Instant};

use super::journal::{Op, Outcome, Request};

/// From the return of what was away to the last failure.
pub const RECOVERY: Duration = Duration::from_secs(2);

/// The gateway's own deadline: every answer comes within it.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// What a fault may cost.
#[derive(Debug, Clone, Default)]
pub struct Bars {
    /// What may fail, and how long an answer that tells so may take at most.
    pub may_fail: Vec<(Op, Duration)>,
    pub excuses: Vec<Excuse>,
    /// Something has to fail: what goes unnoticed here was no fault.
    pub felt: bool,
}

/// Why a request that must not fail did.
#[derive(Debug, Clone, Copy)]
pub enum Excuse {
    /// It was a write, in flight when a replica of a service was lost, and answered as an outage: nobody knows whether it was
    /// carried out, so nobody may repeat it. A replica that hangs may still do it, so that is 504 when the time is up.
    WriteInFlight { status: u16, began: Instant, ended: Instant },
    /// This gateway held it while it was away: its connection broke, or it was too late when the gateway went on.
    HeldBy { gateway: usize, began: Instant, ended: Instant },
}

impl Bars {
    /// Nothing fails.
    pub fn nothing_fails() -> Self {
        Self::default()
    }

    /// These alone fail, with an answer within so long.
    pub fn only(ops: &[Op], within: Duration) -> Self {
        Self { felt: true, ..Self::at_most(ops, within) }
    }

    /// These alone may fail, with an answer within so long, and need not.
    pub fn at_most(ops: &[Op], within: Duration) -> Self {
        Self { may_fail: ops.iter().map(|op| (*op, within)).collect(), ..Self::default() }
    }

    /// How long a failure of this kind may take; `None` when there is to be none.
    pub fn limit(&self, op: Op) -> Option<Duration> {
        self.may_fail.iter().find(|(may, _)| *may == op).map(|(_, within)| *within)
    }

    /// Whether a failure is told as it has to be: as an outage, and as nothing else.
    pub fn allows(&self, request: &Request) -> bool {
        request.outcome == Outcome::Refused(503)
    }

    pub fn excuses(&self, request: &Request) -> bool {
        self.excuses.iter().any(|excuse| excuse.covers(request))
    }
}

impl Excuse {
    fn covers(&self, request: &Request) -> bool {
        match *self {
            Self::WriteInFlight { status, began, ended } => {
                !request.op.is_read()
                    && request.outcome == Outcome::Refused(status)
                    && request.began <= ended
                    && request.ended >= began
            }
            Self::HeldBy { gateway, began, ended } => {
                request.gateway == gateway
                    && matches!(request.outcome, Outcome::Broken | Outcome::Refused(504))
                    && request.began <= ended
                    && request.ended >= began
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_that_were_in_flight_and_told_are_excused() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let bars = Bars {
            excuses: vec![Excuse::WriteInFlight { status: 503, began: at(10), ended: at(11) }],
            ..Bars::default()
        };
        let request = |op, began, ended, outcome| Request {
            op,
            gateway: 0,
            began: at(began),
            ended: at(ended),
            outcome,
            code: None,
        };
        assert!(bars.excuses(&request(Op::Patch, 9, 12, Outcome::Refused(503))));
        assert!(!bars.excuses(&request(Op::Patch, 9, 12, Outcome::Refused(500))));
        assert!(!bars.excuses(&request(Op::Patch, 9, 12, Outcome::Broken)));
        assert!(!bars.excuses(&request(Op::Me, 9, 12, Outcome::Refused(503))));
        assert!(!bars.excuses(&request(Op::Patch, 12, 13, Outcome::Refused(503))));
        assert!(!bars.excuses(&request(Op::Patch, 8, 9, Outcome::Refused(503))));
    }
}
