//! The rate-limit headers of draft-ietf-httpapi-ratelimit-headers: structured fields, one item per policy applied.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Charge, Outcome};

const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds what a request's policies say to what is there already; nothing for those that did not count.
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
        add(headers, RATE_LIMIT_POLICY, policies);
        add(headers, RATE_LIMIT, limits);
    }
}

/// A route may have limits of its own behind those of its gate: one list tells both.
fn add(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    let both = match headers.get(&name) {
        Some(there) => HeaderValue::from_bytes(&[value.as_bytes(), b", ", there.as_bytes()].concat()),
        None => Ok(value),
    };
    if let Ok(both) = both {
        headers.insert(name, both);
    }
}

fn policies(charges: &[Charge<'_>]) -> Option<HeaderValue> {
    if let [Charge { policy, outcome: Outcome::Shared(_), .. }] = charges
        && policy.growth.is_none()
    {
        return Some(policy.described.clone());
    }
    let mut policies = String::new();
    for charge in charges {
        let Some((quota, count)) = charge.quota_and_count() else { continue };
        let separator = if policies.is_empty() { "" } else { ", " };
        policies.push_str(separator);
        policies.push_str(&item(charge.policy.name, quota, count.window.as_secs()));
    }
    (!policies.is_empty()).then(|| HeaderValue::try_from(policies).ok()).flatten()
}

/// One item of `RateLimit-Policy`.
pub fn item(name: &str, quota: u32, window_seconds: u64) -> String {
    format!("\"{name}\";q={quota};w={window_seconds}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::store::Count;
    use crate::limits::{Policy, Subject, WhenStoreIsAway};

    #[test]
    fn limits_of_gate_and_route_are_told_in_one_list() {
        let mut headers = HeaderMap::new();
        for (name, used) in [("login-ip", 4), ("api", 1)] {
            let policy = Policy::new(name, "10/60".parse().unwrap(), WhenStoreIsAway::Open);
            let outcome = Outcome::Shared(Count::without_window(
                used,
                Duration::from_millis(1500),
                policy.quota.window,
            ));
            stamp(&mut headers, &[Charge { policy: &policy, subject: Subject::token("t"), outcome }]);
        }
        assert_eq!(headers["ratelimit-policy"], "\"api\";q=10;w=60, \"login-ip\";q=10;w=60");
        assert_eq!(headers["ratelimit"], "\"api\";r=9;t=2, \"login-ip\";r=6;t=2");
    }
}
