//! Redis in its roles: one server, a set that Sentinels watch over, or a Cluster; each reached by links that are kept up in the
//! background.
//!
//! Every call is bounded in time. While no link is up calls fail at once; a call never waits for a reconnect longer than
//! [`LINK_WAIT`]. A link that fails or stops answering is replaced, with jittered backoff. Commands on one link are answered in the
//! order in which they were sent.
//!
//! Every call names the one key that it is about, which tells the server to ask.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Pipeline};

use crate::shutdown::Shutdown;

mod cluster;
mod keeper;
mod link;
mod replication;
mod script;
mod sentinel;
mod url;

pub use link::Link;
pub use script::{Invocation, Script};
pub use url::RedisUrl;

use cluster::Cluster;
use keeper::{Keeper, Source};
use link::Request;
use replication::Deployment;
use sentinel::Sentinels;
use url::Place;

/// A call that has no answer by then counts as unanswered.
const CALL_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a call waits for a link that is just being made.
const LINK_WAIT: Duration = Duration::from_millis(150);
/// How long making a link may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Redis gave no answer, or none that helps: away, too slow, loading, read-only, out of memory, without its replicas.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisAway {
    #[error("no connection to redis ({0})")]
    NotConnected(&'static str),
    #[error("no sentinel names the master of redis ({0})")]
    NoMaster(&'static str),
    #[error("redis ({0}) does not answer in time")]
    TimedOut(&'static str),
    #[error("not all replicas of redis ({0}) confirm a write")]
    NotReplicated(&'static str),
    #[error("redis ({0}) failed")]
    Failed(&'static str, #[source] Arc<redis::RedisError>),
}

/// One Redis, as one replica sees it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    deployment: Arc<Deployment>,
    servers: Servers,
}

#[derive(Clone)]
enum Servers {
    /// One at a time.
    One(Keeper),
    Cluster(Cluster),
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("role", &self.deployment.role).finish_non_exhaustive()
    }
}

impl Redis {
    /// Begins to connect, in the background: a service starts without its Redis. `role` names it in errors and metrics.
    pub fn open(url: &RedisUrl, role: &'static str, shutdown: &Shutdown) -> Self {
        let deployment = Deployment::new(role, !matches!(url.0, Place::Standalone(_)));
        let one = |source| Servers::One(Keeper::start(source, &deployment, shutdown));
        let servers = match url.0.clone() {
            Place::Standalone(server) => one(Source::Fixed(server.into())),
            Place::Sentinel { sentinels, master, server } => {
                one(Source::Sentinels(Sentinels::new(sentinels, master, server).into()))
            }
            Place::Cluster(seeds) => Servers::Cluster(Cluster::open(seeds, deployment.clone(), shutdown)),
        };
        Self { deployment, servers }
    }

    /// Whether it has answered at least once.
    pub fn answered(&self) -> bool {
        match &self.servers {
            Servers::One(keeper) => keeper.answered(),
            Servers::Cluster(cluster) => cluster.answered(),
        }
    }

    /// Whether another server may take a server's place, with what that one knew of its writes. An answer can then come from one
    /// that has been replaced and does not know it yet; it is right for sure only if it was given by a write, or by a script that
    /// may write, which such a server refuses.
    pub fn is_replicated(&self) -> bool {
        self.deployment.replicated
    }

    /// The link to the server that holds a key, for calls about it that belong together: they reach one server process, in their
    /// order. Unlike the calls below they are not sent on when the key has moved.
    pub async fn link_for(&self, key: impl AsRef<[u8]>) -> Result<Link, RedisAway> {
        match &self.servers {
            Servers::One(keeper) => keeper.link().await,
            Servers::Cluster(cluster) => cluster.link(key.as_ref()).await,
        }
    }

    /// Whether calls have anywhere to go: for those who have other work to do before they make one. Parts of a cluster may be away, and
    /// are found out by the call.
    ///
    /// # Errors
    /// There is no server, and none has come back within the moment that a call waits.
    pub async fn check_reachable(&self) -> Result<(), RedisAway> {
        match &self.servers {
            Servers::One(keeper) => keeper.link().await.map(|_| ()),
            Servers::Cluster(_) => Ok(()),
        }
    }

    /// Sends one command about a key. `operation` names it in traces and metrics.
    pub async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        key: impl AsRef<[u8]>,
        command: &Cmd,
    ) -> Result<T, RedisAway> {
        match &self.servers {
            Servers::One(keeper) => keeper.link().await?.query(operation, command).await,
            Servers::Cluster(cluster) => {
                cluster.send(operation, key.as_ref(), Request::Command(command), false).await
            }
        }
    }

    /// Sends several commands about a key at once. Fails while the key moves from one server of a Cluster to another.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        key: impl AsRef<[u8]>,
        pipeline: &Pipeline,
    ) -> Result<T, RedisAway> {
        match &self.servers {
            Servers::One(keeper) => keeper.link().await?.pipeline(operation, pipeline).await,
            Servers::Cluster(cluster) => {
                cluster.send(operation, key.as_ref(), Request::Pipeline(pipeline), false).await
            }
        }
    }

    /// Runs a script.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Invocation<'_>,
    ) -> Result<T, RedisAway> {
        match &self.servers {
            Servers::One(keeper) => keeper.link().await?.invoke(operation, script).await,
            Servers::Cluster(cluster) => {
                cluster.send(operation, script.key(), Request::Script(script), false).await
            }
        }
    }

    /// Runs a script whose effect must not be undone by a failover: returns once every replica has it, and what the script saw. The
    /// same as `invoke` where there are no replicas.
    ///
    /// # Errors
    /// Also when a replica does not confirm in time. The script has been carried out then, and may yet be undone.
    pub async fn invoke_replicated<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Invocation<'_>,
    ) -> Result<T, RedisAway> {
        match &self.servers {
            Servers::One(keeper) if self.deployment.replicated => {
                keeper.write_replicated(operation, Request::Script(script), false).await
            }
            Servers::One(_) => self.invoke(operation, script).await,
            Servers::Cluster(cluster) => {
                cluster.send(operation, script.key(), Request::Script(script), true).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_without_a_server_fails_at_once_and_not_after_the_reconnects() {
        let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for url in [
            format!("redis://{closed_port}"),
            format!("redis+sentinel://{closed_port}/main"),
            format!("redis+cluster://{closed_port}"),
        ] {
            let shutdown = Shutdown::new();
            let redis = Redis::open(&url.parse().unwrap(), "test", &shutdown);
            let ping = redis::cmd("PING");
            let outcome =
                tokio::time::timeout(Duration::from_secs(10), redis.query::<String>("PING", "key", &ping));
            assert!(matches!(outcome.await, Ok(Err(RedisAway::NotConnected("test")))), "{url}");
            assert!(!redis.answered());
            shutdown.begin(Duration::ZERO).await;
            assert!(shutdown.finished(Duration::from_secs(10)).await);
        }
    }
}
