//! What a server says about itself and its replicas, and writes that are done only when the replicas have them.
//!
//! Replication is asynchronous: a master that dies takes with it what its replicas did not get. So a write that must not be undone
//! is followed by a `WAIT` for all replicas, on a connection that carries nothing else meanwhile, for `WAIT` blocks it.
//!
//! Nor may another master exist that does not have the write. A Cluster sees to that itself: on the smaller side of a cut it
//! stops to serve. Sentinels do not. Hence a majority of them is asked who could take the master's place, after the write and before the
//! `WAIT`: whoever is made master later has confirmed it, and whoever was made master before is missing among those who confirm.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, RedisError, Value};
use tokio::sync::Semaphore;

use super::keeper::Shared;
use super::link::{self, Link, Request};
use super::sentinel::Sentinels;
use super::{CALL_TIMEOUT, RedisAway};

/// How long replicas may take to confirm a write.
const WAIT_LIMIT: Duration = Duration::from_millis(250);
const _: () = assert!(WAIT_LIMIT.as_millis() < CALL_TIMEOUT.as_millis());
/// How long such a write may take as a whole.
const WRITE_LIMIT: Duration = Duration::from_millis(600);
/// Writes under way at a time, each on a connection of its own.
const CONNECTIONS: usize = 32;
/// A lag beyond this leaves an isolated master time to serve while another one is elected.
const LONGEST_LAG: u32 = 5;

/// All servers that one URL stands for.
pub(super) struct Deployment {
    pub role: &'static str,
    /// Whether another server may take a server's place.
    pub replicated: bool,
    warned: AtomicBool,
}

impl Deployment {
    pub fn new(role: &'static str, replicated: bool) -> Arc<Self> {
        Arc::new(Self { role, replicated, warned: AtomicBool::new(false) })
    }

    fn warn_once(&self, what: &str) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(role = self.role, "{what}");
        }
    }
}

/// One field of an answer to `INFO`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What names the time for which a server is master.
///
/// # Errors
/// It is not a master.
pub(super) fn term(info: &str) -> Result<&str, RedisError> {
    if field(info, "role") != Some("master") {
        return Err((ErrorKind::Client, "the server is not a master").into());
    }
    Ok(field(info, "master_replid").unwrap_or_default())
}

/// How many replicas the server insists on. Warns once of a deployment that does not.
pub(super) async fn replicas_required(
    connection: &mut MultiplexedConnection,
    info: &str,
    deployment: &Deployment,
) -> u32 {
    let mut ask = redis::cmd("CONFIG");
    ask.arg("GET").arg("min-replicas-*");
    let Ok(settings) = ask.query_async::<Vec<(String, u32)>>(connection).await else {
        deployment.warn_once("redis does not tell min-replicas-to-write, which has to be 1 or more");
        return 1;
    };
    let setting = |name| settings.iter().find(|(it, _)| it == name).map_or(0, |(_, value)| *value);
    let (required, lag) = (setting("min-replicas-to-write"), setting("min-replicas-max-lag"));
    let has_replicas = field(info, "connected_slaves").is_some_and(|replicas| replicas != "0");
    if required == 0 || lag == 0 {
        if has_replicas {
            deployment.warn_once(
                "a failover of this redis may undo what was acknowledged: set min-replicas-to-write to 1 or more",
            );
        }
        return 0;
    }
    if lag > LONGEST_LAG {
        deployment.warn_once("min-replicas-max-lag of this redis is long: 2 seconds are enough");
    }
    required
}

/// Checks that a server is still in its term as a master; else the link is retired.
pub(super) async fn check(link: &Link) -> Result<(), RedisAway> {
    let info: String = link.query("replication", redis::cmd("INFO").arg("replication")).await?;
    if term(&info).is_ok_and(|term| term == link.term()) {
        return Ok(());
    }
    link.retire();
    Err(RedisAway::NotConnected(link.role()))
}

/// The connections for writes that wait for replicas.
pub(super) struct Writers {
    idle: Mutex<Vec<Link>>,
    permits: Semaphore,
}

impl Default for Writers {
    fn default() -> Self {
        Self { idle: Mutex::default(), permits: Semaphore::new(CONNECTIONS) }
    }
}

impl Writers {
    /// Sends a request to the server of `current`, and returns when all replicas that it has, and as many as it insists on, have
    /// what it did.
    ///
    /// # Errors
    /// `NotReplicated`: it was done, but not all replicas say so.
    pub async fn write<T: FromRedisValue>(
        &self,
        shared: &Arc<Shared>,
        current: &Link,
        operation: &'static str,
        request: Request<'_>,
        asking: bool,
    ) -> Result<T, RedisAway> {
        let away = |_| RedisAway::TimedOut(current.role());
        let write = async {
            let _permit = self.permits.acquire().await;
            let link = match self.take(current.serial()) {
                Some(link) => link,
                None => link::connect(current.server(), shared, current.serial()).await?,
            };
            let outcome = if asking {
                link.send_asking(operation, request).await?
            } else {
                link.send(operation, request).await?
            };
            confirm(&link, shared.sentinels.as_deref()).await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
            Ok(outcome)
        };
        tokio::time::timeout(WRITE_LIMIT, write).await.map_err(away)?
    }

    /// An idle connection to the server that the link of this number leads to. Those to others are closed.
    fn take(&self, serial: u64) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| link.serial() == serial);
        idle.pop()
    }
}

/// Waits until all replicas have what this connection did, and what it saw: under Sentinels all that these might make the master,
/// whomever this server thinks it has. One of them may have been made that just now, and then it is missing here.
async fn confirm(link: &Link, sentinels: Option<&Sentinels>) -> Result<(), RedisAway> {
    let replicas = if let Some(sentinels) = sentinels {
        sentinels.candidates(link.server()).await.ok_or(RedisAway::NoMaster(link.role()))?
    } else {
        let (_, _, replicas): (String, i64, Vec<Value>) = link.query("ROLE", &redis::cmd("ROLE")).await?;
        replicas.len()
    };
    let expected = (replicas as u32).max(link.replicas_required());
    if expected == 0 {
        return Ok(());
    }
    let mut wait = redis::cmd("WAIT");
    wait.arg(expected).arg(WAIT_LIMIT.as_millis() as u64);
    let confirmed: u32 = link.query("WAIT", &wait).await?;
    if confirmed < expected {
        metrics::counter!("redis_unreplicated_writes_total", "role" => link.role()).increment(1);
        return Err(RedisAway::NotReplicated(link.role()));
    }
    Ok(())
}
