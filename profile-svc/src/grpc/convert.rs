//! Conversions from and to protobuf.

use proto::profile::v1 as pb;
use time::OffsetDateTime;

use crate::error::{ProfileError, Violation};
use crate::fields::{AvatarUrl, Bio, DisplayName, Links, Locale, Timezone};
use crate::profile::{Link, Profile, ProfileChange, UserId};

/// A change as its caller wants it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Update {
    pub(super) id: UserId,
    /// `None`: whichever version is current.
    pub(super) expected: Option<i64>,
    pub(super) change: ProfileChange,
}

/// Reads a request to change a profile; tells all that is wrong with it at once.
pub(super) fn decode_update(request: pb::UpdateProfileRequest) -> Result<Update, ProfileError> {
    let profile = request.profile.unwrap_or_default();
    let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mut violations = Vec::new();
    let id = UserId::parse(&profile.user_id).map_err(|violation| violations.push(violation));
    // A version that no profile can have is one that it is not at.
    let expected =
        (request.expected_version > 0).then(|| i64::try_from(request.expected_version).unwrap_or(i64::MAX));
    if paths.is_empty() {
        violations.push(Violation::new("update_mask", "names no field"));
    }
    let change = decode_change(profile, &paths, &mut violations);
    match id {
        Ok(id) if violations.is_empty() => Ok(Update { id, expected, change }),
        _ => Err(ProfileError::InvalidFields(violations)),
    }
}

fn decode_change(profile: pb::Profile, paths: &[String], violations: &mut Vec<Violation>) -> ProfileChange {
    let pb::Profile { display_name, bio, locale, timezone, links, avatar_url, .. } = profile;
    let named = |path: &str| paths.iter().any(|named| named == path);
    let mut change = ProfileChange::default();
    if named("display_name") {
        change.display_name = accept(DisplayName::parse(display_name), violations);
    }
    if named("bio") {
        change.bio = accept(Bio::parse(bio), violations);
    }
    if named("locale") {
        change.locale = accept(Locale::parse(&locale), violations);
    }
    if named("timezone") {
        change.timezone = accept(Timezone::parse(&timezone), violations);
    }
    if named("links") {
        let links = links.into_iter().map(|pb::Link { label, url }| Link { label, url }).collect();
        change.links = accept(Links::parse(links), violations);
    }
    if named("avatar_url") {
        change.avatar_url = accept(AvatarUrl::parse(avatar_url), violations);
    }
    for path in paths {
        match path.as_str() {
            "display_name" | "bio" | "locale" | "timezone" | "links" | "avatar_url" => {}
            "user_id" | "username" | "role" | "last_seen" | "created_at" | "updated_at" | "version" => {
                violations.push(Violation::new(path, "cannot be changed"));
            }
            _ => violations.push(Violation::new(path, "is no field of a profile")),
        }
    }
    change
}

fn accept<T>(parsed: Result<T, Violation>, violations: &mut Vec<Violation>) -> Option<T> {
    parsed.map_err(|violation| violations.push(violation)).ok()
}

pub(super) fn encode_profile(profile: Profile) -> pb::Profile {
    pb::Profile {
        user_id: profile.user_id.to_string(),
        username: profile.username,
        display_name: profile.display_name,
        bio: profile.bio,
        locale: profile.locale,
        timezone: profile.timezone,
        role: profile.role,
        links: profile.links.into_iter().map(|Link { label, url }| pb::Link { label, url }).collect(),
        avatar_url: profile.avatar_url,
        last_seen: profile.last_seen.map(encode_time),
        created_at: Some(encode_time(profile.created_at)),
        updated_at: Some(encode_time(profile.updated_at)),
        version: profile.version.cast_unsigned(),
    }
}

fn encode_time(time: OffsetDateTime) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.unix_timestamp(), nanos: time.nanosecond().cast_signed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";

    fn update(profile: pb::Profile, paths: &[&str]) -> Result<Update, Vec<String>> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = pb::UpdateProfileRequest {
            profile: Some(profile),
            update_mask: Some(prost_types::FieldMask { paths }),
            expected_version: 3,
        };
        decode_update(request).map_err(|error| match error {
            ProfileError::InvalidFields(violations) => violations.into_iter().map(|v| v.field).collect(),
            other => panic!("{other}"),
        })
    }

    fn profile() -> pb::Profile {
        pb::Profile {
            user_id: ID.into(),
            bio: "Hello".into(),
            locale: "en_US".into(),
            ..pb::Profile::default()
        }
    }

    #[test]
    fn only_what_the_mask_names_is_changed_and_looked_at() {
        let update = update(profile(), &["bio", "avatar_url"]).unwrap();
        assert_eq!(update.id.to_string(), ID);
        assert_eq!(update.expected, Some(3));
        let expected = ProfileChange {
            bio: Some(Bio::parse("Hello".into()).unwrap()),
            avatar_url: Some(AvatarUrl::parse(None).unwrap()),
            ..ProfileChange::default()
        };
        assert_eq!(update.change, expected);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let wrong = pb::Profile { user_id: "me".into(), ..profile() };
        let fields = update(wrong, &["locale", "role", "shoe_size", "bio"]).unwrap_err();
        assert_eq!(fields, ["user_id", "locale", "role", "shoe_size"]);
    }

    #[test]
    fn a_mask_has_to_name_something() {
        assert_eq!(update(profile(), &[]).unwrap_err(), ["update_mask"]);
        let nothing = decode_update(pb::UpdateProfileRequest::default()).unwrap_err();
        assert!(matches!(nothing, ProfileError::InvalidFields(violations) if violations.len() == 2));
    }

    #[test]
    fn no_expected_version_means_any_and_an_impossible_one_means_none() {
        let expected = |version| {
            let mask = prost_types::FieldMask { paths: vec!["bio".into()] };
            let request = pb::UpdateProfileRequest {
                profile: Some(profile()),
                update_mask: Some(mask),
                expected_version: version,
            };
            decode_update(request).unwrap().expected
        };
        assert_eq!((expected(0), expected(7), expected(u64::MAX)), (None, Some(7), Some(i64::MAX)));
    }
}
