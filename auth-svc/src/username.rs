//! Usernames: PRECIS UsernameCaseMapped (RFC 8265), 3 to 32 code points, unique in their case-folded form.

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
    /// What is wrong with it, for the user to read.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let refuse = |description: String| Violation { field: "username", description };
        let not_allowed = |_| refuse("has characters that usernames cannot have".into());
        let shown = UsernameCasePreserved::enforce(text).map_err(not_allowed)?.into_owned();
        let key = UsernameCaseMapped::enforce(text).map_err(not_allowed)?.into_owned();
        if !LENGTH.contains(&shown.chars().count()) {
            return Err(refuse(format!("has to have {} to {} characters", LENGTH.start(), LENGTH.end())));
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
    fn case_and_width_make_no_other_user() {
        let key = |text| Username::parse(text).unwrap().key;
        assert_eq!(key("Alice"), key("alice"));
        assert_eq!(key("\u{ff21}lice"), key("Alice"));
        assert_eq!(Username::parse("J\u{fc}rgen").unwrap().as_shown(), "J\u{fc}rgen");
    }

    #[test]
    fn unsuitable_names_are_refused() {
        for text in [
            "",
            "al",
            &"a".repeat(33),
            "al ice",
            "al\u{0}ice",
            "alice\u{200b}",
            "\u{1f980}\u{1f980}\u{1f980}",
        ] {
            assert!(Username::parse(text).is_err(), "{text:?}");
        }
        assert!(Username::parse("abc").is_ok() && Username::parse(&"a".repeat(32)).is_ok());
    }
}
