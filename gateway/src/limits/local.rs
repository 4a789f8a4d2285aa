//! Counters of this replica alone, for the time in which Redis is away. Bounded: an attack cannot make them grow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Subject;
use super::store::Count;

/// Policies and subjects counted at a time.
const CAPACITY: usize = 16 * 1024;

type Key = (&'static str, Subject);

#[derive(Default)]
pub struct LocalCounters {
    windows: Mutex<HashMap<Key, Window>>,
}

struct Window {
    used: u32,
    ends: Instant,
}

impl LocalCounters {
    pub fn count(&self, policy: &'static str, subject: Subject, length: Duration) -> Count {
        let now = Instant::now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= CAPACITY && !windows.contains_key(&(policy, subject)) {
            make_room(&mut windows, now);
        }
        let window = windows.entry((policy, subject)).or_insert(Window { used: 0, ends: now + length });
        if window.ends <= now {
            *window = Window { used: 0, ends: now + length };
        }
        window.used = window.used.saturating_add(1);
        Count::without_window(window.used, window.ends - now)
    }

    /// Refused requests were counted too, but hold no unit: what is above the quota is dropped first.
    pub fn give_back(&self, policy: &'static str, subject: Subject, quota: u32) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&(policy, subject)) {
            window.used = window.used.min(quota).saturating_sub(1);
        }
    }
}

/// Drops what has ended, or else whatever ends first.
fn make_room(windows: &mut HashMap<Key, Window>, now: Instant) {
    windows.retain(|_, window| window.ends > now);
    if windows.len() >= CAPACITY
        && let Some(first) = windows.iter().min_by_key(|(_, window)| window.ends).map(|(key, _)| *key)
    {
        windows.remove(&first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_and_begins_anew() {
        let counters = LocalCounters::default();
        let count = |length| counters.count("p", Subject::token("t"), length).used;
        assert_eq!([count(Duration::from_secs(60)), count(Duration::from_secs(60))], [1, 2]);
        counters.give_back("p", Subject::token("t"), 5);
        assert_eq!(count(Duration::from_secs(60)), 2);
        let short = |counters: &LocalCounters| counters.count("p", Subject::token("s"), Duration::ZERO).used;
        assert_eq!([short(&counters), short(&counters)], [1, 1]);
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let counters = LocalCounters::default();
        for number in 0..CAPACITY + 100 {
            counters.count("p", Subject::token(&number.to_string()), Duration::from_secs(60));
        }
        assert!(counters.windows.lock().unwrap().len() <= CAPACITY);
    }
}
