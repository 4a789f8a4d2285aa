//! Requests that another site makes a signed-in browser send: refused wherever a cookie is the credential and something
//! would change.

use std::ops::Deref;
use std::str::FromStr;

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::client_address::Client;
use crate::problem::Problem;

/// Scheme, host and port of a web page, as browsers write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// As it stands in an `Origin` header.
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("`{text}` is no origin such as https://app.example.com");
        let url = url::Url::parse(text).map_err(|_| invalid())?;
        let origin = url.origin().ascii_serialization();
        if !matches!(url.scheme(), "http" | "https") || text.trim_end_matches('/') != origin {
            return Err(invalid());
        }
        HeaderValue::from_str(&origin).map(Self).map_err(|_| invalid())
    }
}

/// A comma-separated list of origins; an empty one allows nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Origin::from_str).collect::<Result<_, _>>().map(Self)
    }
}

impl Deref for Origins {
    type Target = [Origin];

    fn deref(&self) -> &[Origin] {
        &self.0
    }
}

/// A request whose credential is a cookie, and which is not a mere read, has to show where it comes from: by
/// `Sec-Fetch-Site: same-origin`, or by an `Origin` that is this one or one of those that are allowed.
pub fn refuse_foreign(parts: &Parts, client: &Client, allowed: &[Origin]) -> Result<(), Problem> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let same_origin = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    if same_origin || origin_matches(parts, client, allowed) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "CROSS_SITE",
        "A request that changes something with a cookie has to come from this site's own pages.",
    ))
}

fn origin_matches(parts: &Parts, client: &Client, allowed: &[Origin]) -> bool {
    let Some(origin) = parts.headers.get(header::ORIGIN) else { return false };
    if allowed.iter().any(|allowed| allowed.header() == origin) {
        return true;
    }
    let scheme = if client.https { "https://" } else { "http://" };
    let host = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| parts.headers.get(header::HOST).map(HeaderValue::as_bytes));
    let own = origin.as_bytes().strip_prefix(scheme.as_bytes());
    own.zip(host).is_some_and(|(own, host)| own.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Request;

    use super::*;

    fn accepts(method: &str, https: bool, headers: &[(&str, &str)]) -> bool {
        let mut request =
            Request::builder().method(method).uri("/v1/logout").header("host", "api.example.com");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let client = Client { address: IpAddr::V4(Ipv4Addr::LOCALHOST), https, loopback: false };
        let allowed = ["https://app.example.com".parse().unwrap()];
        refuse_foreign(&request.body(()).unwrap().into_parts().0, &client, &allowed).is_ok()
    }

    #[test]
    fn a_change_has_to_show_that_it_comes_from_here() {
        assert!(accepts("GET", true, &[]));
        assert!(!accepts("POST", true, &[]));
        assert!(accepts("POST", true, &[("sec-fetch-site", "same-origin")]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!accepts("POST", true, &[("sec-fetch-site", site)]), "{site}");
        }
        assert!(accepts("PATCH", true, &[("origin", "https://api.example.com")]));
        assert!(accepts("PATCH", true, &[("origin", "https://app.example.com")]));
        for origin in
            ["https://evil.example", "http://api.example.com", "https://api.example.com.evil.example", "null"]
        {
            assert!(!accepts("DELETE", true, &[("origin", origin)]), "{origin}");
        }
        assert!(accepts("POST", false, &[("origin", "http://api.example.com")]));
    }

    #[test]
    fn origins_are_read_strictly() {
        assert!("https://app.example.com:8443".parse::<Origin>().is_ok());
        for invalid in
            ["*", "app.example.com", "https://app.example.com/path", "ftp://example.com", "https://"]
        {
            assert!(invalid.parse::<Origin>().is_err(), "{invalid}");
        }
    }
}
