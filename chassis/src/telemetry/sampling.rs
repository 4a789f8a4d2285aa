//! Which traces are recorded.

/// Decides whether a trace that begins here is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Sampler {
    ratio: f64,
}

impl Sampler {
    /// `ratio`: the share of traces to record, 0 to 1.
    pub fn new(ratio: f64) -> Self {
        Self { ratio }
    }

    pub fn sample(self) -> bool {
        self.ratio > 0.0 && fastrand::f64() < self.ratio
    }
}
