//! How a profile lies in the cache: a protobuf message of its own, so that neither the wire contract nor the
//! domain is tied to it.

use bytes::Bytes;
use chassis::read_through::Cached;
use prost::Message as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::profile::{Link, Profile, UserId};

/// Old and new versions of the program share the cache: a field is added with a meaning for its absence, or
/// the cache gets another name.
#[derive(Clone, PartialEq, prost::Message)]
struct ProfileEntry {
    #[prost(bytes = "bytes", tag = "1")]
    user_id: Bytes,
    #[prost(string, tag = "2")]
    username: String,
    #[prost(string, tag = "3")]
    username_key: String,
    #[prost(string, tag = "4")]
    display_name: String,
    #[prost(string, tag = "5")]
    bio: String,
    #[prost(string, tag = "6")]
    locale: String,
    #[prost(string, tag = "7")]
    timezone: String,
    #[prost(string, tag = "8")]
    role: String,
    #[prost(message, repeated, tag = "9")]
    links: Vec<LinkEntry>,
    #[prost(string, optional, tag = "10")]
    avatar_url: Option<String>,
    #[prost(sint64, optional, tag = "11")]
    last_seen: Option<i64>,
    #[prost(sint64, tag = "12")]
    created_at: i64,
    #[prost(sint64, tag = "13")]
    updated_at: i64,
    #[prost(int64, tag = "14")]
    version: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LinkEntry {
    #[prost(string, tag = "1")]
    label: String,
    #[prost(string, tag = "2")]
    url: String,
}

impl Cached for Profile {
    fn encode(&self, buffer: &mut Vec<u8>) {
        let profile = self.clone();
        let entry = ProfileEntry {
            user_id: Bytes::copy_from_slice(profile.user_id.0.as_bytes()),
            username: profile.username,
            username_key: profile.username_key,
            display_name: profile.display_name,
            bio: profile.bio,
            locale: profile.locale,
            timezone: profile.timezone,
            role: profile.role,
            links: profile.links.into_iter().map(|Link { label, url }| LinkEntry { label, url }).collect(),
            avatar_url: profile.avatar_url,
            last_seen: profile.last_seen.map(micros),
            created_at: micros(profile.created_at),
            updated_at: micros(profile.updated_at),
            version: profile.version,
        };
        entry.encode_raw(buffer);
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        let entry = ProfileEntry::decode(bytes).ok()?;
        Some(Self {
            user_id: UserId(Uuid::from_slice(&entry.user_id).ok()?),
            username: entry.username,
            username_key: entry.username_key,
            display_name: entry.display_name,
            bio: entry.bio,
            locale: entry.locale,
            timezone: entry.timezone,
            role: entry.role,
            links: entry.links.into_iter().map(|LinkEntry { label, url }| Link { label, url }).collect(),
            avatar_url: entry.avatar_url,
            last_seen: match entry.last_seen {
                Some(micros) => Some(time(micros)?),
                None => None,
            },
            created_at: time(entry.created_at)?,
            updated_at: time(entry.updated_at)?,
            version: entry.version,
        })
    }
}

impl Cached for UserId {
    fn encode(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.0.as_bytes());
    }

    fn decode(bytes: Bytes) -> Option<Self> {
        Uuid::from_slice(&bytes).ok().map(Self)
    }
}

/// Microseconds since 1970: as exact as Postgres has a time.
fn micros(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos() / 1000) as i64
}

fn time(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn round_trip<V: Cached>(value: &V) -> Option<V> {
        let mut buffer = Vec::new();
        value.encode(&mut buffer);
        V::decode(buffer.into())
    }

    #[test]
    fn a_profile_survives_the_round_trip() {
        let link = Link { label: "Home".into(), url: "https://example.org".into() };
        let full = Profile {
            user_id: UserId(Uuid::now_v7()),
            username: "Alice".into(),
            username_key: "alice".into(),
            display_name: "Alice \u{1f980}".into(),
            bio: "Two\nlines".into(),
            locale: "pt-BR".into(),
            timezone: "Europe/Paris".into(),
            role: "user".into(),
            links: vec![link.clone(), link],
            avatar_url: Some("https://example.org/a.png".into()),
            last_seen: Some(datetime!(2026-01-02 03:04:05.678901 UTC)),
            created_at: datetime!(1969-12-31 23:59:59.999999 UTC),
            updated_at: datetime!(2026-01-02 03:04:05 UTC),
            version: 3,
        };
        assert_eq!(round_trip(&full), Some(full.clone()));
        let bare = Profile { links: vec![], avatar_url: None, last_seen: None, ..full };
        assert_eq!(round_trip(&bare), Some(bare.clone()));
        assert_eq!(round_trip(&bare.user_id), Some(bare.user_id));
    }

    #[test]
    fn nonsense_is_no_profile() {
        for bytes in [&b""[..], b"\xff\xff", b"\x0a\x03abc"] {
            assert_eq!(<Profile as Cached>::decode(Bytes::copy_from_slice(bytes)), None);
        }
        assert_eq!(<UserId as Cached>::decode(Bytes::from_static(b"short")), None);
    }
}
