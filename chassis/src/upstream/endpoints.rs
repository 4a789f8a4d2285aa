//! Where the replicas of an upstream are, as the configuration says it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The replicas of one upstream: `host:port,host:port` (as many as there are), or `dns:///name:port`, which is resolved again
/// every few seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoints {
    /// A fixed list without duplicates, never empty.
    List(Vec<Address>),
    /// Every address behind one name.
    Dns(Address),
}

/// Host and port of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
}

/// Why a list of endpoints makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEndpoints {
    #[error("needs at least one host:port, or dns:///name:port")]
    Empty,
    #[error("`{0}` is not host:port")]
    NotHostAndPort(String),
    #[error("`{0}` has no port from 1 to 65535")]
    NoPort(String),
    #[error("`{0}` is not dns:///name:port; a name server of its own cannot be given")]
    NotDns(String),
}

impl FromStr for Endpoints {
    type Err = InvalidEndpoints;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(target) = text.strip_prefix("dns:") {
            let name = target.strip_prefix("///").ok_or_else(|| InvalidEndpoints::NotDns(text.to_owned()))?;
            return name.parse().map(Self::Dns);
        }
        let mut addresses: Vec<Address> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let address = part.parse()?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() { Err(InvalidEndpoints::Empty) } else { Ok(Self::List(addresses)) }
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:///{name}"),
            Self::List(addresses) => {
                for (index, address) in addresses.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "," };
                    write!(f, "{separator}{address}")?;
                }
                Ok(())
            }
        }
    }
}

impl Address {
    /// A name or an IP address, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for Address {
    type Err = InvalidEndpoints;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || InvalidEndpoints::NotHostAndPort(text.to_owned());
        let no_port = || InvalidEndpoints::NoPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(no_port)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let ip = rest.strip_suffix(']').ok_or_else(malformed)?;
                ip.parse::<IpAddr>().ok().filter(IpAddr::is_ipv6).ok_or_else(malformed)?.to_string()
            }
            None => host.to_owned(),
        };
        let is_name =
            |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if host.is_empty() || !(host.parse::<IpAddr>().is_ok() || is_name(&host)) {
            return Err(malformed());
        }
        Ok(Self { host, port })
    }
}

/// `host:port`, with brackets around IPv6.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_a_name_are_told_apart_and_written_as_they_were_read() {
        for text in
            ["127.0.0.1:50051", "auth-0.auth:50051,auth-1.auth:50051", "[::1]:50051", "dns:///auth:50051"]
        {
            let endpoints: Endpoints = text.parse().unwrap();
            assert_eq!(endpoints.to_string(), text);
            assert_eq!(text.starts_with("dns"), matches!(endpoints, Endpoints::Dns(_)));
        }
    }

    #[test]
    fn blanks_and_duplicates_do_not_count() {
        let endpoints: Endpoints = " a:1 , b:2,, a:1 ".parse().unwrap();
        assert_eq!(endpoints.to_string(), "a:1,b:2");
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        use InvalidEndpoints::{Empty, NoPort, NotDns, NotHostAndPort};
        for (text, reason) in [
            ("", Empty),
            (" , ", Empty),
            ("auth", NoPort("auth".into())),
            ("auth:0", NoPort("auth:0".into())),
            ("auth:65536", NoPort("auth:65536".into())),
            (":50051", NotHostAndPort(":50051".into())),
            ("http://auth:50051", NotHostAndPort("http://auth:50051".into())),
            ("::1:50051x", NoPort("::1:50051x".into())),
            ("[::1:50051", NotHostAndPort("[::1:50051".into())),
            ("dns://8.8.8.8/auth:50051", NotDns("dns://8.8.8.8/auth:50051".into())),
            ("dns:///auth", NoPort("auth".into())),
        ] {
            assert_eq!(text.parse::<Endpoints>(), Err(reason), "{text}");
        }
    }
}
