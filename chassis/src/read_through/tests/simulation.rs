//! Random interleavings of everything that can happen, and the one rule that must hold: no read is older than
//! what was acknowledged before it began. Each guard is also removed once, to see that the simulation would
//! notice.

use super::*;
use crate::redis::Script;

/// Puts a value without a look at the lease.
pub(super) fn without_the_lease(shutdown: &Shutdown, namespace: &str) -> Replica {
    with_scripts(shutdown, namespace, |cache| {
        cache.scripts.fill =
            Script::new("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return ARGV[1] and 1");
    })
}

/// Finishes without a look at the marker.
pub(super) fn without_the_marker(shutdown: &Shutdown, namespace: &str) -> Replica {
    with_scripts(shutdown, namespace, |cache| {
        cache.scripts.finish =
            Script::new("redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return ARGV[1] and 1");
    })
}

/// Finishes by leaving what it does not know alone.
pub(super) fn without_the_delete_rule(shutdown: &Shutdown, namespace: &str) -> Replica {
    with_scripts(shutdown, namespace, |cache| {
        cache.scripts.finish = Script::new(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then
               redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
             end",
        );
    })
}

fn with_scripts(shutdown: &Shutdown, namespace: &str, change: impl FnOnce(&mut Cache)) -> Replica {
    let mut replica = replica(shutdown, namespace);
    change(Arc::get_mut(&mut replica.cache).unwrap());
    replica
}

pub(super) const REPLICAS: usize = 3;
const READERS: usize = 30;
const WRITERS: usize = 3;

/// What one simulation saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    reads: AtomicUsize,
    pub(super) writes: AtomicUsize,
    pub(super) stale: AtomicUsize,
}

/// A short time, often none at all.
fn moment() -> Duration {
    Duration::from_millis(fastrand::u64(0..6).saturating_sub(2))
}

/// Lets readers, writers and evictions loose on one key until `reads` were done.
pub(super) async fn simulate(replicas: [Replica; REPLICAS], reads: usize) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let database = Database::default();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut actors = tokio::task::JoinSet::new();
    for reader in 0..READERS {
        let (replica, database, tally) =
            (replicas[reader % REPLICAS].clone(), database.clone(), tally.clone());
        let acknowledged = acknowledged.clone();
        actors.spawn(async move {
            while tally.reads.fetch_add(1, Ordering::SeqCst) < reads {
                let at_least = acknowledged.load(Ordering::SeqCst);
                if read(&replica, &database, [moment(), moment()]).await < at_least {
                    tally.stale.fetch_add(1, Ordering::SeqCst);
                }
                pause(moment()).await;
            }
        });
    }
    for writer in 0..WRITERS {
        let (replica, database, tally) =
            (replicas[writer % REPLICAS].clone(), database.clone(), tally.clone());
        let acknowledged = acknowledged.clone();
        actors.spawn(async move {
            while tally.reads.load(Ordering::SeqCst) < reads {
                let Ok(announced) = replica.announce("key").await else {
                    pause(moment()).await;
                    continue;
                };
                pause(moment()).await;
                if fastrand::u8(..10) == 0 {
                    announced.abandon().await;
                    continue;
                }
                let new = database.commit();
                pause(moment()).await;
                if announced.finish(Some(&new)).await.is_ok() {
                    acknowledged.fetch_max(new.0, Ordering::SeqCst);
                    tally.writes.fetch_add(1, Ordering::SeqCst);
                }
                pause(moment() * 3).await;
            }
        });
    }
    let (evicted, evictions) = (replicas[0].clone(), tally.clone());
    actors.spawn(async move {
        while evictions.reads.load(Ordering::SeqCst) < reads {
            evict(&evicted).await;
            pause(moment() * 2).await;
        }
    });
    while let Some(ended) = actors.join_next().await {
        ended.unwrap();
    }
    tally
}

async fn stale_reads(make: fn(&Shutdown, &str) -> Replica, reads: usize) -> usize {
    let shutdown = Shutdown::new();
    let namespace = namespace();
    let tally = simulate(std::array::from_fn(|_| make(&shutdown, &namespace)), reads).await;
    println!("{tally:?}");
    assert!(tally.writes.load(Ordering::SeqCst) > 0);
    tally.stale.load(Ordering::SeqCst)
}

/// Simulates until a stale read is seen: a broken protocol must be found out soon.
async fn is_found_out(make: fn(&Shutdown, &str) -> Replica) -> bool {
    for _ in 0..10 {
        if stale_reads(make, 5_000).await > 0 {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn no_read_is_older_than_a_write_acknowledged_before_it() {
    assert_eq!(stale_reads(replica, 20_000).await, 0);
}

/// A master there has a replica and refuses to go on without it, so that reads are scripts.
#[tokio::test]
async fn nor_is_it_on_a_cluster() {
    let on_a_cluster = |shutdown: &Shutdown, namespace: &str| {
        replica_on(&url_in("TEST_CLUSTER_REDIS_URL"), shutdown, namespace)
    };
    assert_eq!(stale_reads(on_a_cluster, 10_000).await, 0);
}

#[tokio::test]
async fn filling_without_a_lease_is_found_out() {
    assert!(is_found_out(without_the_lease).await);
}

#[tokio::test]
async fn finishing_without_a_marker_is_found_out() {
    assert!(is_found_out(without_the_marker).await);
}

#[tokio::test]
async fn finishing_without_the_delete_rule_is_found_out() {
    assert!(is_found_out(without_the_delete_rule).await);
}
