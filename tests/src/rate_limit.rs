//! What an answer tells about a limit: draft-ietf-httpapi-ratelimit-headers, one item per policy.

use crate::api::Answer;

/// A policy, and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub quota: u64,
    pub window_seconds: u64,
    pub remaining: u64,
    pub resets_in_seconds: u64,
}

/// What the headers say about a policy. Panics when they do not name it.
#[track_caller]
pub fn limit(answer: &Answer, policy: &str) -> Limit {
    let (policies, limits) = (answer.expect_header("ratelimit-policy"), answer.expect_header("ratelimit"));
    let parameter = |list: &str, name: &str| {
        let item = list.split(", ").find_map(|item| item.strip_prefix(&format!("\"{policy}\"")));
        let value =
            item.and_then(|item| item.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')));
        let number = value.and_then(|value| value.parse().ok());
        number.unwrap_or_else(|| panic!("{}: no {name} of {policy} in {list}", answer.request))
    };
    Limit {
        quota: parameter(policies, "q"),
        window_seconds: parameter(policies, "w"),
        remaining: parameter(limits, "r"),
        resets_in_seconds: parameter(limits, "t"),
    }
}
