//! Whether two kinds of request can be told apart by how long they take: which of two is the slower one, in pairs measured one right after the
//! other. No time is compared with a clock's number, so that a slow or busy machine changes nothing but how many pairs it takes.

use std::fmt;
use std::time::Duration;

/// Standard deviations on either side that an estimate may be wrong by: 99 % of all times it is not.
const CONFIDENCE: f64 = 2.576;

/// Pairs of times, one of each kind.
#[derive(Debug, Clone, Default)]
pub struct Pairs(Vec<(Duration, Duration)>);

/// How likely the first of a pair is the slower one: a half when nothing tells the two kinds apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probability {
    pub from: f64,
    pub to: f64,
}

impl Pairs {
    pub fn push(&mut self, first: Duration, second: Duration) {
        self.0.push((first, second));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The interval that the probability lies in with 99 % confidence (Wilson's score interval).
    pub fn first_is_slower(&self) -> Probability {
        let count = self.len() as f64;
        let slower = self.0.iter().map(|(first, second)| match first.cmp(second) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        });
        let share = slower.sum::<f64>() / count;
        let square = CONFIDENCE * CONFIDENCE;
        let middle = share + square / (2.0 * count);
        let spread = CONFIDENCE * (share * (1.0 - share) / count + square / (4.0 * count * count)).sqrt();
        let scale = 1.0 + square / count;
        Probability { from: (middle - spread) / scale, to: (middle + spread) / scale }
    }
}

impl Probability {
    /// Whether it is surely no further from a half than `bound`.
    pub fn is_within(self, bound: f64) -> bool {
        self.from >= 0.5 - bound && self.to <= 0.5 + bound
    }

    /// Whether it is surely further from a half.
    pub fn is_beyond(self, bound: f64) -> bool {
        self.to < 0.5 - bound || self.from > 0.5 + bound
    }
}

impl fmt::Display for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Probability { from, to } = self.first_is_slower();
        let (first, second): (Vec<_>, Vec<_>) = self.0.iter().copied().unzip();
        let (first, second) = (median(first), median(second));
        let (count, ratio) = (self.len(), first.as_secs_f64() / second.as_secs_f64());
        write!(
            f,
            "{count} pairs: the first was the slower one with a probability of {from:.3} to {to:.3} (99 % confidence); \
             medians {first:?} and {second:?}, ratio {ratio:.3}"
        )
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of noisy times; the first is so much slower, in percent of the noise.
    fn pairs(count: usize, slower: u64) -> Pairs {
        let mut random = fastrand::Rng::with_seed(7);
        let mut pairs = Pairs::default();
        for _ in 0..count {
            let mut time = |plus| Duration::from_micros(40_000 + random.u64(0..10_000) + plus);
            pairs.push(time(slower * 100), time(0));
        }
        pairs
    }

    #[test]
    fn equal_kinds_are_told_to_be_equal_once_there_are_enough() {
        assert!(!pairs(10, 0).first_is_slower().is_within(0.15), "ten pairs prove nothing");
        assert!(pairs(600, 0).first_is_slower().is_within(0.15), "{}", pairs(600, 0));
    }

    #[test]
    fn a_difference_much_smaller_than_the_noise_shows() {
        assert!(pairs(600, 40).first_is_slower().is_beyond(0.15), "{}", pairs(600, 40));
        assert!(pairs(20, 1000).first_is_slower().is_beyond(0.15));
    }
}
