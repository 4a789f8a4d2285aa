//! How the windows of a policy grow for a subject that uses its quota up again and again.

use std::time::Duration;

/// How long it is remembered that a quota was used up, from the last request that was admitted.
pub const MEMORY: Duration = Duration::from_secs(86_400);

/// Beyond that many doublings every window is the longest.
const DOUBLINGS: u32 = 20;

/// Each quota that was used up doubles the next window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// No window gets longer, unless the first one is.
    pub longest: Duration,
}

impl Growth {
    /// The length of a window after `used_up` quotas, when the first one is `window` long.
    pub fn window(self, window: Duration, used_up: u32) -> Duration {
        let doubled = window.saturating_mul(2_u32.pow(used_up.min(DOUBLINGS)));
        doubled.min(self.longest.max(window))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_double_up_to_the_longest() {
        let growth = Growth { longest: Duration::from_secs(900) };
        let seconds = |window, used_up| growth.window(Duration::from_secs(window), used_up).as_secs();
        let lengths = [0, 1, 2, 3, 4, 5, 1_000_000].map(|used_up| seconds(60, used_up));
        assert_eq!(lengths, [60, 120, 240, 480, 900, 900, 900]);
        assert_eq!([seconds(3600, 0), seconds(3600, 9)], [3600, 3600], "a longer one stays as it is");
    }
}
