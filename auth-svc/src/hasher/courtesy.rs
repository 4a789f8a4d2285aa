//! How much the hashing threads yield to everything else: not at all for a password alone, for one hash disturbs nobody much; as much as
//! is configured while others wait, for that may be a storm; and less where hashes would starve.
//!
//! A thread's niceness is a weight: at 15, one that shares its core with four busy others gets a hundredth of it, and a login that
//! needs 15 ms would take two seconds. How long hashes take against the CPU time that they need tells when that happens.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::Gauge;

/// Each step is about three times the weight.
const STEP: u8 = 5;
/// Hashes that take longer than this many times their CPU time yield too much: 150 ms where one needs 15.
const STARVING: f64 = 10.0;
/// Those that take less can yield more. A step further they take up to three times as long, which is still not starving.
const GETTING_ON: f64 = 3.0;
/// Neither: what is taken for granted at a niceness of which nothing is known yet. Four hashes that nothing held up show that they get on,
/// and one that took thirty times its CPU time that they starve.
const UNKNOWN: f64 = f64::midpoint(STARVING, GETTING_ON);

/// What all threads of the pool go by.
pub(super) struct Courtesy {
    most: u8,
    state: Mutex<State>,
    gauge: Gauge,
}

struct State {
    niceness: u8,
    /// Time by CPU time at that niceness, a moving average over the last few hashes.
    stretch: f64,
}

impl Courtesy {
    /// Yields not at all at first, and soon `most`.
    pub fn new(most: u8) -> Self {
        let state = Mutex::new(State { niceness: 0, stretch: UNKNOWN });
        Self { most, state, gauge: metrics::gauge!("hash_pool_niceness") }
    }

    /// For a hash behind which so many wait.
    pub fn niceness(&self, waiting: u32) -> u8 {
        if waiting == 0 {
            return 0;
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner).niceness
    }

    /// Learns how long a hash took at some niceness, and how much CPU time of that.
    pub fn took(&self, niceness: u8, time: Duration, cpu: Duration) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if niceness != state.niceness {
            return;
        }
        let stretch = time.as_secs_f64() / cpu.as_secs_f64().max(1e-6);
        state.stretch = (3.0 * state.stretch + stretch) / 4.0;
        let next = if state.stretch > STARVING {
            state.niceness.saturating_sub(STEP)
        } else if state.stretch < GETTING_ON {
            self.most.min(state.niceness + STEP)
        } else {
            state.niceness
        };
        if next != state.niceness {
            *state = State { niceness: next, stretch: UNKNOWN };
            self.gauge.set(f64::from(next));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Duration = Duration::from_millis(15);

    impl Courtesy {
        fn learn(&self, times: usize, stretch: u32) {
            (0..times).for_each(|_| self.took(self.niceness(1), stretch * CPU, CPU));
        }
    }

    #[test]
    fn hashes_that_get_on_yield_all_that_is_configured_while_others_wait() {
        let courtesy = Courtesy::new(12);
        let mut steps = vec![courtesy.niceness(1)];
        for _ in 0..4 {
            courtesy.learn(4, 1);
            steps.push(courtesy.niceness(1));
        }
        assert_eq!(steps, [0, 5, 10, 12, 12]);
        assert_eq!(courtesy.niceness(0), 0);
    }

    #[test]
    fn nothing_is_learnt_from_a_niceness_about_another() {
        let courtesy = Courtesy::new(15);
        courtesy.learn(100, 4);
        assert_eq!(courtesy.niceness(1), 0, "they would starve at 5");
        courtesy.learn(2, 1);
        assert_eq!(courtesy.niceness(1), 5);
        courtesy.learn(1, 30);
        assert_eq!(courtesy.niceness(1), 0);
    }

    #[test]
    fn hashes_that_starve_yield_less_at_once_and_more_when_they_get_on_again() {
        let courtesy = Courtesy::new(15);
        courtesy.learn(20, 1);
        assert_eq!(courtesy.niceness(1), 15);
        courtesy.learn(1, 100);
        assert_eq!(courtesy.niceness(1), 10);
        courtesy.learn(20, 6);
        assert_eq!(courtesy.niceness(1), 10, "they get on, and would not if they yielded more");
        courtesy.learn(40, 1);
        assert_eq!(courtesy.niceness(1), 15);
        courtesy.learn(100, 100);
        assert_eq!(courtesy.niceness(1), 0);
    }

    #[test]
    fn one_hash_that_was_held_up_changes_nothing_and_neither_do_those_that_yielded_less() {
        let courtesy = Courtesy::new(15);
        courtesy.learn(40, 1);
        courtesy.learn(1, 30);
        assert_eq!(courtesy.niceness(1), 15);
        courtesy.learn(40, 1);
        (0..40).for_each(|_| courtesy.took(0, 50 * CPU, CPU));
        assert_eq!(courtesy.niceness(1), 15);
    }
}
