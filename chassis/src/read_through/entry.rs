//! What one key of the cache holds: a byte that tells which kind of entry it is, then the value or the token.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};

use super::Cached;

const VALUE: u8 = b'V';
const NEGATIVE: u8 = b'N';
const LEASE: u8 = b'L';
const MARKER: u8 = b'M';

/// An entry, as far as a reader cares.
pub(super) enum Entry<V> {
    /// The value, or that there is none.
    Known(Option<V>),
    /// Some reader is about to fill.
    Leased,
    /// A writer announced a change, or the bytes make no sense.
    Unusable,
}

impl<V: Cached> Entry<V> {
    pub(super) fn decode(bytes: Vec<u8>) -> Self {
        let mut bytes = Bytes::from(bytes);
        match bytes.first() {
            Some(&VALUE) => {
                bytes.advance(1);
                V::decode(bytes).map_or(Self::Unusable, |value| Self::Known(Some(value)))
            }
            Some(&NEGATIVE) => Self::Known(None),
            Some(&LEASE) => Self::Leased,
            _ => Self::Unusable,
        }
    }
}

/// The entry for a value, or for that there is none.
pub(super) fn encode<V: Cached>(value: Option<&V>) -> Vec<u8> {
    let Some(value) = value else { return vec![NEGATIVE] };
    let mut buffer = Vec::with_capacity(256);
    buffer.push(VALUE);
    value.encode(&mut buffer);
    buffer
}

/// A lease or a marker: an entry that only its maker can tell to be its own.
pub(super) type Token = [u8; 17];

/// Makes tokens that no other maker makes, and none twice.
pub(super) struct Tokens {
    maker: u64,
    made: AtomicU64,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { maker: fastrand::u64(..), made: AtomicU64::new(0) }
    }

    pub(super) fn lease(&self) -> Token {
        self.next(LEASE)
    }

    pub(super) fn marker(&self) -> Token {
        self.next(MARKER)
    }

    fn next(&self, tag: u8) -> Token {
        let mut token = [tag; 17];
        token[1..9].copy_from_slice(&self.maker.to_be_bytes());
        token[9..].copy_from_slice(&self.made.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_through::tests::Version;

    #[test]
    fn a_value_and_its_absence_survive_the_round_trip() {
        let known = |bytes| match Entry::<Version>::decode(bytes) {
            Entry::Known(value) => value,
            _ => panic!("not known"),
        };
        assert_eq!(known(encode(Some(&Version(7)))), Some(Version(7)));
        assert_eq!(known(encode::<Version>(None)), None);
    }

    #[test]
    fn what_cannot_be_decoded_is_no_value() {
        let truncated = encode(Some(&Version(7)))[..4].to_vec();
        for bytes in [truncated, vec![], b"?".to_vec(), Tokens::new().marker().to_vec()] {
            assert!(matches!(Entry::<Version>::decode(bytes), Entry::Unusable));
        }
        assert!(matches!(Entry::<Version>::decode(Tokens::new().lease().to_vec()), Entry::Leased));
    }

    #[test]
    fn no_two_tokens_are_alike() {
        let (a, b) = (Tokens::new(), Tokens::new());
        let tokens = [a.lease(), a.lease(), a.marker(), b.lease(), b.marker()];
        assert_eq!(tokens.iter().collect::<std::collections::HashSet<_>>().len(), tokens.len());
    }
}
