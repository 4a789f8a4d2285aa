//! A histogram of latencies in microseconds: exact up to 128, then 128 steps for each doubling, so that no figure is wrong by more
//! than 0.8 %.

const STEPS: u64 = 128;
const DOUBLINGS: usize = 30;

/// Counts of latencies.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS as usize * DOUBLINGS], total: 0 }
    }
}

impl Histogram {
    pub fn record(&mut self, micros: u64) {
        let index = index(micros).min(self.counts.len() - 1);
        self.counts[index] += 1;
        self.total += 1;
    }

    pub fn count(&self) -> u64 {
        self.total
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The latency that `share` (0 to 1) of all do not exceed; 0 when there are none.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        found.map_or(0.0, middle)
    }
}

fn index(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEPS.ilog2();
    let step = (micros >> doubling) - STEPS;
    (u64::from(doubling + 1) * STEPS + step) as usize
}

/// The middle of what a count stands for.
fn middle(index: usize) -> f64 {
    let (doubling, step) = (index as u64 / STEPS, index as u64 % STEPS);
    if doubling == 0 {
        return step as f64;
    }
    let width = (1_u64 << (doubling - 1)) as f64;
    (STEPS + step) as f64 * width + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_latency_is_told_wrong_by_more_than_a_hundredth() {
        for micros in (0..200_u64).chain([999, 1_000, 4_095, 4_096, 123_456, 9_999_999]) {
            let mut histogram = Histogram::default();
            histogram.record(micros);
            let told = histogram.quantile(0.5);
            assert!((told - micros as f64).abs() <= micros as f64 * 0.01, "{micros} is told as {told}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_latencies() {
        let mut histogram = Histogram::default();
        for micros in 1..=100 {
            histogram.record(micros);
        }
        assert_eq!([0.5, 0.99, 1.0].map(|share| histogram.quantile(share) as u64), [50, 99, 100]);
        assert_eq!(Histogram::default().quantile(0.5) as u64, 0);
    }
}
