//! What clients see of a user, a session and a profile: the JSON documents, made from what the services say.

use proto::auth::v1 as auth;
use proto::profile::v1 as profile;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User<'a> {
    /// UUID.
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(example = "ada")]
    username: &'a str,
    email: Option<&'a str>,
    /// Whether a token that was sent to the address came back.
    email_verified: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl<'a> From<&'a auth::User> for User<'a> {
    fn from(user: &'a auth::User) -> Self {
        Self {
            id: &user.id,
            username: &user.username,
            email: user.email.as_deref(),
            email_verified: user.email_verified,
            created_at: Timestamp::from(user.created_at.as_ref()),
        }
    }
}

/// A session. Its id names it, and opens nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session<'a> {
    id: &'a str,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Exact to a twentieth of the idle time-out, and to five minutes.
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    /// Seconds that the session lives if it is not used again.
    expires_in: u64,
}

impl<'a> From<&'a auth::Session> for Session<'a> {
    fn from(session: &'a auth::Session) -> Self {
        Self {
            id: &session.id,
            created_at: Timestamp::from(session.created_at.as_ref()),
            last_seen_at: Timestamp::from(session.last_seen_at.as_ref()),
            expires_in: expires_in(session),
        }
    }
}

/// Whole seconds, rounded down: a client that comes in time is in time.
pub fn expires_in(session: &auth::Session) -> u64 {
    session.expires_in.as_ref().and_then(|duration| u64::try_from(duration.seconds).ok()).unwrap_or_default()
}

/// The own profile.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Profile<'a> {
    /// The user's UUID.
    #[schema(format = Uuid)]
    id: &'a str,
    #[schema(example = "ada")]
    username: &'a str,
    display_name: &'a str,
    bio: &'a str,
    /// BCP 47 language tag.
    #[schema(example = "en-GB")]
    locale: &'a str,
    /// IANA time zone.
    #[schema(example = "Europe/London")]
    timezone: &'a str,
    /// What the user may do. Read-only.
    role: &'a str,
    links: Vec<Link<'a>>,
    avatar_url: Option<&'a str>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// Counts the changes, from 1.
    version: u64,
}

/// A link on a profile.
#[derive(Debug, Serialize, ToSchema)]
pub struct Link<'a> {
    label: &'a str,
    #[schema(format = "uri")]
    url: &'a str,
}

impl<'a> From<&'a profile::Profile> for Profile<'a> {
    fn from(profile: &'a profile::Profile) -> Self {
        Self {
            id: &profile.user_id,
            username: &profile.username,
            display_name: &profile.display_name,
            bio: &profile.bio,
            locale: &profile.locale,
            timezone: &profile.timezone,
            role: &profile.role,
            links: links(profile),
            avatar_url: profile.avatar_url.as_deref(),
            last_seen: profile.last_seen.as_ref().map(|time| Timestamp::from(Some(time))),
            created_at: Timestamp::from(profile.created_at.as_ref()),
            updated_at: Timestamp::from(profile.updated_at.as_ref()),
            version: profile.version,
        }
    }
}

/// What everybody may see of a profile.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicProfile<'a> {
    #[schema(example = "ada")]
    username: &'a str,
    display_name: &'a str,
    bio: &'a str,
    links: Vec<Link<'a>>,
    avatar_url: Option<&'a str>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl<'a> From<&'a profile::Profile> for PublicProfile<'a> {
    fn from(profile: &'a profile::Profile) -> Self {
        Self {
            username: &profile.username,
            display_name: &profile.display_name,
            bio: &profile.bio,
            links: links(profile),
            avatar_url: profile.avatar_url.as_deref(),
            created_at: Timestamp::from(profile.created_at.as_ref()),
        }
    }
}

fn links(profile: &profile::Profile) -> Vec<Link<'_>> {
    profile.links.iter().map(|link| Link { label: &link.label, url: &link.url }).collect()
}

/// A point in time as JavaScript writes it: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(OffsetDateTime);

impl From<Option<&prost_types::Timestamp>> for Timestamp {
    /// What is missing or beyond all calendars is told as the epoch: never a reason to fail an answer.
    fn from(timestamp: Option<&prost_types::Timestamp>) -> Self {
        let time = timestamp.and_then(|time| {
            let nanos = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
            OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
        });
        Self(time.filter(|time| (0..=9999).contains(&time.year())).unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }
}

impl Serialize for Timestamp {
    /// Three stand in every profile, where a general formatter would take a third of the document's time.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (year, month, day) = self.0.to_calendar_date();
        let (hour, minute, second, millisecond) = self.0.to_hms_milli();
        let mut text = *b"____-__-__T__:__:__.___Z";
        put_digits(&mut text[..4], year.unsigned_abs());
        put_digits(&mut text[5..7], u8::from(month).into());
        put_digits(&mut text[8..10], day.into());
        put_digits(&mut text[11..13], hour.into());
        put_digits(&mut text[14..16], minute.into());
        put_digits(&mut text[17..19], second.into());
        put_digits(&mut text[20..23], millisecond.into());
        serializer.serialize_str(str::from_utf8(&text).unwrap_or_default())
    }
}

/// Fills `digits` with the lowest decimal digits of a number.
fn put_digits(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_javascript_writes_them() {
        let json = |seconds, nanos| {
            serde_json::to_string(&Timestamp::from(Some(&prost_types::Timestamp { seconds, nanos }))).unwrap()
        };
        assert_eq!(json(1_767_225_599, 987_654_321), "\"2025-12-31T23:59:59.987Z\"");
        assert_eq!(json(0, 0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(json(i64::MAX, 0), "\"1970-01-01T00:00:00.000Z\"");
    }
}
