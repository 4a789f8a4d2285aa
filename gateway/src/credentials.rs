//! How a session's token comes in and goes out: `Authorization: Bearer`, or a cookie; and the cookie by which a device is known again.
//!
//! It decides nothing about the tokens themselves, which are opaque here.

use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::client_address::Client;

/// A cookie's names.
struct Name {
    /// Over TLS. Browsers take it only with `Secure`, without `Domain` and for the whole site.
    secure: &'static str,
    /// Over plain http on this machine, where some browsers refuse the other.
    loopback: &'static str,
}

const SESSION: Name = Name { secure: "__Host-session", loopback: "session" };
const DEVICE: Name = Name { secure: "__Host-device", loopback: "device" };

/// Longer than any token ever issued: not worth an upstream call.
const LONGEST_TOKEN: usize = 512;

/// What a request presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    None,
    Bearer(&'a str),
    Cookie(&'a str),
}

impl<'a> Credential<'a> {
    /// An `Authorization` header decides alone: with one, cookies are not looked at, so that the two are never confused.
    pub fn of(parts: &'a Parts, client: &Client) -> Self {
        if let Some(authorization) = parts.headers.get(AUTHORIZATION) {
            // What is no bearer token is presented all the same: it counts as a token that opens nothing.
            return Self::Bearer(authorization.to_str().ok().and_then(bearer_token).unwrap_or_default());
        }
        match SESSION.for_client(client).and_then(|name| cookie(&parts.headers, name)) {
            Some(token) => Self::Cookie(token),
            None => Self::None,
        }
    }

    /// The token, when it may be one.
    pub fn token(self) -> Option<&'a str> {
        match self {
            Self::Bearer(token) | Self::Cookie(token)
                if !token.is_empty() && token.len() <= LONGEST_TOKEN =>
            {
                Some(token)
            }
            _ => None,
        }
    }
}

fn bearer_token(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Name {
    /// The name that the cookie has for this client; `None` where none is safe.
    fn for_client(&self, client: &Client) -> Option<&'static str> {
        match client {
            Client { https: true, .. } => Some(self.secure),
            Client { loopback: true, .. } => Some(self.loopback),
            _ => None,
        }
    }
}

/// The device that the request comes from, as it says itself.
pub fn device<'a>(parts: &'a Parts, client: &Client) -> Option<&'a str> {
    let token = DEVICE.for_client(client).and_then(|name| cookie(&parts.headers, name))?;
    (token.len() <= LONGEST_TOKEN).then_some(token)
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name && !value.is_empty()).then_some(value)
    })
}

/// Whether this client can be given a cookie at all.
pub fn can_take_cookie(client: &Client) -> bool {
    SESSION.for_client(client).is_some()
}

/// The `Set-Cookie` that hands a token over; it lives as long as the browser does, and the server alone decides how long the
/// session does.
pub fn set_cookie(client: &Client, token: &str) -> Option<HeaderValue> {
    let name = SESSION.for_client(client)?;
    cookie_header(client, &format!("{name}={token}"))
}

/// The `Set-Cookie` by which a device is known again; it stays when the browser ends.
pub fn set_device_cookie(client: &Client, token: &str, lifetime: Duration) -> Option<HeaderValue> {
    let name = DEVICE.for_client(client)?;
    cookie_header(client, &format!("{name}={token}; Max-Age={}", lifetime.as_secs()))
}

/// The `Set-Cookie` that takes it back.
pub fn clear_cookie(client: &Client) -> Option<HeaderValue> {
    let name = SESSION.for_client(client)?;
    cookie_header(client, &format!("{name}=; Max-Age=0"))
}

fn cookie_header(client: &Client, pair: &str) -> Option<HeaderValue> {
    let secure = if client.https { "; Secure" } else { "" };
    let mut header = HeaderValue::try_from(format!("{pair}; Path=/{secure}; HttpOnly; SameSite=Lax")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Request;

    use super::*;

    fn client(https: bool, loopback: bool) -> Client {
        Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https, loopback }
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_bearer_header_decides_when_both_come() {
        let parts = parts(&[("authorization", "bearer abc"), ("cookie", "__Host-session=def")]);
        assert_eq!(Credential::of(&parts, &client(true, false)), Credential::Bearer("abc"));
    }

    #[test]
    fn an_authorization_of_another_kind_opens_nothing_and_hides_the_cookie() {
        for authorization in ["Basic dXNlcjpwdw==", "Bearer", "Bearer ", ""] {
            let parts = parts(&[("authorization", authorization), ("cookie", "__Host-session=def")]);
            let credential = Credential::of(&parts, &client(true, false));
            assert_eq!((credential, credential.token()), (Credential::Bearer(""), None), "{authorization}");
        }
    }

    #[test]
    fn each_way_in_has_its_cookie_name() {
        let both = parts(&[("cookie", "a=b; session=plain"), ("cookie", "__Host-session=secure")]);
        assert_eq!(Credential::of(&both, &client(true, false)), Credential::Cookie("secure"));
        assert_eq!(Credential::of(&both, &client(false, true)), Credential::Cookie("plain"));
        assert_eq!(Credential::of(&both, &client(false, false)), Credential::None);
        let lookalikes =
            parts(&[("cookie", "x__Host-session=a; __Host-session; __host-session=b; __Host-session=")]);
        assert_eq!(Credential::of(&lookalikes, &client(true, true)), Credential::None);
    }

    #[test]
    fn a_device_has_a_cookie_of_its_own() {
        let parts = parts(&[("cookie", "__Host-device=d; device=plain; __Host-session=s")]);
        assert_eq!(device(&parts, &client(true, false)), Some("d"));
        assert_eq!(device(&parts, &client(false, true)), Some("plain"));
        assert_eq!(device(&parts, &client(false, false)), None);
        let set = |https, loopback| set_device_cookie(&client(https, loopback), "d", Duration::from_secs(60));
        let secure = "__Host-device=d; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(set(true, false).unwrap(), secure);
        assert_eq!(set(false, true).unwrap(), "device=d; Max-Age=60; Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(set(false, false), None);
    }

    #[test]
    fn a_token_of_absurd_length_is_none() {
        let long = format!("Bearer {}", "a".repeat(LONGEST_TOKEN + 1));
        assert_eq!(Credential::of(&parts(&[("authorization", &long)]), &client(true, false)).token(), None);
    }

    #[test]
    fn cookies_are_set_to_the_letter() {
        let secure = set_cookie(&client(true, false), "t").unwrap();
        assert_eq!(secure, "__Host-session=t; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert!(secure.is_sensitive());
        assert_eq!(
            set_cookie(&client(false, true), "t").unwrap(),
            "session=t; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(set_cookie(&client(false, false), "t"), None);
        let cleared = clear_cookie(&client(true, false)).unwrap();
        assert_eq!(cleared, "__Host-session=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax");
    }
}
