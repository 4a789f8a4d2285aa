//! Passwords: any Unicode, prepared by PRECIS OpaqueString (RFC 8265), 15 to 256 code points, never truncated.

use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::OpaqueString;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Violation;

const MAX_LENGTH: usize = 256;

/// A password in the form that is hashed. Its `Debug` shows nothing.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// A password that somebody wants to have from now on.
    ///
    /// # Errors
    /// What is wrong with it, for the user to read.
    pub fn parse_new(text: &str, min_length: u64) -> Result<Self, Violation> {
        let refuse = |description: String| Violation { field: "password", description };
        let password = Self::parse_given(text)
            .ok_or_else(|| refuse(format!("has control characters or more than {MAX_LENGTH} characters")))?;
        if (password.0.expose_secret().chars().count() as u64) < min_length {
            return Err(refuse(format!("has to have at least {min_length} characters")));
        }
        Ok(password)
    }

    /// A password that somebody claims to have: `None` when it can be nobody's.
    pub fn parse_given(text: &str) -> Option<Self> {
        // Preparation may shorten the text, but not by much: what is far too long need not be prepared.
        if text.len() > MAX_LENGTH * 8 {
            return None;
        }
        let prepared = OpaqueString::enforce(text).ok()?.into_owned();
        (prepared.chars().count() <= MAX_LENGTH).then(|| Self(prepared.into()))
    }

    /// Stands in for what can be nobody's password, where time has to be spent on it all the same.
    pub fn impossible() -> Self {
        Self(SecretString::from(String::new()))
    }

    /// The bytes to hash.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_counts_code_points_and_both_ends_are_inclusive() {
        let parse = |text: &str| Password::parse_new(text, 15);
        assert!(parse(&"\u{1f511}".repeat(15)).is_ok());
        assert!(parse(&"a".repeat(14)).is_err());
        assert!(parse(&"a".repeat(256)).is_ok());
        assert!(parse(&"a".repeat(257)).is_err());
        assert!(parse("correct horse battery staple").is_ok(), "spaces are allowed");
    }

    #[test]
    fn the_same_text_in_another_normal_form_is_the_same_password() {
        let composed = Password::parse_given("caf\u{e9} caf\u{e9} caf\u{e9} caf\u{e9}").unwrap();
        let decomposed = Password::parse_given("cafe\u{301} cafe\u{301} cafe\u{301} cafe\u{301}").unwrap();
        assert_eq!(composed.expose(), decomposed.expose());
    }

    #[test]
    fn debug_shows_nothing() {
        let password = Password::parse_given("correct horse battery staple").unwrap();
        assert!(!format!("{password:?}").contains("horse"));
    }
}
