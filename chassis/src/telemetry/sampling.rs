//! Which traces are recorded, and the layer that keeps spans out of all others.

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

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

/// Disables every span outside a sampled scope, before anything is allocated for it.
pub(super) struct SampledSpansOnly {
    exporting: bool,
}

impl SampledSpansOnly {
    pub(super) fn new(exporting: bool) -> Self {
        Self { exporting }
    }
}

impl<S: Subscriber> Layer<S> for SampledSpansOnly {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match (metadata.is_span(), self.exporting) {
            (false, _) => Interest::always(),
            (true, true) => Interest::sometimes(),
            (true, false) => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() || (self.exporting && crate::trace::is_sampled())
    }
}
