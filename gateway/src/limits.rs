//! Who may ask how often: policies, counted over all replicas together in Redis, and on each replica alone while Redis is away.
//!
//! A fixed window begins with its first request. As many requests pass as the quota says, whichever replicas they reach. Where guesses
//! are counted the windows grow (`growth`). The store counts (`store`), this module decides; what a request pays for and gets back is
//! a [`Tally`].

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use chassis::redis::Redis;
use http::HeaderValue;
use metrics::Counter;
use sha2::{Digest as _, Sha256};

use crate::config::LimitArgs;

mod growth;
mod local;
mod quota;
mod report;
mod store;
mod tally;

pub use quota::Quota;
pub use tally::Tally;

use growth::Growth;
use local::LocalCounters;
use store::{Count, Store};

/// What all limits share.
pub struct Limits {
    pub login_ip: Policy,
    /// Its windows grow.
    pub login_account: Policy,
    /// For those who are known to have signed in as that user before; its windows grow.
    pub login_known: Policy,
    pub register_ip: Policy,
    pub mail_ip: Policy,
    pub mail_account: Policy,
    /// Tokens of mails that came back.
    pub token_ip: Policy,
    pub api: Policy,
    /// None: the limits are off.
    store: Option<Store>,
    local: LocalCounters,
}

/// One named limit.
pub struct Policy {
    name: &'static str,
    quota: Quota,
    growth: Option<Growth>,
    when_store_is_away: WhenStoreIsAway,
    /// Its item of `RateLimit-Policy`.
    described: HeaderValue,
    decisions: Decisions,
}

/// What a replica does by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WhenStoreIsAway {
    /// It lets everything pass: reads are worth more than the limit.
    Open,
    /// It counts for itself, with a quarter of the quota: guesses stay expensive.
    CountAlone,
}

/// `rate_limit_decisions_total{policy,decision}`.
struct Decisions {
    allowed: Counter,
    refused: Counter,
    unchecked: Counter,
}

/// Whom a request is charged to, hashed: neither address, name nor token can be read from the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject([u8; 16]);

impl Subject {
    /// IPv6 clients count per /64: that is what one customer gets.
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::hash(b'4', &address.octets()),
            IpAddr::V6(address) => Self::hash(b'6', &address.octets()[..8]),
        }
    }

    /// Spellings of one username are one account.
    pub fn account(username: &str) -> Self {
        Self::hash(b'u', crate::username::folded(username).as_bytes())
    }

    /// Whatever the case of its letters, as it is looked for.
    pub fn email(email: &str) -> Self {
        Self::hash(b'e', email.to_lowercase().as_bytes())
    }

    /// A user who is signed in.
    pub fn user_id(id: &str) -> Self {
        Self::hash(b'i', id.as_bytes())
    }

    pub fn token(token: &str) -> Self {
        Self::hash(b't', token.as_bytes())
    }

    /// A device or a session, by the name that auth-svc gives it.
    pub fn known(name: &str) -> Self {
        Self::hash(b'k', name.as_bytes())
    }

    fn hash(kind: u8, value: &[u8]) -> Self {
        let digest = Sha256::new().chain_update([kind]).chain_update(value).finalize();
        let mut prefix = [0; 16];
        prefix.copy_from_slice(&digest[..16]);
        Self(prefix)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl Policy {
    fn new(name: &'static str, quota: Quota, when_store_is_away: WhenStoreIsAway) -> Self {
        let counter = |decision: &'static str| metrics::counter!("rate_limit_decisions_total", "policy" => name, "decision" => decision);
        let decisions = Decisions {
            allowed: counter("allowed"),
            refused: counter("refused"),
            unchecked: counter("unchecked"),
        };
        let described = report::item(name, quota.requests, quota.window.as_secs());
        let described = HeaderValue::try_from(described).unwrap_or_else(|_| HeaderValue::from_static(name));
        Self { name, quota, growth: None, when_store_is_away, described, decisions }
    }

    fn growing(self, growth: Growth) -> Self {
        Self { growth: Some(growth), ..self }
    }
}

/// One request counted against one policy.
pub struct Charge<'a> {
    policy: &'a Policy,
    subject: Subject,
    outcome: Outcome,
}

enum Outcome {
    /// Counted by all replicas together.
    Shared(Count),
    /// Counted by this replica alone, against the smaller quota.
    Alone { quota: u32, count: Count },
    /// Not counted: limits are off, or the store is away and the policy is open.
    Unchecked,
}

impl Charge<'_> {
    fn is_admitted(&self) -> bool {
        self.quota_and_count().is_none_or(|(quota, count)| count.used <= quota)
    }

    fn quota_and_count(&self) -> Option<(u32, Count)> {
        match self.outcome {
            Outcome::Shared(count) => Some((self.policy.quota.requests, count)),
            Outcome::Alone { quota, count } => Some((quota, count)),
            Outcome::Unchecked => None,
        }
    }
}

impl Limits {
    /// Without a Redis there are no limits.
    pub fn new(args: &LimitArgs, redis: Option<Redis>) -> Self {
        let policy = Policy::new;
        let growth = Growth { longest: Duration::from_secs(args.limit_login_longest_seconds) };
        Self {
            login_ip: policy("login-ip", args.limit_login_ip, WhenStoreIsAway::CountAlone),
            login_account: policy("login-account", args.limit_login_account, WhenStoreIsAway::CountAlone)
                .growing(growth),
            login_known: policy("login-known", args.limit_login_known, WhenStoreIsAway::CountAlone)
                .growing(growth),
            register_ip: policy("register-ip", args.limit_register_ip, WhenStoreIsAway::CountAlone),
            mail_ip: policy("mail-ip", args.limit_mail_ip, WhenStoreIsAway::CountAlone),
            mail_account: policy("mail-account", args.limit_mail_account, WhenStoreIsAway::CountAlone),
            token_ip: policy("token-ip", args.limit_token_ip, WhenStoreIsAway::CountAlone),
            api: policy("api", args.limit_api, WhenStoreIsAway::Open),
            store: redis.map(|redis| Store::new(redis, args.rate_limit_prefix.clone())),
            local: LocalCounters::default(),
        }
    }

    /// What one request is charged for.
    pub fn tally(&self) -> Tally<'_> {
        Tally::new(self)
    }

    /// Counts one request. Of a policy that gives units back, the window's end is remembered.
    async fn count<'a>(&self, policy: &'a Policy, subject: Subject) -> Charge<'a> {
        let outcome = self.outcome(policy, subject).await;
        let charge = Charge { policy, subject, outcome };
        let decisions = &policy.decisions;
        match (&charge.outcome, charge.is_admitted()) {
            (Outcome::Unchecked, _) => decisions.unchecked.increment(1),
            (_, true) => decisions.allowed.increment(1),
            (_, false) => decisions.refused.increment(1),
        }
        charge
    }

    async fn outcome(&self, policy: &Policy, subject: Subject) -> Outcome {
        let Some(store) = &self.store else { return Outcome::Unchecked };
        let counted = match policy.when_store_is_away {
            WhenStoreIsAway::Open => store.count(policy, subject).await,
            WhenStoreIsAway::CountAlone => match policy.growth {
                None => store.count_returnable(policy, subject).await,
                Some(growth) => store.count_growing(policy, growth, subject).await,
            },
        };
        match (counted, policy.when_store_is_away) {
            (Ok(count), _) => Outcome::Shared(count),
            (Err(_), WhenStoreIsAway::Open) => Outcome::Unchecked,
            (Err(_), WhenStoreIsAway::CountAlone) => {
                let quota = policy.quota.alone();
                Outcome::Alone { quota, count: self.local.count(policy, subject, quota) }
            }
        }
    }

    /// Takes a unit back out of the window in which it was counted. Best effort: at worst the client waits for the next window.
    async fn give_back(&self, charge: &mut Charge<'_>) {
        let count = match &mut charge.outcome {
            Outcome::Shared(count) => {
                if let Some(store) = &self.store {
                    store.give_back(charge.policy, charge.subject, *count).await;
                }
                count
            }
            Outcome::Alone { quota, count } => {
                self.local.give_back(charge.policy, charge.subject, *quota);
                count
            }
            Outcome::Unchecked => return,
        };
        count.used = count.used.saturating_sub(1);
    }

    /// Lets windows that have grown begin again with the first length.
    async fn forgive(&self, charge: &Charge<'_>) {
        let Some((_, count)) = charge.quota_and_count() else { return };
        if count.window <= charge.policy.quota.window {
            return;
        }
        match (&charge.outcome, &self.store) {
            (Outcome::Shared(_), Some(store)) => store.forgive(charge.policy, charge.subject).await,
            (Outcome::Alone { .. }, _) => self.local.forgive(charge.policy, charge.subject),
            _ => {}
        }
    }

    /// Removes a counter that should never have begun.
    async fn forget(&self, charge: &Charge<'_>) {
        if let (Outcome::Shared(_), Some(store)) = (&charge.outcome, &self.store) {
            store.forget(charge.policy, charge.subject).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_one_is_ipv4() {
        let subject = |address: &str| Subject::address(address.parse().unwrap());
        assert!(subject("2001:db8:1:2:3:4:5:6") == subject("2001:db8:1:2:ffff::1"));
        assert!(subject("2001:db8:1:2::1") != subject("2001:db8:1:3::1"));
        assert!(subject("::ffff:192.0.2.1") == subject("192.0.2.1"));
        assert!(subject("192.0.2.1") != subject("192.0.2.2"));
    }

    #[test]
    fn spellings_of_one_username_are_one_account() {
        assert!(Subject::account("Ada") == Subject::account("ada"));
        assert!(Subject::account("ＡＤＡ") == Subject::account("ada"));
        assert!(Subject::account("ada") != Subject::account("bob"));
        assert!(Subject::account("no name at all") == Subject::account("No Name At All"));
    }
}
