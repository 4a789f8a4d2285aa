//! The pepper: a secret that goes into every password hash and is kept apart from the database.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret as _, SecretSlice};
use sha2::{Digest as _, Sha256};

/// A pepper shorter than that adds little.
const MIN_BYTES: usize = 16;

/// The peppers in use: the first goes into new hashes, the others verify what was hashed before.
#[derive(Clone, Default)]
pub struct Peppers(Arc<[Pepper]>);

/// One secret, and the name by which hashes refer to it.
pub struct Pepper {
    key_id: String,
    secret: SecretSlice<u8>,
}

/// Why a pepper file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    #[error("the pepper file cannot be read")]
    Unreadable(#[source] std::io::Error),
    #[error("the pepper file has to hold one secret a line, each of at least {MIN_BYTES} bytes")]
    Unsuitable,
}

impl Peppers {
    /// Reads a file with one pepper a line, the current one first.
    pub fn read(file: &Path) -> Result<Self, PepperError> {
        let text = std::fs::read_to_string(file).map_err(PepperError::Unreadable)?;
        let peppers: Vec<_> = text.lines().map(|line| Pepper::new(line.trim())).collect();
        if peppers.is_empty() || text.lines().any(|line| line.trim().len() < MIN_BYTES) {
            return Err(PepperError::Unsuitable);
        }
        Ok(Self(peppers.into()))
    }

    /// The one for new hashes.
    pub fn current(&self) -> Option<&Pepper> {
        self.0.first()
    }

    pub fn by_key_id(&self, key_id: &str) -> Option<&Pepper> {
        self.0.iter().find(|pepper| pepper.key_id == key_id)
    }
}

impl Pepper {
    fn new(secret: &str) -> Self {
        let digest = Sha256::digest(secret.as_bytes());
        Self { key_id: STANDARD_NO_PAD.encode(&digest[..6]), secret: secret.as_bytes().to_vec().into() }
    }

    /// Eight characters of the secret's own hash.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    pub fn expose(&self) -> &[u8] {
        self.secret.expose_secret()
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(Pepper::key_id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_the_current_pepper_and_the_earlier_ones() {
        let file = std::env::temp_dir().join(format!("pepper-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "a new secret of the house\nan old secret of the house\n").unwrap();
        let peppers = Peppers::read(&file).unwrap();
        assert_eq!(peppers.current().unwrap().expose(), b"a new secret of the house");
        let old = Pepper::new("an old secret of the house");
        assert_eq!(peppers.by_key_id(old.key_id()).unwrap().expose(), old.expose());
        assert!(!format!("{peppers:?}").contains("secret"));

        for unsuitable in ["", "short\n", "a new secret of the house\n\nan old secret of the house"] {
            std::fs::write(&file, unsuitable).unwrap();
            assert!(matches!(Peppers::read(&file), Err(PepperError::Unsuitable)), "{unsuitable:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(Peppers::read(&file), Err(PepperError::Unreadable(_))));
    }
}
