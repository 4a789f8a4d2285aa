//! Everything that a Redis holds, for tests that look for what must not be there.

use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use crate::controlled::Store;

/// One key, its value with every field, member and element.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Vec<u8>,
    pub parts: Vec<Vec<u8>>,
}

impl Entry {
    /// Whether the needle is in the key or anywhere in the value.
    pub fn contains(&self, needle: &[u8]) -> bool {
        std::iter::once(&self.key).chain(&self.parts).any(|text| contains(text, needle))
    }
}

/// Reads every key of a Redis. Panics on a kind of value that it cannot read, rather than skip it.
pub async fn dump(store: &Store) -> Vec<Entry> {
    let mut connection = store.connect().await;
    let entries = async {
        let keys: Vec<Vec<u8>> = connection.keys("*").await?;
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            let parts = value(&mut connection, &key).await?;
            entries.push(Entry { key, parts });
        }
        redis::RedisResult::Ok(entries)
    };
    entries.await.unwrap_or_else(|error| panic!("{} cannot be read: {error}", store.name()))
}

async fn value(connection: &mut MultiplexedConnection, key: &[u8]) -> redis::RedisResult<Vec<Vec<u8>>> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(connection).await?;
    match kind.as_str() {
        "string" => Ok(vec![connection.get(key).await?]),
        // Asked for as a flat list: names and values alternate.
        "hash" => connection.hgetall(key).await,
        "list" => connection.lrange(key, 0, -1).await,
        "set" => connection.smembers(key).await,
        "zset" => connection.zrange(key, 0, -1).await,
        // Also what was deleted from it, as long as the server holds the bytes.
        "stream" => {
            // Compressed, it would hide what it holds.
            let mut configure = redis::cmd("CONFIG");
            configure.arg("SET").arg("rdbcompression").arg("no");
            configure.query_async::<()>(connection).await?;
            let dump: Option<Vec<u8>> = redis::cmd("DUMP").arg(key).query_async(connection).await?;
            Ok(dump.into_iter().collect())
        }
        // It has expired meanwhile.
        "none" => Ok(Vec::new()),
        other => panic!("a value of kind {other}, which this cannot read"),
    }
}

/// Whether bytes contain others.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty() && haystack.windows(needle.len()).any(|window| window == needle)
}
