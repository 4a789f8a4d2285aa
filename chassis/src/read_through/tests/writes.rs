//! Writers that overlap, stall and die.

use super::*;

#[tokio::test]
async fn nobody_answers_from_the_cache_while_a_write_is_under_way() {
    let shutdown = Shutdown::new();
    let namespace = namespace();
    let [writer, reader]: [Replica; 2] = std::array::from_fn(|_| replica(&shutdown, &namespace));
    let database = Database::at(1);
    assert_eq!(read(&reader, &database, AT_ONCE).await, 1);
    let announced = writer.announce("key").await.unwrap();
    assert_eq!(read(&reader, &database, AT_ONCE).await, 1);
    let new = database.commit();
    assert_eq!(read(&reader, &database, AT_ONCE).await, 2);
    announced.finish(Some(&new)).await.unwrap();
    let loads = database.loads();
    assert_eq!(read(&reader, &database, AT_ONCE).await, 2);
    assert_eq!(database.loads(), loads);
}

#[tokio::test]
async fn an_abandoned_write_leaves_nothing_behind() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    replica.announce("key").await.unwrap().abandon().await;
    assert_eq!(raw(&replica).await, None);
    let (first, second) = (replica.announce("key").await.unwrap(), replica.announce("key").await.unwrap());
    first.abandon().await;
    assert!(raw(&replica).await.is_some(), "it takes its own marker back and nobody else's");
    second.abandon().await;
    assert_eq!(raw(&replica).await, None);
}

#[tokio::test]
async fn an_erased_value_leaves_nothing_and_no_reader_in_flight_brings_it_back() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    for somebody_elses_marker in [false, true] {
        let announced = replica.announce("key").await.unwrap();
        let other = if somebody_elses_marker { Some(replica.announce("key").await.unwrap()) } else { None };
        announced.erase().await.unwrap();
        assert_eq!(raw(&replica).await, None);
        if let Some(other) = other {
            other.finish(Some(&Version(1))).await.unwrap();
            assert_eq!(raw(&replica).await, None, "what was written before is not put on top");
        }
    }
}

#[tokio::test]
async fn the_older_of_two_overlapping_writes_cannot_win_by_finishing_last() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    for first_announces_last in [false, true] {
        for first_finishes_last in [false, true] {
            let database = Database::at(1);
            let (one, other) =
                (replica.announce("key").await.unwrap(), replica.announce("key").await.unwrap());
            let (first, second) = if first_announces_last { (other, one) } else { (one, other) };
            let (older, newer) = (database.commit(), database.commit());
            if first_finishes_last {
                second.finish(Some(&newer)).await.unwrap();
                first.finish(Some(&older)).await.unwrap();
            } else {
                first.finish(Some(&older)).await.unwrap();
                second.finish(Some(&newer)).await.unwrap();
            }
            assert_eq!(read(&replica, &database, AT_ONCE).await, 3);
            evict(&replica).await;
        }
    }
}

/// Fills an old value under the eyes of a writer whose marker is evicted, then finishes the write.
async fn fill_between_eviction_and_commit(replica: &Replica) -> u64 {
    let database = Database::at(1);
    let announced = replica.announce("key").await.unwrap();
    evict(replica).await;
    assert_eq!(read(replica, &database, AT_ONCE).await, 1);
    announced.finish(Some(&database.commit())).await.unwrap();
    read(replica, &database, AT_ONCE).await
}

#[tokio::test]
async fn an_evicted_marker_lets_no_old_value_stay() {
    let shutdown = Shutdown::new();
    assert_eq!(fill_between_eviction_and_commit(&replica(&shutdown, &namespace())).await, 2);
}

#[tokio::test]
async fn without_its_delete_rule_a_finish_would_let_an_old_value_stay() {
    let shutdown = Shutdown::new();
    let replica = simulation::without_the_delete_rule(&shutdown, &namespace());
    assert_eq!(fill_between_eviction_and_commit(&replica).await, 1);
}

/// A write that commits and is never finished, as its replica died. Reads until its marker, if any, has
/// expired.
async fn crash_after_commit(replica: &Replica, announce: bool) -> Vec<u64> {
    let database = Database::at(1);
    assert_eq!(read(replica, &database, AT_ONCE).await, 1);
    if announce {
        drop(replica.announce("key").await.unwrap());
    }
    database.commit();
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(read(replica, &database, AT_ONCE).await);
        pause(Duration::from_millis(20)).await;
    }
    seen
}

#[tokio::test]
async fn a_write_whose_replica_dies_after_the_commit_comes_to_light() {
    let shutdown = Shutdown::new();
    let mut replica = replica(&shutdown, &namespace());
    Arc::get_mut(&mut replica.cache).unwrap().marker_ttl = Duration::from_millis(100);
    assert_eq!(crash_after_commit(&replica, true).await, vec![2; 10]);
    assert_eq!(
        raw(&replica).await.unwrap()[0],
        b'V',
        "once the marker has expired the value is cached again"
    );
}

#[tokio::test]
async fn without_its_marker_such_a_write_would_stay_hidden() {
    let shutdown = Shutdown::new();
    assert_eq!(crash_after_commit(&replica(&shutdown, &namespace()), false).await, vec![1; 10]);
}
