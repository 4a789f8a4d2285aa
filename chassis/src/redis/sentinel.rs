//! Asks Sentinels where the master is.

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
    connection: Option<MultiplexedConnection>,
}

/// What one Sentinel says: where the master is, and since which failover.
struct Opinion {
    epoch: u64,
    host: String,
    port: u16,
}

impl Sentinels {
    pub fn new(sentinels: Vec<ConnectionInfo>, master: String, server: ConnectionInfo) -> Self {
        let each = sentinels.into_iter().map(|place| Sentinel { place, connection: None }).collect();
        Self { each, master, server }
    }

    /// How to reach the master. All Sentinels are asked, and the one that knows of the latest failover is believed: one that is cut
    /// off together with an old master would name that for ever.
    pub async fn master(&mut self) -> Option<ConnectionInfo> {
        let name = &self.master;
        let opinions = join_all(self.each.iter_mut().map(|sentinel| sentinel.ask(name))).await;
        let latest = opinions.into_iter().flatten().max_by_key(|opinion| opinion.epoch)?;
        Some(at(&self.server, &latest.host, latest.port))
    }
}

impl Sentinel {
    async fn ask(&mut self, master: &str) -> Option<Opinion> {
        if let Ok(Ok(opinion)) = tokio::time::timeout(ANSWER_TIMEOUT, self.try_ask(master)).await {
            return opinion;
        }
        self.connection = None;
        None
    }

    async fn try_ask(&mut self, master: &str) -> RedisResult<Option<Opinion>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(link::dial(&self.place).await?),
        };
        let mut ask = redis::pipe();
        // It names the new master as soon as that is one, while the other answer waits until all replicas follow.
        ask.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        ask.cmd("SENTINEL").arg("MASTER").arg(master);
        let (address, about): (Option<(String, u16)>, Vec<Value>) = ask.query_async(connection).await?;
        let epoch = about.chunks(2).find_map(|field| match field {
            [Value::BulkString(name), Value::BulkString(value)] if name == b"config-epoch" => {
                std::str::from_utf8(value).ok()?.parse().ok()
            }
            _ => None,
        });
        Ok(address.map(|(host, port)| Opinion { epoch: epoch.unwrap_or_default(), host, port }))
    }
}
