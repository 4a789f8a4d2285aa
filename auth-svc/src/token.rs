//! Session tokens: opaque to their bearer, 256 bits from the system's generator, and never stored.
//!
//! A token is the user's id and the secret, in URL-safe base64 without padding: the id finds the user's sessions, the
//! SHA-256 of the whole token picks one of them and proves it.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const ID_BYTES: usize = 16;
const SECRET_BYTES: usize = 32;
/// Of the encoded token, in characters.
const LENGTH: usize = (ID_BYTES + SECRET_BYTES) / 3 * 4;

/// A bearer's claim to a session. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken {
    user_id: Uuid,
    encoded: String,
}

impl SessionToken {
    /// A new token for a user.
    ///
    /// # Errors
    /// The system's random generator failed.
    pub fn generate(user_id: Uuid) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; ID_BYTES + SECRET_BYTES];
        bytes[..ID_BYTES].copy_from_slice(user_id.as_bytes());
        getrandom::fill(&mut bytes[ID_BYTES..])?;
        Ok(Self { user_id, encoded: URL_SAFE_NO_PAD.encode(bytes) })
    }

    /// `None` for what cannot be a token.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let mut bytes = [0; ID_BYTES + SECRET_BYTES];
        URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let user_id = Uuid::from_slice(&bytes[..ID_BYTES]).ok()?;
        Some(Self { user_id, encoded: text.to_owned() })
    }

    pub fn user_id(&self) -> Uuid {
        self.user_id
    }

    /// What is told to the bearer, once.
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    pub fn digest(&self) -> TokenDigest {
        let digest: [u8; 32] = Sha256::digest(self.encoded.as_bytes()).into();
        let (mut id, mut proof) = ([0; 16], [0; 16]);
        id.copy_from_slice(&digest[..16]);
        proof.copy_from_slice(&digest[16..]);
        TokenDigest { id: SessionId(id), proof }
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionToken").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}

/// The SHA-256 of a token: one half names the session, the other proves that the bearer has the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest {
    pub id: SessionId,
    pub proof: [u8; 16],
}

/// Names a session in lists and logs; opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// Reads what `Display` writes: 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))?;
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_the_round_trip_and_names_its_user() {
        let user = Uuid::now_v7();
        let token = SessionToken::generate(user).unwrap();
        assert_eq!(SessionToken::parse(token.encoded()), Some(token.clone()));
        assert_eq!(token.user_id(), user);
        assert_ne!(token, SessionToken::generate(user).unwrap());
    }

    #[test]
    fn a_session_id_survives_the_round_trip_in_one_spelling_alone() {
        let id = SessionToken::generate(Uuid::now_v7()).unwrap().digest().id;
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for text in ["", "0", "0123456789ABCDEF0123456789ABCDEF", "01234567-89ab-cdef-0123-456789abcdef"] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let token = SessionToken::generate(Uuid::now_v7()).unwrap();
        let padded = format!("{}=", token.encoded());
        for text in ["", "short", &padded, &"!".repeat(LENGTH), &"\u{e9}".repeat(LENGTH / 2)] {
            assert_eq!(SessionToken::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = SessionToken::generate(Uuid::now_v7()).unwrap();
        assert!(!format!("{token:?}").contains(token.encoded()));
    }
}
