//! Requests that nobody means: generated, and the same for the same seed.

use fastrand::Rng;
use http::{HeaderName, HeaderValue, Method};

use crate::api::{Api, Call};
use crate::secrets::hex;

const PATHS: [&str; 17] = [
    "/v1/register",
    "/v1/login",
    "/v1/logout",
    "/v1/me",
    "/v1/me/activity",
    "/v1/profile",
    "/v1/users/ada/profile",
    "/register",
    "/login",
    "/logout",
    "/me",
    "/profile",
    "/health",
    "/readyz",
    "/openapi.json",
    "/docs/",
    "/",
];

const METHODS: [&str; 12] =
    ["GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "M-SEARCH", "X"];

/// Bodies from which others are made by breaking them.
const BODIES: [&str; 7] = [
    r#"{"username": "ada", "password": "correct horse battery staple"}"#,
    r#"{"username": {"$gt": ""}, "password": ["a"], "transport": 1}"#,
    r#"{"displayName": 1, "links": [{"label": "x"}, 3], "role": "admin", "version": -1}"#,
    r#"{"bio": "\ud800", "avatarUrl": "javascript:alert(1)"}"#,
    r#"{"username": "\u0000", "password": null, "email": "@"}"#,
    r#"[1e400, 123456789012345678901234567890, -0.0, "\uDC00"]"#,
    "username=ada&password=x",
];

const TYPES: [&str; 8] = [
    "application/json",
    "application/json; charset=utf-16",
    "application/merge-patch+json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "*/*",
    ";;;",
];

const HEADERS: [&str; 16] = [
    "authorization",
    "cookie",
    "if-match",
    "if-none-match",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "origin",
    "sec-fetch-site",
    "traceparent",
    "tracestate",
    "accept",
    "accept-encoding",
    "range",
    "expect",
    "x-http-method-override",
];

/// Beginnings that lead a parser to look at what follows.
const VALUES: [&str; 14] = [
    "Bearer ",
    "Basic ",
    "session=",
    "__Host-session=",
    "\"",
    "W/\"",
    "*",
    "for=",
    "for=\"[",
    "00-",
    "bytes=",
    "https://",
    "127.0.0.1, ",
    "",
];

/// A well-formed HTTP request that makes no sense.
pub fn call(api: &Api, random: &mut Rng) -> Call {
    let method = Method::from_bytes(pick(random, &METHODS).as_bytes()).unwrap_or(Method::GET);
    let mut call = api.call(method, &path(random));
    for _ in 0..random.usize(0..4) {
        let value = [pick(random, &VALUES).as_bytes(), &bytes(random, 80)].concat();
        if let (Ok(name), true) =
            (HeaderName::try_from(pick(random, &HEADERS)), HeaderValue::from_bytes(&value).is_ok())
        {
            call = call.header(name, value);
        }
    }
    if random.u8(0..4) > 0 {
        call = call.body(pick(random, &TYPES), body(random));
    }
    call
}

/// Bytes that are hardly HTTP at all.
pub fn bytes_on_the_wire(random: &mut Rng) -> Vec<u8> {
    let mut request = match random.u8(0..6) {
        0 => return bytes(random, 400),
        1 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &bytes(random, 200)].concat(),
        2 => b"POST /v1/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n".to_vec(),
        3 => {
            b"POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}".to_vec()
        }
        4 => format!(
            "GET {} HTTP/1.1\r\nhost: \r\n{}: x\r\n\r\n",
            path(random),
            "h".repeat(random.usize(0..90_000))
        )
        .into_bytes(),
        _ => format!("{} {} HTTP/9.{}\r\n\r\n", pick(random, &METHODS), path(random), random.u8(..))
            .into_bytes(),
    };
    break_up(&mut request, random);
    request
}

fn path(random: &mut Rng) -> String {
    let mut path = pick(random, &PATHS).to_owned();
    match random.u8(0..6) {
        0 => path.push_str(&encoded(&bytes(random, 40))),
        1 => path = format!("/v1/users/{}/profile", encoded(&bytes(random, 60))),
        2 => path.push_str("/../../etc/passwd"),
        3 => path = format!("{path}?{}={}", encoded(&bytes(random, 8)), encoded(&bytes(random, 20))),
        4 => path = path.repeat(random.usize(1..40)),
        _ => {}
    }
    path
}

fn body(random: &mut Rng) -> Vec<u8> {
    match random.u8(0..8) {
        0 => bytes(random, 3_000),
        1 => ["[", "{\"a\":"][random.usize(0..2)].repeat(random.usize(1..12_000)).into_bytes(),
        2 => vec![b'a'; random.usize(60_000..80_000)],
        3 => Vec::new(),
        _ => {
            let mut body = pick(random, &BODIES).as_bytes().to_vec();
            break_up(&mut body, random);
            body
        }
    }
}

/// Cuts, flips, repeats and inserts.
fn break_up(text: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..4) {
        if text.is_empty() {
            return;
        }
        let at = random.usize(0..text.len());
        match random.u8(0..4) {
            0 => text.truncate(at),
            1 => text[at] = random.u8(..),
            2 => text.extend_from_within(at..),
            _ => text.insert(at, random.u8(..)),
        }
    }
}

fn bytes(random: &mut Rng, longest: usize) -> Vec<u8> {
    let length = random.usize(0..=longest);
    (0..length).map(|_| random.u8(..)).collect()
}

fn encoded(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| ["%".to_owned(), hex(&[*byte])]).collect()
}

fn pick<'a>(random: &mut Rng, choices: &[&'a str]) -> &'a str {
    choices[random.usize(0..choices.len())]
}
