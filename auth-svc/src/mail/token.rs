//! The tokens that mails carry: opaque, 256 bits from the system's generator, and stored as their SHA-256 alone.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

const BYTES: usize = 32;

/// What a mail tells, once. Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct MailToken {
    encoded: String,
}

impl MailToken {
    /// # Errors
    /// The system's random generator failed.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self { encoded: URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// `None` for what cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (length == BYTES).then(|| Self { encoded: text.to_owned() })
    }

    /// URL-safe base64 without padding.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// What is stored.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.encoded.as_bytes()).into()
    }
}

impl fmt::Debug for MailToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_round_trip_and_is_like_no_other() {
        let token = MailToken::generate().unwrap();
        assert_eq!(MailToken::parse(token.encoded()), Some(token.clone()));
        let other = MailToken::generate().unwrap();
        assert!(token != other && token.digest() != other.digest());
        assert!(!format!("{token:?}").contains(token.encoded()));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = MailToken::generate().unwrap();
        let (cut, padded) = (&token.encoded()[1..], format!("{}=", token.encoded()));
        let long = format!("{}{}", token.encoded(), token.encoded());
        for text in ["", "short", cut, &padded, &long, &"!".repeat(43)] {
            assert_eq!(MailToken::parse(text), None, "{text}");
        }
    }
}
