//! Usernames, by which profiles are found: PRECIS UsernameCaseMapped (RFC 8265), as auth-svc has it.

use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::{UsernameCaseMapped, UsernameCasePreserved};

use crate::error::Violation;

const LENGTH: std::ops::RangeInclusive<usize> = 3..=32;

/// A username that the rules allow, as its user writes it and in the form that is unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username {
    shown: String,
    key: String,
}

impl Username {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let not_allowed = |_| Violation::new("username", "has characters that usernames cannot have");
        let shown = UsernameCasePreserved::enforce(text).map_err(not_allowed)?.into_owned();
        let key = UsernameCaseMapped::enforce(text).map_err(not_allowed)?.into_owned();
        if !LENGTH.contains(&shown.chars().count()) {
            let description = format!("has to have {} to {} characters", LENGTH.start(), LENGTH.end());
            return Err(Violation::new("username", description));
        }
        Ok(Self { shown, key })
    }

    /// As the user writes it.
    pub fn as_shown(&self) -> &str {
        &self.shown
    }

    /// The case-folded form: one user has it.
    pub fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_width_lead_to_the_same_profile() {
        let key = |text| Username::parse(text).unwrap().key;
        assert_eq!(key("Alice"), key("alice"));
        assert_eq!(key("\u{ff21}lice"), key("Alice"));
        assert_eq!(Username::parse("J\u{fc}rgen").unwrap().as_shown(), "J\u{fc}rgen");
    }

    #[test]
    fn unsuitable_names_are_refused() {
        for text in ["", "al", &"a".repeat(33), "al ice", "al\u{0}ice"] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
    }
}
