//! From a merge patch (RFC 7396) to a field mask: a member that is there changes its field, null clears it, a list is replaced
//! whole.
//!
//! Whether a value is acceptable is profile-svc's to say; only shapes are checked here.

use prost_types::FieldMask;
use proto::profile::v1::{Link, Profile};
use serde_json::Value;

use crate::json_body::Members;
use crate::problem::Problem;

/// The changed fields, with their new values.
#[derive(Debug, Default, PartialEq)]
pub struct ProfileChange {
    pub values: Profile,
    pub mask: FieldMask,
}

/// Members of a profile that are told, but not the user's to change.
const READ_ONLY: [&str; 7] = ["id", "username", "role", "lastSeen", "createdAt", "updatedAt", "version"];

impl ProfileChange {
    /// # Errors
    /// 400 that points at every member which is unknown, read-only or of a wrong type.
    pub fn from_members(mut members: Members) -> Result<Self, Problem> {
        let mut change = Self::default();
        change.text(&mut members, "displayName", "display_name", |profile| &mut profile.display_name);
        change.text(&mut members, "bio", "bio", |profile| &mut profile.bio);
        change.text(&mut members, "locale", "locale", |profile| &mut profile.locale);
        change.text(&mut members, "timezone", "timezone", |profile| &mut profile.timezone);
        change.avatar_url(&mut members);
        change.links(&mut members);
        members.refuse_others(|name| {
            if READ_ONLY.contains(&name) { "cannot be changed" } else { "is not a member of a profile" }
        });
        members.finish()?;
        Ok(change)
    }

    pub fn is_empty(&self) -> bool {
        self.mask.paths.is_empty()
    }

    fn text(
        &mut self,
        members: &mut Members,
        name: &str,
        path: &str,
        field: impl FnOnce(&mut Profile) -> &mut String,
    ) {
        match members.take(name) {
            None => return,
            Some(Value::String(text)) => *field(&mut self.values) = text,
            Some(Value::Null) => {}
            Some(_) => return members.complain(format!("/{name}"), "has to be a string or null"),
        }
        self.mask.paths.push(path.to_owned());
    }

    fn avatar_url(&mut self, members: &mut Members) {
        match members.take("avatarUrl") {
            None => return,
            Some(Value::String(url)) => self.values.avatar_url = Some(url),
            Some(Value::Null) => {}
            Some(_) => return members.complain("/avatarUrl", "has to be a string or null"),
        }
        self.mask.paths.push("avatar_url".to_owned());
    }

    fn links(&mut self, members: &mut Members) {
        let items = match members.take("links") {
            None => return,
            Some(Value::Array(items)) => items,
            Some(Value::Null) => Vec::new(),
            Some(_) => return members.complain("/links", "has to be a list or null"),
        };
        for (index, item) in items.into_iter().enumerate() {
            if let Some(link) = link(members, &format!("/links/{index}"), item) {
                self.values.links.push(link);
            }
        }
        self.mask.paths.push("links".to_owned());
    }
}

/// Exactly a label and a url, both strings.
fn link(members: &mut Members, pointer: &str, item: Value) -> Option<Link> {
    let Value::Object(mut link) = item else {
        members.complain(pointer, "has to be an object with label and url");
        return None;
    };
    let mut string = |name: &str| {
        if let Some(Value::String(text)) = link.remove(name) {
            return Some(text);
        }
        members.complain(format!("{pointer}/{name}"), "has to be a string");
        None
    };
    let (label, url) = (string("label"), string("url"));
    if !link.is_empty() {
        members.complain(pointer, "has members other than label and url");
    }
    Some(Link { label: label?, url: url? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Result<ProfileChange, Vec<String>> {
        let members = Members::parse(json.as_bytes()).unwrap();
        ProfileChange::from_members(members)
            .map_err(|problem| problem.errors().iter().map(|error| error.pointer.clone()).collect())
    }

    #[test]
    fn present_members_change_and_null_clears() {
        let change = change(r#"{"displayName": "Ada", "bio": null, "avatarUrl": null}"#).unwrap();
        assert_eq!(change.mask.paths, ["display_name", "bio", "avatar_url"]);
        assert_eq!(change.values, Profile { display_name: "Ada".into(), ..Profile::default() });
    }

    #[test]
    fn links_are_replaced_whole() {
        let change = change(r#"{"links": [{"label": "home", "url": "https://ada.example"}]}"#).unwrap();
        assert_eq!(change.mask.paths, ["links"]);
        assert_eq!(change.values.links, [Link { label: "home".into(), url: "https://ada.example".into() }]);
        let cleared = super::tests::change(r#"{"links": null}"#).unwrap();
        assert!(cleared.values.links.is_empty() && cleared.mask.paths == ["links"]);
    }

    #[test]
    fn an_empty_patch_changes_nothing() {
        assert!(change("{}").unwrap().is_empty());
    }

    #[test]
    fn every_bad_member_is_pointed_at() {
        let pointers = change(
            r#"{"displayName": 1, "role": "admin", "shoeSize": 42, "version": 1,
                "links": [{"label": "x"}, 3, {"label": "a", "url": "b", "rel": "me"}]}"#,
        );
        let expected =
            ["/displayName", "/links/0/url", "/links/1", "/links/2", "/role", "/shoeSize", "/version"];
        assert_eq!(pointers.unwrap_err(), expected);
        assert_eq!(change(r#"{"links": {}}"#).unwrap_err(), ["/links"]);
    }
}
