//! The rate-limit headers of draft-ietf-httpapi-ratelimit-headers: structured fields, one item per policy applied.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Charge, Outcome};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Writes what a request's policies say; nothing for those that did not count.
pub fn stamp(headers: &mut HeaderMap, charges: &[Charge<'_>]) {
    let mut limits = String::new();
    for charge in charges {
        let Some((quota, count)) = charge.quota_and_count() else { continue };
        let separator = if limits.is_empty() { "" } else { ", " };
        let remaining = quota.saturating_sub(count.used);
        let seconds = count.resets_in.as_millis().div_ceil(1000);
        // Writing to a string cannot fail.
        let _ = write!(limits, "{separator}\"{}\";r={remaining};t={seconds}", charge.policy.name);
    }
    if let (Some(policies), Ok(limits)) = (policies(charges), HeaderValue::try_from(limits)) {
        headers.insert(RATE_LIMIT_POLICY, policies);
        headers.insert(RATE_LIMIT, limits);
    }
}

fn policies(charges: &[Charge<'_>]) -> Option<HeaderValue> {
    if let [Charge { policy, outcome: Outcome::Shared(_), .. }] = charges {
        return Some(policy.described.clone());
    }
    let mut policies = String::new();
    for charge in charges {
        let Some((quota, _)) = charge.quota_and_count() else { continue };
        let separator = if policies.is_empty() { "" } else { ", " };
        policies.push_str(separator);
        policies.push_str(&item(charge.policy.name, quota, charge.policy.quota.window.as_secs()));
    }
    (!policies.is_empty()).then(|| HeaderValue::try_from(policies).ok()).flatten()
}

/// One item of `RateLimit-Policy`.
pub fn item(name: &str, quota: u32, window_seconds: u64) -> String {
    format!("\"{name}\";q={quota};w={window_seconds}")
}
