//! Who the client is on the network: the socket's peer, or whom trusted proxies say they speak for.
//!
//! The only module that reads `Forwarded` and `X-Forwarded-*`. What an untrusted peer says there is ignored.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{Extensions, HeaderMap, header};

use crate::app::App;

/// The client of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// IPv4 clients of a dual-stack socket appear as IPv4.
    pub address: IpAddr,
    /// Whether the client itself spoke TLS, as far as trusted proxies tell.
    pub https: bool,
    /// Whether the request came from this machine for a name of this machine, with nothing in between.
    pub loopback: bool,
}

impl Client {
    pub fn of(parts: &Parts, trusted: &TrustedProxies) -> Self {
        let peer = peer(&parts.extensions).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let forwarded = if trusted.contains(peer) {
            forwarded(&parts.headers, peer, trusted)
        } else {
            ForwardedClient::default()
        };
        let address = forwarded.client.unwrap_or(peer);
        let host = parts.uri.host().or_else(|| {
            let host = parts.headers.get(header::HOST)?.to_str().ok()?;
            // The port, if any, follows the last colon, which in an IPv6 address is inside brackets.
            Some(host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name))
        });
        let loopback = peer.is_loopback() && address.is_loopback() && host.is_some_and(is_loopback_name);
        Self { address, https: forwarded.https, loopback }
    }
}

impl FromRequestParts<App> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self::of(parts, &app.settings.trusted_proxies))
    }
}

/// The address of the socket's other end.
pub fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or_else(
        |_| host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

/// What trusted proxies say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct ForwardedClient {
    client: Option<IpAddr>,
    https: bool,
}

/// Reads both headers. A proxy writes one of them and may pass the other on as the client sent it, so that where they disagree
/// neither is believed.
fn forwarded(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> ForwardedClient {
    let standard = elements(headers, "forwarded").map(|elements| {
        let nodes = elements.iter().map(|element| parameter(element, "for").and_then(parse_node));
        ForwardedClient {
            client: rightmost_untrusted(nodes, peer, trusted),
            https: elements.last().and_then(|element| parameter(element, "proto")).is_some_and(is_https),
        }
    });
    let proto = elements(headers, "x-forwarded-proto");
    let custom = elements(headers, "x-forwarded-for").map(|elements| {
        rightmost_untrusted(elements.iter().map(|element| parse_node(element)), peer, trusted)
    });
    let custom_https = proto.as_ref().and_then(|elements| elements.last().copied()).map(is_https);
    match (standard, custom) {
        (None, custom) => ForwardedClient { client: custom.flatten(), https: custom_https.unwrap_or(false) },
        (Some(standard), custom) => {
            let client =
                if custom.is_none_or(|custom| custom == standard.client) { standard.client } else { None };
            ForwardedClient {
                client,
                https: custom_https.map_or(standard.https, |https| https || standard.https),
            }
        }
    }
}

/// The comma-separated elements of all of a header's lines, in order; `None` without the header or with one that is no text.
/// Commas inside quotes separate nothing.
fn elements<'a>(headers: &'a HeaderMap, name: &str) -> Option<Vec<&'a str>> {
    let mut elements = Vec::new();
    for line in headers.get_all(name) {
        let line = line.to_str().ok()?;
        let mut quoted = false;
        elements.extend(line.split(move |character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        }));
    }
    (!elements.is_empty()).then(|| elements.into_iter().map(str::trim).collect())
}

/// A parameter of a `Forwarded` element, without its quotes.
fn parameter<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    element.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

fn is_https(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss")
}

/// An address with or without a port, IPv6 with or without brackets; not `unknown` and not an obfuscated name.
fn parse_node(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .or_else(|_| text.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|address| address.to_canonical())
}

/// Each proxy appends whom it heard from, so the list is believed from its right end to the first address that is no trusted
/// proxy. What a trusted proxy wrote but cannot be read ends the walk at that proxy.
fn rightmost_untrusted(
    nodes: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> Option<IpAddr> {
    let mut nearest = peer;
    for node in nodes.rev() {
        let Some(address) = node else { break };
        nearest = address;
        if !trusted.contains(address) {
            break;
        }
    }
    (nearest != peer).then_some(nearest)
}

/// The networks of the proxies in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u32,
}

impl TrustedProxies {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let same_prefix = |left: u128, right: u128, bits: u32| {
            (left ^ right).checked_shr(bits - self.prefix).is_none_or(|difference| difference == 0)
        };
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(network.to_bits().into(), address.to_bits().into(), 32)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same_prefix(network.to_bits(), address.to_bits(), 128)
            }
            _ => false,
        }
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Network::from_str)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| format!("`{text}` is no address or network"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), str::parse).ok().filter(|prefix| *prefix <= longest);
        let prefix = prefix.ok_or_else(|| format!("`{text}` has no prefix length from 0 to {longest}"))?;
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};
    use proptest::prelude::*;

    use super::*;

    fn client(peer: &str, trusted: &str, headers: &[(&'static str, &str)]) -> Client {
        let mut request = Request::builder().uri("/me").body(()).unwrap();
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
        for (name, value) in headers {
            request
                .headers_mut()
                .append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Client::of(&request.into_parts().0, &trusted.parse().unwrap())
    }

    fn address(peer: &str, trusted: &str, headers: &[(&'static str, &str)]) -> String {
        client(peer, trusted, headers).address.to_string()
    }

    #[test]
    fn a_peer_that_is_not_trusted_speaks_for_itself_alone() {
        let headers = [("x-forwarded-for", "1.2.3.4"), ("forwarded", "for=1.2.3.4;proto=https")];
        let client = client("203.0.113.9", "10.0.0.0/8", &headers);
        assert_eq!((client.address.to_string().as_str(), client.https), ("203.0.113.9", false));
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_is_the_client() {
        let chain = [("x-forwarded-for", "6.6.6.6, 198.51.100.7"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(address("10.0.0.1", "10.0.0.0/8", &chain), "198.51.100.7");
        assert_eq!(
            address("10.0.0.1", "10.0.0.0/8", &[("x-forwarded-for", "10.0.0.3, 10.0.0.2")]),
            "10.0.0.3"
        );
    }

    #[test]
    fn forwarded_is_read_with_quotes_ports_and_ipv6() {
        for (value, expected) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\";proto=http", "2001:db8:cafe::17"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("for=6.6.6.6, for=\"192.0.2.1:80\";by=\"a,b\"", "192.0.2.1"),
            ("for=\"[::ffff:192.0.2.8]\"", "192.0.2.8"),
        ] {
            assert_eq!(address("::1", "::1", &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_read_leaves_the_proxy_that_wrote_it() {
        for value in ["for=unknown", "for=_hidden", "by=1.2.3.4", "for=", "\"", ","] {
            assert_eq!(address("10.0.0.1", "10.0.0.0/8", &[("forwarded", value)]), "10.0.0.1", "{value}");
        }
        let broken_beyond = [("x-forwarded-for", "nonsense, 10.0.0.2")];
        assert_eq!(address("10.0.0.1", "10.0.0.0/8", &broken_beyond), "10.0.0.2");
    }

    #[test]
    fn headers_that_disagree_are_not_believed() {
        let headers = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(address("10.0.0.1", "10.0.0.1", &headers), "10.0.0.1");
    }

    #[test]
    fn the_scheme_comes_from_trusted_proxies() {
        assert!(client("10.0.0.1", "10.0.0.1", &[("x-forwarded-proto", "https")]).https);
        assert!(client("10.0.0.1", "10.0.0.1", &[("forwarded", "for=1.1.1.1;proto=HTTPS")]).https);
        assert!(!client("10.0.0.1", "10.0.0.1", &[("x-forwarded-proto", "https, http")]).https);
    }

    #[test]
    fn loopback_means_this_machine_under_its_own_name() {
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "LOCALHOST", "app.localhost"] {
            assert!(client("127.0.0.1", "", &[("host", host)]).loopback, "{host}");
        }
        assert!(!client("127.0.0.1", "", &[("host", "example.com")]).loopback);
        assert!(!client("203.0.113.1", "", &[("host", "localhost")]).loopback);
        let behind_a_proxy = [("host", "localhost"), ("x-forwarded-for", "203.0.113.1")];
        assert!(!client("127.0.0.1", "127.0.0.1", &behind_a_proxy).loopback);
    }

    #[test]
    fn networks_contain_their_addresses() {
        let trusted: TrustedProxies = "10.1.0.0/16, 192.0.2.1,2001:db8::/32,0.0.0.0/0".parse().unwrap();
        assert!(trusted.contains("203.0.113.1".parse().unwrap()));
        assert!(trusted.contains("2001:db8:1::1".parse().unwrap()));
        assert!(!trusted.contains("2001:db9::1".parse().unwrap()));
        for invalid in ["10.0.0.0/33", "10.0.0.0/x", "example.com", "::/129", "10.0.0.0/"] {
            assert!(invalid.parse::<TrustedProxies>().is_err(), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_header_text_panics_or_is_believed_from_a_stranger(forwarded in "[ -~]{0,60}", custom in "[ -~]{0,60}") {
            let headers = [("forwarded", forwarded.as_str()), ("x-forwarded-for", custom.as_str())];
            client("10.0.0.1", "10.0.0.0/8", &headers);
            prop_assert_eq!(address("203.0.113.9", "10.0.0.0/8", &headers), "203.0.113.9");
        }

        #[test]
        fn what_the_client_prepends_never_counts(prefix in "[ -!#-~]{0,40}") {
            let list = format!("{prefix}, 198.51.100.7");
            prop_assert_eq!(address("10.0.0.1", "10.0.0.0/8", &[("x-forwarded-for", &list)]), "198.51.100.7");
        }
    }
}
