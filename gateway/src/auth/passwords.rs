//! Calls that need a password hashed: so many at once, and for a moment after one was refused for want of room no other.
//!
//! In a storm nearly all of them are refused, and who is refused may be back at once. So a refusal takes a moment, in which nothing
//! is done, and while the hash pool is known to be full nothing is counted or asked for it either.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::bulkhead::{Bulkhead, Refusals, Room};
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::problem::Problem;

/// How long a refusal takes, of the 50 ms within which callers are told.
const MOMENT: Duration = Duration::from_millis(25);

/// How long the hash pool counts as full after it said so. Less than a hash takes, so that hardly a place stays empty for it, and so
/// that a replica with room is soon found where another has none.
const LULL: Duration = Duration::from_millis(10);

pub(super) struct Passwords {
    places: Bulkhead,
    full_until: Mutex<Instant>,
}

impl Passwords {
    pub fn new(room: Room, refusals: &Refusals) -> Self {
        Self { places: Bulkhead::new("passwords", room, refusals), full_until: Mutex::new(Instant::now()) }
    }

    /// # Errors
    /// 503: there was no room a moment ago.
    pub async fn check_room(&self) -> Result<(), Problem> {
        if Instant::now() >= *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(());
        }
        let full = self.places.refuse();
        tokio::time::sleep(MOMENT).await;
        Err(full.into())
    }

    /// Makes a call that hashes a password.
    ///
    /// # Errors
    /// 503 when there is no room, and whatever the call fails with.
    pub async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Problem> {
        self.check_room().await?;
        let place = self.places.enter().await?;
        let outcome = call.await;
        drop(place);
        match outcome {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                let problem = Problem::from(status);
                if problem.is_at_capacity() {
                    *self.full_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + LULL;
                    tokio::time::sleep(MOMENT).await;
                }
                Err(problem)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn passwords() -> Passwords {
        Passwords::new(
            Room {
                places: 1,
                line: 1,
                crowd: Duration::ZERO,
                moment: MOMENT,
                patience: Duration::from_secs(1),
            },
            &Refusals::default(),
        )
    }

    fn full() -> Status {
        let details = ErrorDetails::with_error_info("CAPACITY", "auth.sallyport", HashMap::new());
        Status::with_error_details(Code::ResourceExhausted, "the hash pool is full", details)
    }

    #[tokio::test]
    async fn after_a_refusal_nothing_is_asked_for_a_moment() {
        let passwords = passwords();
        let calls = Cell::new(0);
        let call = async |answer: Result<(), Status>| {
            let call = async {
                calls.set(calls.get() + 1);
                answer.map(Response::new)
            };
            passwords.call(call).await.map_err(|problem| problem.is_at_capacity())
        };
        let begun = Instant::now();
        // Those in the queue ask when the first has been refused, before it is told so.
        let (first, second) = tokio::join!(call(Err(full())), call(Ok(())));
        assert_eq!((first, second, calls.get()), (Err(true), Err(true), 1));
        // That is longer than the pool counts as full.
        assert!(begun.elapsed() >= MOMENT);
        assert_eq!(call(Ok(())).await, Ok(()));
        assert_eq!(calls.get(), 2);
    }

    #[tokio::test]
    async fn other_failures_keep_nobody_out() {
        let passwords = passwords();
        let wrong = Status::unauthenticated("wrong password");
        let refused = passwords.call::<()>(async { Err(wrong) }).await.unwrap_err();
        assert!(refused.is_no_session());
        assert!(passwords.check_room().await.is_ok());
    }
}
