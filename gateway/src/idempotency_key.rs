//! `Idempotency-Key`: the name that a client gives a request so that it may send it again.
//!
//! It is read here and decides nothing; auth-svc knows what was done under which key.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::app::App;
use crate::client_address::Client;
use crate::limits::Subject;
use crate::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// On an answer that was given before.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const LONGEST: usize = 255;

/// The key of a request among those of its caller, who is the client's address; empty without the header.
pub struct IdempotencyKey(pub String);

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Some(key) = read(&parts.headers)? else { return Ok(Self(String::new())) };
        let client = Client::of(parts, &app.settings.trusted_proxies);
        Ok(Self(format!("{}:{key}", Subject::address(client.address))))
    }
}

/// # Errors
/// 400 for what is not one quoted string (RFC 9651), an empty or a very long one.
fn read(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Problem> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let key = line.to_str().ok().filter(|_| lines.next().is_none()).and_then(unquoted);
    match key {
        Some(key) if (1..=LONGEST).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "INVALID_IDEMPOTENCY_KEY",
            format!("Idempotency-Key has to be one string in double quotes, of 1 to {LONGEST} characters."),
        )),
    }
}

/// What is inside a structured field's string: ASCII, with `\"` and `\\` for the two that stand for something else.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.trim_matches(' ').strip_prefix('"')?.strip_suffix('"')?;
    if !inside.contains(['"', '\\']) {
        return inside.bytes().all(|byte| matches!(byte, 0x20..=0x7e)).then_some(inside.into());
    }
    let mut characters = inside.chars();
    let mut unquoted = String::with_capacity(inside.len());
    while let Some(character) = characters.next() {
        unquoted.push(match character {
            '\\' => characters.next().filter(|escaped| matches!(escaped, '"' | '\\'))?,
            '"' => return None,
            ' '..='~' => character,
            _ => return None,
        });
    }
    Some(unquoted.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(lines: &[&str]) -> Result<Option<String>, Problem> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        read(&headers).map(|key| key.map(Cow::into_owned))
    }

    #[test]
    fn a_key_is_one_quoted_string() {
        assert_eq!(key(&[]).unwrap(), None);
        for (line, expected) in
            [(r#""abc-1""#, "abc-1"), (r#" "a b"  "#, "a b"), (r#""a\"b\\c""#, r#"a"b\c"#), (r#""\\""#, r"\")]
        {
            assert_eq!(key(&[line]).unwrap().as_deref(), Some(expected), "{line}");
        }
        assert!(key(&[&format!("\"{}\"", "k".repeat(255))]).is_ok());
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("\"{}\"", "k".repeat(256));
        for line in [
            "",
            "abc",
            "\"",
            "\"\"",
            "\"abc",
            "abc\"",
            "\"a\"b\"",
            r#""a\"#,
            r#""a\b""#,
            r#""a\""#,
            "'abc'",
            "\"a\", \"b\"",
            "\"é\"",
            "\"a\tb\"",
            "?1",
            ":YWJj:",
            &long,
        ] {
            assert_eq!(key(&[line]).unwrap_err().code(), "INVALID_IDEMPOTENCY_KEY", "{line}");
        }
        assert!(key(&["\"a\"", "\"a\""]).is_err());
    }
}
