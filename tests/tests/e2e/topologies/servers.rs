//! What the tests do to single servers of a Cluster or under Sentinels.

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tests::controlled::Store;
use tests::wait;

/// Holds back what a master sends to its replicas: what follows stays within the master, and dies with it.
pub async fn cut_replication_off(master: &Store, replicas: &[&Store]) {
    // More than the buffers of a connection hold.
    const FILLER_BYTES: usize = 64 << 20;
    tell(master, "", &["CONFIG SET appendfsync no"]).await;
    let mut connection = connect(&master.url()).await.expect("a connection");
    let mut set = async |key: &str, length: usize| {
        let mut set = redis::cmd("SET");
        set.arg(key).arg(vec![0_u8; length]).query_async::<()>(&mut connection).await
    };
    // In a Cluster any key will do whose slot is this master's.
    let candidates = (0..1000).map(|number| format!("filler{number}"));
    for key in candidates {
        if set(&key, 1).await.is_ok() {
            for replica in replicas {
                replica.pause().await;
            }
            set(&key, FILLER_BYTES).await.expect("the master takes writes");
            return;
        }
    }
    panic!("{} takes no key", master.name());
}

/// A connection without a deadline of its own.
pub async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Waits until one of them is a master.
pub async fn wait_until_replaced(replicas: &[&Store]) {
    let replaced = async || {
        let mut masters = 0;
        for replica in replicas {
            // One that changes sides closes its connections.
            let info = async {
                let mut connection = connect(&replica.url()).await?;
                redis::cmd("INFO").arg("replication").query_async::<String>(&mut connection).await
            };
            masters += usize::from(info.await.is_ok_and(|info| info.contains("role:master")));
        }
        masters > 0
    };
    wait::until_true("a replica is the master", replaced).await;
}

/// How many keys a server holds.
pub async fn keys(store: &Store) -> usize {
    redis::cmd("DBSIZE").query_async(&mut store.connect().await).await.expect("the size of a database")
}

/// Sends commands as a user; empty: the default one.
pub async fn tell(store: &Store, user: &str, commands: &[&str]) {
    let url = store.url().replace("redis://", &format!("redis://{user}"));
    let mut connection = connect(&url).await.expect("a connection");
    for command in commands {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            command.arg(word);
        });
        let told: redis::RedisResult<redis::Value> = command.query_async(&mut connection).await;
        told.unwrap_or_else(|error| panic!("{}: {error}", store.name()));
    }
}
