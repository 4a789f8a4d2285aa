//! What the hashes of the trail are made of. The database makes them when an entry is added (`audit_append`); here they are made again, from what
//! the rows hold, by other code.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

pub(super) type Hash = [u8; 32];

/// The end of the chain, or what it was once: whoever keeps one elsewhere can tell later that nothing up to it was changed or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Of the last entry; 0 before the first.
    pub seq: i64,
    pub hash: Hash,
}

impl Head {
    /// Before the first entry.
    pub const START: Self = Self { seq: 0, hash: [0; 32] };
}

/// `<number>:<hash in hexadecimal digits>`
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (seq, hex) = text.trim().split_once(':')?;
            let seq = seq.parse::<i64>().ok().filter(|seq| *seq >= 0)?;
            let mut hash = [0; 32];
            if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            }
            Some(Self { seq, hash })
        };
        parse()
            .ok_or_else(|| "has to be <number>:<64 hexadecimal digits>, as `audit head` prints it".to_owned())
    }
}

/// A row, as it lies in the database.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub seq: i64,
    /// Microseconds since 1970; `None` for a time that is none.
    pub at_micros: Option<i64>,
    pub event: String,
    pub erased: i64,
    pub digest: Vec<u8>,
    pub hash: Vec<u8>,
    pub salt: Option<Vec<u8>>,
    pub user_id: Option<Uuid>,
    pub session_id: Option<Vec<u8>>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
}

impl Row {
    /// What the digest has to be; `None` when there is no salt to make it with.
    pub fn expected_digest(&self) -> Option<Hash> {
        let mut sha = Sha256::new();
        sha.update(self.salt.as_ref()?);
        field(&mut sha, self.user_id.as_ref().map(|id| &id.as_bytes()[..]));
        field(&mut sha, self.session_id.as_deref());
        field(&mut sha, self.address.as_deref().map(str::as_bytes));
        field(&mut sha, self.user_agent.as_deref().map(str::as_bytes));
        Some(sha.finalize().into())
    }

    /// What the hash has to be after `previous`.
    pub fn expected_hash(&self, previous: &Hash) -> Option<Hash> {
        let mut sha = Sha256::new();
        sha.update(previous);
        sha.update(self.seq.to_be_bytes());
        sha.update(self.at_micros?.to_be_bytes());
        field(&mut sha, Some(self.event.as_bytes()));
        sha.update(self.erased.to_be_bytes());
        sha.update(&self.digest);
        Some(sha.finalize().into())
    }

    pub fn holds_personal_fields(&self) -> bool {
        self.user_id.is_some()
            || self.session_id.is_some()
            || self.address.is_some()
            || self.user_agent.is_some()
    }
}

/// A field with its length before it, -1 for none, so that no two rows have the same bytes.
fn field(sha: &mut Sha256, field: Option<&[u8]>) {
    let length = field.map_or(u32::MAX, |field| field.len() as u32);
    sha.update(length.to_be_bytes());
    sha.update(field.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_survives_the_round_trip_and_nothing_else_is_one() {
        let head = Head { seq: 42, hash: [0xab; 32] };
        assert_eq!(head.to_string().parse(), Ok(head));
        let hash = "ab".repeat(32);
        for text in [
            "",
            "42",
            "42:",
            "42:ab",
            ":ab",
            "x:ab",
            &format!("-1:{hash}"),
            &format!("1:{hash}0"),
            &format!("1:+{}", &hash[1..]),
        ] {
            assert!(text.parse::<Head>().is_err(), "{text}");
        }
    }
}
