//! Every request of a run: when it began and ended, and what came of it. Judges nothing but success.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a request asks for, as far as an outage may treat it differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Op {
    Register,
    Login,
    Logout,
    Me,
    /// The own profile of somebody who does not change it.
    Profile,
    /// The public profile of somebody who does not change it.
    Public,
    /// A profile that is being changed, read by its owner or by others.
    Fresh,
    /// A change of the profile.
    Patch,
}

impl Op {
    pub const ALL: [Self; 8] = [
        Self::Register,
        Self::Login,
        Self::Logout,
        Self::Me,
        Self::Profile,
        Self::Public,
        Self::Fresh,
        Self::Patch,
    ];

    pub fn is_read(self) -> bool {
        matches!(self, Self::Me | Self::Profile | Self::Public | Self::Fresh)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Whatever is no failure; the model has looked at it.
    Answered,
    /// A status of 500 and above.
    Refused(u16),
    /// The connection broke, or nothing came for too long.
    Broken,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub op: Op,
    /// Which gateway was asked.
    pub gateway: usize,
    pub began: Instant,
    pub ended: Instant,
    pub outcome: Outcome,
    /// The problem's code of an answer that failed.
    pub code: Option<String>,
}

impl Request {
    pub fn failed(&self) -> bool {
        self.outcome != Outcome::Answered
    }

    pub fn took(&self) -> Duration {
        self.ended - self.began
    }
}

/// The requests so far. Clones are the same one.
#[derive(Clone, Default)]
pub struct Journal {
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Journal {
    pub fn note(&self, request: Request) {
        self.lock().push(request);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that ended after so many others.
    pub fn since(&self, position: usize) -> Vec<Request> {
        self.lock()[position..].to_vec()
    }

    /// When the last request failed that ended after so many others, and whether one of each kind that failed has been answered that
    /// began after `moment`.
    pub fn recovered(&self, position: usize, moment: Instant) -> (Option<Instant>, bool) {
        let requests = self.lock();
        let requests = &requests[position..];
        let last = requests.iter().rev().find(|request| request.failed()).map(|request| request.ended);
        let failed = |op: &Op| requests.iter().any(|request| request.op == *op && request.failed());
        let answered = |op: Op| {
            requests.iter().any(|request| request.op == op && !request.failed() && request.began >= moment)
        };
        (last, Op::ALL.into_iter().filter(failed).all(answered))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
