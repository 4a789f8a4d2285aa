//! The people of the benchmark: who they are follows from their number, so that a million of them needs no list.
//!
//! Their tokens are the same for every contestant, hence the requests too. Knows no store.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Everybody's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// Numbers begin here, so that all have the same width.
const FIRST: usize = 1_000_000;

const TOKEN_BYTES: usize = 64;

/// The people from 0 to `count`, and their tokens.
pub struct People {
    count: usize,
    tokens: Vec<u8>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person(pub usize);

impl Person {
    pub fn id(self) -> Uuid {
        Uuid::from_u128(0xb000_0000_0000_7000_8000_0000_0000_0000 + self.0 as u128)
    }

    /// Seven digits, part of the name and of what the profile tells.
    pub fn number(self) -> usize {
        FIRST + self.0
    }

    pub fn username(self) -> String {
        format!("bench-{}", self.number())
    }

    /// A token in the form that Sallyport makes: the user's id and 256 bits that here are not random.
    pub fn token(self) -> String {
        let secret = Sha256::new().chain_update("benchmark").chain_update(self.0.to_be_bytes()).finalize();
        URL_SAFE_NO_PAD.encode([self.id().as_bytes(), &secret[..]].concat())
    }
}

impl People {
    pub fn new(count: usize) -> Self {
        let mut tokens = Vec::with_capacity(count * TOKEN_BYTES);
        for person in (0..count).map(Person) {
            tokens.extend_from_slice(person.token().as_bytes());
        }
        Self { count, tokens }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = Person> {
        (0..self.count).map(Person)
    }

    /// The token of one of them.
    pub fn token(&self, person: Person) -> &[u8] {
        &self.tokens[person.0 * TOKEN_BYTES..][..TOKEN_BYTES]
    }
}

/// The statements that put the people from `first` to `end` into the tables that Sallyport has migrated.
pub fn insert_users(first: usize, end: usize, password_hash: &str) -> String {
    format!(
        "INSERT INTO users (id, username, username_key, password_hash, created_at) \
         SELECT {ID}, 'bench-' || ({FIRST} + i), 'bench-' || ({FIRST} + i), '{password_hash}', '{CREATED}' \
         FROM generate_series({first}, {end} - 1) AS i"
    )
}

/// Likewise, for their profiles.
pub fn insert_profiles(first: usize, end: usize) -> String {
    format!(
        "INSERT INTO profiles (user_id, username, username_key, display_name, bio, locale, timezone, links, created_at, \
         updated_at) \
         SELECT {ID}, 'bench-' || ({FIRST} + i), 'bench-' || ({FIRST} + i), 'Person ' || ({FIRST} + i), '{BIO}', \
         'en-GB', 'Europe/London', '{LINKS}', '{CREATED}', '{CREATED}' FROM generate_series({first}, {end} - 1) AS i"
    )
}

/// [`Person::id`] of the number `i`, in SQL.
const ID: &str = "('b0000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid";

pub const CREATED: &str = "2026-01-31T12:34:56.000Z";
pub const BIO: &str =
    "Writes about the analytical engine, and about what it might do one day beyond numbers.";
const LINKS: &str = r#"[{"label": "Home", "url": "https://example.org/"}, {"label": "Code", "url": "https://code.example.org/"}]"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_by_person_and_have_one_length() {
        let people = People::new(300);
        for person in people.iter() {
            assert_eq!(people.token(person), person.token().as_bytes());
        }
    }

    #[test]
    fn ids_are_those_that_the_statements_make() {
        assert_eq!(Person(0).id().to_string(), "b0000000-0000-7000-8000-000000000000");
        assert_eq!(Person(0xab_cdef).id().to_string(), "b0000000-0000-7000-8000-000000abcdef");
    }
}
