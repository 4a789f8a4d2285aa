//! The forms in which a secret would be found where it must not be.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// A token begins with its user's id, which is no secret: so many bytes, and so many characters less than a whole one.
const USER_ID_BYTES: usize = 16;
const USER_ID_CHARACTERS: usize = 22;

/// As it is told, its secret alone, its bytes, and their usual encodings.
pub fn forms_of_token(token: &str) -> Vec<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap_or_else(|error| panic!("a token is base64: {error}"));
    let secret = &bytes[USER_ID_BYTES..];
    assert_eq!(secret.len(), 32, "a secret of 256 bits");
    let hex = hex(secret);
    vec![
        token.into(),
        token[USER_ID_CHARACTERS..].into(),
        secret.to_vec(),
        hex.to_uppercase().into(),
        hex.into(),
        STANDARD_NO_PAD.encode(secret).into(),
    ]
}

/// As it is, in capitals, and as base64.
pub fn forms_of_text(text: &str) -> Vec<Vec<u8>> {
    vec![text.into(), text.to_uppercase().into(), STANDARD.encode(text).into()]
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
