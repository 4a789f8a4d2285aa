//! How many requests in how much time.

use std::str::FromStr;
use std::time::Duration;

/// So many requests per window; written `10/60`, requests per seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: u32,
    pub window: Duration,
}

impl Quota {
    /// What one replica admits by itself: a quarter, and never nothing.
    pub fn alone(self) -> u32 {
        (self.requests / 4).max(1)
    }
}

impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(requests, seconds)| {
            let (requests, seconds) = (requests.parse().ok()?, seconds.parse().ok()?);
            (requests > 0 && (1..=86_400).contains(&seconds))
                .then_some(Self { requests, window: Duration::from_secs(seconds) })
        });
        parsed.ok_or_else(|| format!("`{text}` is not requests per seconds, such as 10/60"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_requests_per_seconds() {
        assert_eq!("10/60".parse(), Ok(Quota { requests: 10, window: Duration::from_secs(60) }));
        for invalid in ["", "10", "0/60", "10/0", "-1/60", "10/60s", "10/100000", "1/2/3"] {
            assert!(invalid.parse::<Quota>().is_err(), "{invalid}");
        }
    }
}
