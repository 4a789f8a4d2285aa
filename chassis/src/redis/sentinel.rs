//! Asks Sentinels where the master is, and which replicas could take its place.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{ConnectionInfo, RedisResult, Value};

use super::link;
use super::url::at;

/// A Sentinel that has no answer by then is not listened to.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(300);

/// The Sentinels of one master, each with a connection while it answers.
pub(super) struct Sentinels {
    each: Vec<Sentinel>,
    master: String,
    server: ConnectionInfo,
}

struct Sentinel {
    place: ConnectionInfo,
    connection: Mutex<Option<MultiplexedConnection>>,
}

/// The master's address, what is known about it, and about each of its replicas.
type Answer = (Option<(String, u16)>, Vec<Value>, Vec<Vec<Value>>);

/// What one Sentinel says.
struct Opinion {
    /// The number of the last failover that it knows of.
    epoch: u64,
    /// How many Sentinels there are, it says.
    sentinels: usize,
    master: (String, u16),
    /// Another one is about to take the master's place, or has.
    failing_over: bool,
    /// Replicas that could be made the master, by this Sentinel or another one.
    candidates: usize,
}

impl Sentinels {
    pub fn new(sentinels: Vec<ConnectionInfo>, master: String, server: ConnectionInfo) -> Self {
        let each =
            sentinels.into_iter().map(|place| Sentinel { place, connection: Mutex::default() }).collect();
        Self { each, master, server }
    }

    /// How to reach the master. All Sentinels are asked, and the one that knows of the latest failover is believed: one that is cut
    /// off together with an old master would name that for ever.
    pub async fn master(&self) -> Option<ConnectionInfo> {
        let opinions = self.opinions().await;
        let latest = opinions.into_iter().max_by_key(|opinion| opinion.epoch)?;
        let (host, port) = latest.master;
        Some(at(&self.server, &host, port))
    }

    /// How many replicas could take the place of `server`: those that any Sentinel does not think down. `None` unless a majority
    /// answers, and all who do that `server` is the master and stays it: else it may have been replaced already.
    pub async fn candidates(&self, server: &ConnectionInfo) -> Option<usize> {
        let opinions = self.opinions().await;
        let there_are = opinions.iter().map(|opinion| opinion.sentinels).max()?.max(self.each.len());
        let stays_master = |opinion: &Opinion| {
            let (host, port) = &opinion.master;
            !opinion.failing_over && at(&self.server, host, *port).addr() == server.addr()
        };
        let agreed = opinions.len() * 2 > there_are && opinions.iter().all(stays_master);
        let most = opinions.iter().map(|opinion| opinion.candidates).max();
        most.filter(|_| agreed)
    }

    async fn opinions(&self) -> Vec<Opinion> {
        let asked = self.each.iter().map(|sentinel| sentinel.ask(&self.master));
        join_all(asked).await.into_iter().flatten().collect()
    }
}

impl Sentinel {
    async fn ask(&self, master: &str) -> Option<Opinion> {
        if let Ok(Ok(opinion)) = tokio::time::timeout(ANSWER_TIMEOUT, self.try_ask(master)).await {
            return opinion;
        }
        self.keep(None);
        None
    }

    async fn try_ask(&self, master: &str) -> RedisResult<Option<Opinion>> {
        let known = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connection = if let Some(connection) = known {
            connection
        } else {
            let connection = link::dial(&self.place).await?;
            self.keep(Some(connection.clone()));
            connection
        };
        let mut ask = redis::pipe();
        // It names the new master as soon as that is one, while the second answer waits until all replicas follow.
        ask.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        ask.cmd("SENTINEL").arg("MASTER").arg(master);
        ask.cmd("SENTINEL").arg("REPLICAS").arg(master);
        let (address, about, replicas): Answer = ask.query_async(&mut connection).await?;
        let number = |name| field(&about, name).and_then(|value| value.parse::<u64>().ok());
        Ok(address.map(|master| Opinion {
            epoch: number("config-epoch").unwrap_or_default(),
            sentinels: number("num-other-sentinels").map_or(1, |others| others as usize + 1),
            master,
            failing_over: has_flag(&about, &["o_down", "failover_in_progress"])
                || replicas.iter().any(|replica| field(replica, "role-reported") == Some("master")),
            // One that is "disconnected" counts: a Sentinel that promotes a replica cuts all connections of that one first.
            candidates: replicas.iter().filter(|replica| !has_flag(replica, &["s_down"])).count(),
        }))
    }

    fn keep(&self, connection: Option<MultiplexedConnection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }
}

/// Whether what is known about a server includes one of these flags.
fn has_flag(about: &[Value], flags: &[&str]) -> bool {
    field(about, "flags").is_some_and(|set| set.split(',').any(|flag| flags.contains(&flag)))
}

/// A field of an answer in which names and values alternate.
fn field<'a>(answer: &'a [Value], name: &str) -> Option<&'a str> {
    answer.chunks(2).find_map(|field| match field {
        [Value::BulkString(it), Value::BulkString(value)] if it == name.as_bytes() => {
            std::str::from_utf8(value).ok()
        }
        _ => None,
    })
}
