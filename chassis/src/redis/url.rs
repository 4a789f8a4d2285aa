//! Where a Redis is, as the command line says it: one server, a set that Sentinels watch over, or a Cluster.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

const SENTINEL_PORT: u16 = 26379;

/// Where a Redis is. Its `Debug` shows no password.
///
/// | URL | what |
/// | --- | --- |
/// | `redis://[user:password@]host:port[/db]` | one server, as the redis crate reads it |
/// | `redis+sentinel://[user:password@]host:port,…/<master name>[/db][?sentinel_username=…&sentinel_password=…]` | the master that these Sentinels name |
/// | `redis+cluster://[user:password@]host:port,…` | a Cluster, found through any of these nodes |
///
/// With `rediss` in place of `redis` every connection is TLS. User and password are those of the servers; Sentinels get their own or
/// none.
#[derive(Clone)]
pub struct RedisUrl(pub(super) Place);

#[derive(Clone)]
pub(super) enum Place {
    Standalone(ConnectionInfo),
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        /// How to speak to the master, wherever it is.
        server: ConnectionInfo,
    },
    /// How to speak to each of the nodes that are known from the start.
    Cluster(Vec<ConnectionInfo>),
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
        let place = match scheme {
            "redis+sentinel" => sentinel("redis", rest)?,
            "rediss+sentinel" => sentinel("rediss", rest)?,
            "redis+cluster" => cluster("redis", rest)?,
            "rediss+cluster" => cluster("rediss", rest)?,
            _ => Place::Standalone(server(text)?),
        };
        Ok(Self(place))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = |servers: &[ConnectionInfo]| {
            servers.iter().map(|server| server.addr().to_string()).collect::<Vec<_>>().join(",")
        };
        match &self.0 {
            Place::Standalone(server) => write!(f, "RedisUrl({})", server.addr()),
            Place::Sentinel { sentinels, master, .. } => {
                write!(f, "RedisUrl(sentinel {}/{master})", addresses(sentinels))
            }
            Place::Cluster(nodes) => write!(f, "RedisUrl(cluster {})", addresses(nodes)),
        }
    }
}

/// The same way of speaking, to another address.
pub(super) fn at(server: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let address = match server.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    };
    server.clone().set_addr(address)
}

fn server(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| error.to_string())?;
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    Ok(info.set_tcp_settings(tcp))
}

/// What follows the scheme of a URL with several hosts.
struct Parts<'a> {
    user: &'a str,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Result<Self, String> {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let hosts: Vec<_> = hosts.split(',').map(str::trim).collect();
        if hosts.iter().any(|host| host.is_empty()) {
            return Err("names no host where one is expected".into());
        }
        let path = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Ok(Self { user, hosts, path, query, fragment })
    }

    /// Each host as if it were alone in the URL.
    fn servers(
        &self,
        scheme: &str,
        user: &str,
        default_port: Option<u16>,
    ) -> Result<Vec<ConnectionInfo>, String> {
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        let fragment = if self.fragment.is_empty() { String::new() } else { format!("#{}", self.fragment) };
        let each = self.hosts.iter().map(|host| {
            let port = default_port.filter(|_| !has_port(host)).map(|port| format!(":{port}"));
            server(&format!("{scheme}://{user}{host}{}{fragment}", port.unwrap_or_default()))
        });
        each.collect()
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, _)| !name.contains(':') || name.ends_with(']'))
}

fn sentinel(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::of(rest)?;
    let (master, db) = match parts.path[..] {
        [master] => (master, 0),
        [master, db] => (master, db.parse().map_err(|_| format!("{db} is no number of a database"))?),
        _ => return Err("has to name the master: redis+sentinel://host:port/<master name>".into()),
    };
    let mut credentials = RedisConnectionInfo::default();
    for (name, value) in url::form_urlencoded::parse(parts.query.as_bytes()) {
        credentials = match &*name {
            "sentinel_username" => credentials.set_username(value),
            "sentinel_password" => credentials.set_password(value),
            _ => return Err(format!("has a parameter that is not known: {name}")),
        };
    }
    let sentinels = parts.servers(scheme, "", Some(SENTINEL_PORT))?;
    let sentinels: Vec<_> =
        sentinels.into_iter().map(|sentinel| sentinel.set_redis_settings(credentials.clone())).collect();
    // For user and password; the address will be the master's.
    let server = parts.servers(scheme, parts.user, None)?.swap_remove(0);
    let settings = server.redis_settings().clone().set_db(db);
    Ok(Place::Sentinel { sentinels, master: master.to_owned(), server: server.set_redis_settings(settings) })
}

fn cluster(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::of(rest)?;
    if !matches!(parts.path[..], [] | ["0"]) {
        return Err("names a database, and a cluster has but one".into());
    }
    if !parts.query.is_empty() {
        return Err("has parameters, and a cluster takes none".into());
    }
    Ok(Place::Cluster(parts.servers(scheme, parts.user, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &str) -> Place {
        url.parse::<RedisUrl>().unwrap_or_else(|error| panic!("{url}: {error}")).0
    }

    fn addresses(servers: &[ConnectionInfo]) -> Vec<String> {
        servers.iter().map(|server| server.addr().to_string()).collect()
    }

    #[test]
    fn a_url_shows_no_password() {
        for url in [
            "redis://user:hush@127.0.0.1:6379/0",
            "redis+sentinel://user:hush@127.0.0.1:6379/main?sentinel_password=hush",
            "rediss+cluster://user:hush@127.0.0.1:6379",
        ] {
            let shown = format!("{:?}", url.parse::<RedisUrl>().unwrap());
            assert!(shown.contains("127.0.0.1:6379") && !shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn sentinels_name_a_master_and_have_credentials_of_their_own() {
        let Place::Sentinel { sentinels, master, server } = place(
            "redis+sentinel://app:p%40ss@a:1,b,[::1]:3,[::1]/main/2?sentinel_username=watch&sentinel_password=d%26g",
        ) else {
            panic!("no Sentinels");
        };
        assert_eq!(addresses(&sentinels), ["a:1", "b:26379", "::1:3", "::1:26379"]);
        assert_eq!(master, "main");
        let settings = server.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("app"), Some("p@ss"), 2));
        let settings = sentinels[1].redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("watch"), Some("d&g"), 0)
        );

        let Place::Sentinel { sentinels, .. } = place("redis+sentinel://:pass@a:1/main") else {
            panic!("no Sentinels");
        };
        assert_eq!(sentinels[0].redis_settings().password(), None, "not the servers'");
    }

    #[test]
    fn nodes_of_a_cluster_share_credentials_and_tls() {
        let Place::Cluster(nodes) = place("rediss+cluster://:pass@a:1,b:2/#insecure") else {
            panic!("no cluster");
        };
        assert_eq!(addresses(&nodes), ["a:1", "b:2"]);
        for node in nodes.into_iter().map(|node| at(&node, "c", 3)) {
            assert_eq!(node.redis_settings().password(), Some("pass"));
            assert!(matches!(node.addr(), ConnectionAddr::TcpTls { insecure: true, port: 3, .. }));
            assert!(node.tcp_settings().nodelay());
        }
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused() {
        for url in [
            "127.0.0.1:6379",
            "http://127.0.0.1",
            "redis+sentinel://127.0.0.1:26379",
            "redis+sentinel://127.0.0.1:26379/",
            "redis+sentinel://127.0.0.1:26379/main/first",
            "redis+sentinel://127.0.0.1:26379/main/0/1",
            "redis+sentinel://127.0.0.1:26379/main?password=x",
            "redis+sentinel:///main",
            "redis+cluster://",
            "redis+cluster://a:1,,b:2",
            "redis+cluster://a:1,b:99999",
            "redis+cluster://a:1/3",
            "redis+cluster://a:1?x=y",
            "redis+clusters://a:1",
        ] {
            assert!(url.parse::<RedisUrl>().is_err(), "{url}");
        }
    }
}
