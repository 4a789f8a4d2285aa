//! Counters of this replica alone, for the time in which Redis is away. Bounded: an attack cannot make them grow.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::growth::MEMORY;
use super::store::Count;
use super::{Policy, Subject};

/// Policies and subjects counted at a time.
const CAPACITY: usize = 16 * 1024;

type Key = (&'static str, Subject);

#[derive(Default)]
pub struct LocalCounters {
    windows: Mutex<HashMap<Key, Window>>,
}

struct Window {
    used: u32,
    length: Duration,
    ends: Instant,
    /// Quotas used up before this window.
    used_up: u32,
}

impl LocalCounters {
    /// Counts a request against `quota`, which is smaller than the policy's.
    pub fn count(&self, policy: &Policy, subject: Subject, quota: u32) -> Count {
        let (key, now) = ((policy.name, subject), Instant::now());
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= CAPACITY && !windows.contains_key(&key) {
            make_room(&mut windows, now);
        }
        let window = windows.entry(key).or_insert_with(|| Window::first(policy, now));
        if window.ends <= now {
            *window = window.next(policy, quota, now);
        }
        window.used = window.used.saturating_add(1);
        Count::without_window(window.used, window.ends - now, window.length)
    }

    /// Refused requests were counted too, but hold no unit: what is above the quota is dropped first.
    pub fn give_back(&self, policy: &Policy, subject: Subject, quota: u32) {
        self.change(policy, subject, |window| window.used = window.used.min(quota).saturating_sub(1));
    }

    /// From here on the windows grow anew.
    pub fn forgive(&self, policy: &Policy, subject: Subject) {
        self.change(policy, subject, |window| window.used_up = 0);
    }

    fn change(&self, policy: &Policy, subject: Subject, change: impl FnOnce(&mut Window)) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&(policy.name, subject)) {
            change(window);
        }
    }
}

impl Window {
    fn first(policy: &Policy, now: Instant) -> Self {
        Self { used: 0, length: policy.quota.window, ends: now + policy.quota.window, used_up: 0 }
    }

    /// The window after one that has ended.
    fn next(&self, policy: &Policy, quota: u32, now: Instant) -> Self {
        let first = Self::first(policy, now);
        match policy.growth {
            Some(growth) if now - self.ends < MEMORY => {
                let used_up = self.used_up.saturating_add(u32::from(self.used >= quota));
                let length = growth.window(policy.quota.window, used_up);
                Self { length, ends: now + length, used_up, ..first }
            }
            _ => first,
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
    use crate::limits::growth::Growth;
    use crate::limits::{Quota, WhenStoreIsAway};

    fn policy(window: Duration) -> Policy {
        Policy::new("p", Quota { requests: 20, window }, WhenStoreIsAway::CountAlone)
    }

    #[test]
    fn a_window_ends_and_begins_anew() {
        let counters = LocalCounters::default();
        let policy = |window| policy(Duration::from_secs(window));
        let count = |policy: &Policy, text| counters.count(policy, Subject::token(text), 5).used;
        let long = policy(60);
        assert_eq!([count(&long, "t"), count(&long, "t")], [1, 2]);
        counters.give_back(&long, Subject::token("t"), 5);
        assert_eq!(count(&long, "t"), 2);
        let short = policy(0);
        assert_eq!([count(&short, "s"), count(&short, "s")], [1, 1]);
    }

    #[test]
    fn a_used_up_quota_makes_the_next_window_longer_until_it_is_forgiven() {
        let (counters, subject) = (LocalCounters::default(), Subject::token("t"));
        let window = Duration::from_nanos(1);
        let growing = policy(window).growing(Growth { longest: window * 4 });
        // Longer than any of the windows here.
        let count = || {
            std::thread::sleep(Duration::from_micros(1));
            counters.count(&growing, subject, 1)
        };
        let lengths = [count(), count(), count(), count()].map(|count| count.window.as_nanos());
        assert_eq!(lengths, [1, 2, 4, 4]);
        counters.give_back(&growing, subject, 1);
        counters.forgive(&growing, subject);
        assert_eq!(count().window, window);
        counters.give_back(&growing, subject, 1);
        assert_eq!(count().window, window, "a quota that was not used up makes nothing longer");
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let (counters, policy) = (LocalCounters::default(), policy(Duration::from_secs(60)));
        for number in 0..CAPACITY + 100 {
            counters.count(&policy, Subject::token(&number.to_string()), 5);
        }
        assert!(counters.windows.lock().unwrap().len() <= CAPACITY);
    }
}
