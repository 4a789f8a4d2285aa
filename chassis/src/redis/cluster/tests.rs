//! A slot that moves from one master of a real Cluster to another, under calls about its keys.

use redis::{Cmd, cmd};

use super::*;
use crate::redis::{Redis, Script};

#[expect(clippy::disallowed_methods, reason = "tests are told their servers in the environment")]
fn open(shutdown: &Shutdown) -> Redis {
    let url = std::env::var("TEST_CLUSTER_REDIS_URL");
    let url = url.expect("TEST_CLUSTER_REDIS_URL has to name a Redis Cluster for tests");
    Redis::open(&url.parse().unwrap(), "test", shutdown)
}

/// A master, spoken to past the map.
struct Master {
    connection: redis::aio::MultiplexedConnection,
    id: String,
}

impl Master {
    async fn at(link: &Link) -> Self {
        let mut connection = link::dial(link.server()).await.unwrap();
        let id = cmd("CLUSTER").arg("MYID").query_async(&mut connection).await.unwrap();
        Self { connection, id }
    }

    async fn set_slot(&mut self, slot: u16, what: &[&str]) {
        let mut set = cmd("CLUSTER");
        set.arg("SETSLOT").arg(slot).arg(what).query_async::<()>(&mut self.connection).await.unwrap();
    }
}

fn set(key: &str) -> Cmd {
    let mut set = cmd("SET");
    set.arg(key).arg("value");
    set
}

#[tokio::test]
async fn calls_follow_a_slot_to_another_master() {
    let shutdown = Shutdown::new();
    let redis = open(&shutdown);
    let tag = format!("{{{:016x}}}", fastrand::u64(..));
    let slot = slots::of_key(tag.as_bytes());
    let key = |name: &str| format!("{tag}{name}");
    redis.query::<()>("SET", &tag, &set(&tag)).await.unwrap();
    let from = redis.link_for(&tag).await.unwrap();
    let mut to = from.clone();
    while to.server().addr() == from.server().addr() {
        to = redis.link_for(format!("{:x}", fastrand::u64(..))).await.unwrap();
    }
    let (mut old, mut new) = (Master::at(&from).await, Master::at(&to).await);

    // While the slot is on its way, keys that have left or are new are asked for at the other master.
    new.set_slot(slot, &["IMPORTING", &old.id]).await;
    old.set_slot(slot, &["MIGRATING", &new.id]).await;
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    redis.query::<()>("SET", key("asked"), &set(&key("asked"))).await.unwrap();
    let mut call = script.key(key("script"));
    assert_eq!(redis.invoke::<String>("script", call.arg("asked")).await.unwrap(), "asked");
    assert_eq!(redis.invoke_replicated::<String>("script", &call).await.unwrap(), "asked");
    let mut count = redis::pipe();
    count.cmd("INCR").arg(key("count")).cmd("INCR").arg(key("count"));
    assert!(redis.pipeline::<(u32, u32)>("count", key("count"), &count).await.is_err(), "it cannot ask");
    // Where it has been all the time.
    assert_eq!(redis.query::<String>("GET", &tag, cmd("GET").arg(&tag)).await.unwrap(), "value");

    // Once it has moved every call is sent on, and done once.
    let mut migrate = cmd("MIGRATE");
    let ConnectionAddr::Tcp(host, port) = to.server().addr() else { panic!("no port") };
    migrate.arg(host).arg(*port).arg(&tag).arg(0).arg(1000);
    migrate.query_async::<()>(&mut old.connection).await.unwrap();
    let owner = new.id.clone();
    for master in [&mut new, &mut old] {
        master.set_slot(slot, &["NODE", &owner]).await;
    }
    assert_eq!(redis.pipeline::<(u32, u32)>("count", key("count"), &count).await.unwrap(), (1, 2));
    assert_eq!(redis.query::<String>("GET", &tag, cmd("GET").arg(&tag)).await.unwrap(), "value");
    let found: String = redis.query("GET", key("asked"), cmd("GET").arg(key("asked"))).await.unwrap();
    assert_eq!(found, "value");
    // The map catches up: the link leads there by itself.
    let begun = Instant::now();
    while redis.link_for(&tag).await.unwrap().server().addr() != to.server().addr() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the map is not read again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
