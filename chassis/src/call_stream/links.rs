//! The call streams of one connection: one per method, opened when it is first called and again after it has ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::time::Instant;

use super::link::{Ending, Link};
use crate::upstream::attempts::Unanswered;
use crate::upstream::connection::Connection;

/// A stream that the server ends at once, again and again, is tried less and less often.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Links(Mutex<Vec<Entry>>);

struct Entry {
    path: PathAndQuery,
    link: Arc<Link>,
    /// Streams in a row that ended without one answer.
    failures: u32,
    /// From half the pause to all of it, so that clients do not come back in step.
    jitter: f64,
}

impl Links {
    /// The stream for a method, which is opened when there is none that takes requests.
    pub(super) fn get(
        &self,
        connection: &Connection,
        path: &PathAndQuery,
        limit: usize,
    ) -> Result<Arc<Link>, Unanswered> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.iter_mut().find(|entry| entry.path == *path) else {
            let link = Link::open(connection, path.clone(), limit);
            entries.push(Entry { path: path.clone(), link: link.clone(), failures: 0, jitter: 1.0 });
            return Ok(link);
        };
        if entry.link.takes_requests() {
            return Ok(entry.link.clone());
        }
        if let Some(Ending { at, refusal, has_answered }) = entry.link.ending() {
            let failures = if has_answered { 0 } else { entry.failures + 1 };
            if at + pause_after(failures).mul_f64(entry.jitter) > Instant::now() {
                return Err(refusal.map_or(Unanswered::NotSent, Unanswered::Refused));
            }
            entry.failures = failures;
        }
        entry.jitter = 0.5 + fastrand::f64() / 2.0;
        entry.link = Link::open(connection, path.clone(), limit);
        Ok(entry.link.clone())
    }
}

impl Links {
    /// Whatever is in flight is lost.
    pub(crate) fn end_all(&self) {
        for entry in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            entry.link.end(None);
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        count => (FIRST_PAUSE * 2_u32.saturating_pow(count - 1)).min(LONGEST_PAUSE),
    }
}
