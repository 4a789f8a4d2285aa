//! The one policy for every call, unary or on a stream: which replica, how long, and when to try another.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};
use tower::retry::budget::Budget as _;

use super::Upstream;
use super::connection::{Connection, Lease};
use super::failure::Failure;
use super::observe::Outcome;
use crate::rpc;
use crate::trace::{Kind, TraceContext};

/// Why an attempt brought no answer. A status of the replica's own is an answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The replica has not begun to work on it, so that any call may go elsewhere.
    NotSent,
    /// It may or may not have been carried out.
    Lost,
    /// Too many calls are in flight to this replica, which was the less loaded of two.
    Full,
    /// The replica does not take such calls, and said why: only on call streams.
    Refused(Status),
}

/// What a call asks of the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// Whether carrying it out twice does no harm.
    pub(crate) idempotent: bool,
}

impl Upstream {
    /// Runs `attempt` on one replica; when that brings no answer and it is safe, once more on another, within the deadline
    /// and the retry budget.
    pub(crate) async fn run<T, F>(&self, terms: Terms, attempt: impl Fn(Lease) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Unanswered>>,
    {
        let Terms { started, deadline, idempotent } = terms;
        if deadline <= started {
            return Err(self.fail(Outcome::TimedOut, Failure::TimedOut));
        }
        self.inner.budget.deposit();
        let pool = &self.inner.pool;
        let lease = match pool.pick(None) {
            Some(lease) => lease,
            None => match pool.acquire(None, deadline).await {
                Ok(lease) => lease,
                Err(_) => return Err(self.fail(Outcome::Away, Failure::Away)),
            },
        };
        // A replica that takes its time is given up for another only where there is one.
        let patience = if idempotent && lease.has_alternative() {
            started + pool.settings.attempt_timeout.min((deadline - started) / 2)
        } else {
            deadline
        };
        let tried: Arc<Connection> = lease.connection().clone();
        let mut running = pin!(Some(attempt(lease)));
        let mut result = poll_until(patience, running.as_mut()).await;
        if result.is_none() && patience < deadline {
            let Some(other) = self.permit_retry(pool.pick(Some(tried.address()))) else {
                return self.conclude(poll_until(deadline, running.as_mut()).await);
            };
            self.inner.counters.count(Outcome::TimedOut);
            running.set(Some(attempt(other)));
            return self.conclude(poll_until(deadline, running.as_mut()).await);
        }
        let may_move_on = match &result {
            Some(Err(Unanswered::NotSent)) => true,
            Some(Err(Unanswered::Lost)) => idempotent,
            // A method that one replica does not have is called in another way, on whichever.
            Some(Err(Unanswered::Refused(status))) => idempotent && status.code() != Code::Unimplemented,
            _ => false,
        };
        if may_move_on
            && let Some(other) = self.permit_retry(pool.acquire(Some(tried.address()), deadline).await.ok())
        {
            // The answer of the retry is the answer; of the first attempt only the count is left.
            let _ = self.conclude(result.take());
            running.set(Some(attempt(other)));
            result = poll_until(deadline, running.as_mut()).await;
        }
        self.conclude(result)
    }

    /// Spends a part of the retry budget on the replica that was found.
    fn permit_retry(&self, other: Option<Lease>) -> Option<Lease> {
        let other = other?;
        if !self.inner.budget.withdraw() {
            return None;
        }
        self.inner.counters.count_retry();
        Some(other)
    }

    /// Counts how an attempt ended and makes it the caller's.
    fn conclude<T>(&self, result: Option<Result<T, Unanswered>>) -> Result<T, Status> {
        match result {
            Some(Ok(answer)) => {
                self.inner.counters.count(Outcome::Answered);
                Ok(answer)
            }
            Some(Err(Unanswered::NotSent)) => Err(self.fail(Outcome::NotSent, Failure::Away)),
            Some(Err(Unanswered::Lost)) => Err(self.fail(Outcome::Lost, Failure::Lost)),
            Some(Err(Unanswered::Full)) => Err(self.fail(Outcome::Shed, Failure::Full)),
            Some(Err(Unanswered::Refused(status))) => {
                self.inner.counters.count(Outcome::Lost);
                Err(status)
            }
            None => Err(self.fail(Outcome::TimedOut, Failure::TimedOut)),
        }
    }

    fn fail(&self, outcome: Outcome, failure: Failure) -> Status {
        self.inner.counters.count(outcome);
        failure.status(self.name())
    }
}

/// The attempt's result, or `None` when the time is up first.
async fn poll_until<T, F>(
    until: Instant,
    attempt: std::pin::Pin<&mut Option<F>>,
) -> Option<Result<T, Unanswered>>
where
    F: Future<Output = Result<T, Unanswered>>,
{
    match attempt.as_pin_mut() {
        Some(attempt) => timeout_at(until, attempt).await.ok(),
        None => None,
    }
}

/// Runs an attempt under a client span of its own, when the trace at hand is sampled. It is given the context to send along.
pub(crate) async fn traced<T, F>(
    method: &'static str,
    connection: &Connection,
    attempt: impl FnOnce(Option<TraceContext>) -> F,
    code: impl Fn(&T) -> Code,
) -> T
where
    F: Future<Output = T>,
{
    let Some(context) = TraceContext::current() else { return attempt(None).await };
    let mut span = rpc::span_of(context, Kind::Client, method);
    let address = connection.address();
    span.set("server.address", address.host()).set("server.port", address.port());
    let outcome = attempt(Some(span.within(context))).await;
    rpc::record_code(&mut span, code(&outcome));
    outcome
}
