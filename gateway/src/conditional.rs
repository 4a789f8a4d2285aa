//! Conditional requests (RFC 9110, section 13) over entity tags of the form `"<user id>.<version>"`.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use proto::profile::v1::Profile;

use crate::app::App;

/// The strong tag of a profile, quotes included. The user's id is in it, for two users must never share a 304.
pub fn entity_tag(profile: &Profile) -> String {
    format!("\"{}.{}\"", profile.user_id, profile.version)
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tags {
    /// `*`: whatever there is.
    Any,
    /// Tags as they were written, quotes and `W/` included.
    List(Vec<String>),
}

/// `If-None-Match`; `None` without one.
pub struct IfNoneMatch(Option<Tags>);

/// `If-Match`; `None` without one.
pub struct IfMatch(pub Option<Tags>);

impl IfNoneMatch {
    /// Whether the client has this representation already. Weak tags match too.
    pub fn has(&self, tag: &str) -> bool {
        match &self.0 {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::List(tags)) => tags.iter().any(|one| one.strip_prefix("W/").unwrap_or(one) == tag),
        }
    }
}

impl Tags {
    /// The versions of this user's profile that are named. Weak tags name none: a change needs the very representation.
    pub fn versions_of(&self, user_id: &str) -> Vec<u64> {
        let Self::List(tags) = self else { return Vec::new() };
        let version = |tag: &String| {
            let opaque = tag.strip_prefix('"')?.strip_suffix('"')?;
            let version = opaque.strip_prefix(user_id)?.strip_prefix('.')?;
            // Only as it was written here: no sign, no leading zero.
            version.parse::<u64>().ok().filter(|number| *number > 0 && number.to_string() == version)
        };
        tags.iter().filter_map(version).collect()
    }
}

/// All lines of the header. What cannot be read is a tag that matches nothing.
fn tags(headers: &HeaderMap, name: HeaderName) -> Option<Tags> {
    let mut lines = headers.get_all(name).into_iter().peekable();
    lines.peek()?;
    let mut tags = Vec::new();
    for line in lines.map(HeaderValue::as_bytes).map(String::from_utf8_lossy) {
        if line.trim() == "*" {
            return Some(Tags::Any);
        }
        let mut quoted = false;
        let separated = line.split(|character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        });
        tags.extend(separated.map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned));
    }
    Some(Tags::List(tags))
}

impl FromRequestParts<App> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self(tags(&parts.headers, IF_NONE_MATCH)))
    }
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        Ok(Self(tags(&parts.headers, IF_MATCH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(lines: &[&str]) -> Option<Tags> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_str(line).unwrap());
        }
        tags(&headers, IF_MATCH)
    }

    #[test]
    fn lists_lines_and_the_asterisk_are_read() {
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&[" * "]), Some(Tags::Any));
        let list = Tags::List(["\"a,b\"", "W/\"c\"", "\"d\""].map(str::to_owned).into());
        assert_eq!(parsed(&["\"a,b\" , W/\"c\",", "\"d\""]), Some(list));
        assert_eq!(parsed(&[""]), Some(Tags::List(Vec::new())));
    }

    #[test]
    fn not_modified_compares_weakly() {
        let has = |lines: &[&str]| IfNoneMatch(parsed(lines)).has("\"u.3\"");
        assert!(has(&["\"u.3\""]) && has(&["W/\"u.3\""]) && has(&["\"x\", \"u.3\""]) && has(&["*"]));
        assert!(!has(&["\"u.2\""]) && !has(&["u.3"]) && !has(&[]));
    }

    #[test]
    fn a_change_compares_strongly_and_only_with_the_own_profile() {
        let versions = |line: &str| parsed(&[line]).unwrap().versions_of("u");
        assert_eq!(versions("\"u.3\", \"u.4\""), [3, 4]);
        for none in ["W/\"u.3\"", "\"v.3\"", "\"u.03\"", "\"u.+3\"", "\"u.0\"", "u.3", "\"u.\"", "nonsense"] {
            assert_eq!(versions(none), [0_u64; 0], "{none}");
        }
    }
}
