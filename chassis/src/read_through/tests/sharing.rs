//! Who loads, and how often.

use super::*;
use crate::trace::TraceContext;

const SLOW: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(20)];

#[tokio::test]
async fn a_thousand_cold_reads_on_three_replicas_load_at_most_once_each() {
    let shutdown = Shutdown::new();
    for round in 0..10 {
        let namespace = namespace();
        let replicas: [Replica; 3] = std::array::from_fn(|_| replica(&shutdown, &namespace));
        let databases: [Database; 3] = std::array::from_fn(|_| Database::at(1));
        let mut reads = tokio::task::JoinSet::new();
        for number in 0..1_000 {
            let (replica, database) = (replicas[number % 3].clone(), databases[number % 3].clone());
            reads.spawn(async move {
                // Arrivals are spread over longer than a load takes.
                pause(Duration::from_millis(fastrand::u64(0..60))).await;
                let load = SLOW.map(|pause| pause.mul_f64(2.0 * fastrand::f64()));
                read(&replica, &database, load).await
            });
        }
        while let Some(version) = reads.join_next().await {
            assert_eq!(version.unwrap(), 1);
        }
        let loads = databases.each_ref().map(Database::loads);
        assert!(loads.iter().all(|loads| *loads <= 1), "round {round}: {loads:?}");
    }
}

#[tokio::test]
async fn without_a_cache_each_key_is_loaded_by_one_at_a_time() {
    let shutdown = Shutdown::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let replica = replica_on(&format!("redis://{closed}").parse().unwrap(), &shutdown, "test");
    let database = Database::at(1);
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (replica, database) = (replica.clone(), database.clone());
        reads.spawn(async move { read(&replica, &database, SLOW).await });
    }
    assert_eq!(reads.join_all().await, vec![1; 1_000]);
    assert!(database.loads() <= 2, "{}", database.loads());
}

#[tokio::test]
async fn a_request_joins_no_load_that_began_before_it() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let database = Database::at(1);
    // A writer that died before its commit: nobody may fill, so every flight loads.
    let _marker = replica.announce("key").await.unwrap();
    let first = shutdown.spawn({
        let (replica, database) = (replica.clone(), database.clone());
        async move { read(&replica, &database, [Duration::ZERO, Duration::from_millis(100)]).await }
    });
    while database.loads() == 0 {
        tokio::task::yield_now().await;
    }
    pause(Duration::from_millis(20)).await;
    database.commit();
    assert_eq!(read(&replica, &database, AT_ONCE).await, 2);
    assert_eq!(first.await.unwrap(), 1);
}

#[tokio::test]
async fn a_load_goes_on_when_its_first_caller_goes_away() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let database = Database::at(1);
    let caller = read(&replica, &database, SLOW);
    assert!(tokio::time::timeout(Duration::from_millis(10), caller).await.is_err());
    assert_eq!(read(&replica, &database, SLOW).await, 1);
    assert_eq!(database.loads(), 1);
}

#[tokio::test]
async fn a_failed_load_fails_for_all_who_wait_and_for_nobody_after_them() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let mut reads = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let replica = replica.clone();
        reads.spawn(async move {
            let failing = || async {
                pause(SLOW[0]).await;
                Err::<Option<Version>, Arc<str>>("no database".into())
            };
            replica.read("key", failing).await
        });
    }
    for outcome in reads.join_all().await {
        assert_eq!(outcome.unwrap_err().as_ref(), "no database");
    }
    assert_eq!(raw(&replica).await, None, "a failed load gives its lease back");
    assert_eq!(read(&replica, &Database::at(1), AT_ONCE).await, 1);
}

#[tokio::test]
async fn a_load_that_panics_hurts_its_own_request_alone() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let panicking = shutdown.spawn({
        let replica = replica.clone();
        async move { replica.read("key", || async { panic!("on purpose") }).await }
    });
    assert!(panicking.await.unwrap_err().is_panic());
    assert_eq!(read(&replica, &Database::at(1), AT_ONCE).await, 1);
}

#[tokio::test]
async fn a_reader_that_died_with_its_lease_delays_others_by_milliseconds() {
    let shutdown = Shutdown::new();
    let namespace = namespace();
    let [dead, alive]: [Replica; 2] = std::array::from_fn(|_| replica(&shutdown, &namespace));
    let link = dead.cache.link("key").await.unwrap();
    assert!(matches!(dead.cache.claim::<Version>(&link, "key").await, Claim::Leased(_)));
    let begun = tokio::time::Instant::now();
    assert_eq!(read(&alive, &Database::at(1), AT_ONCE).await, 1);
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_load_belongs_to_the_trace_of_the_request_that_brought_it() {
    let shutdown = Shutdown::new();
    let replica = replica(&shutdown, &namespace());
    let (seen, mut traces) = tokio::sync::mpsc::unbounded_channel();
    let load = move || {
        seen.send(TraceContext::current()).unwrap();
        async { Ok(None) }
    };
    let context = TraceContext::root(false);
    context.scope(replica.read("key", load)).await.unwrap();
    assert_eq!(traces.recv().await, Some(Some(context)));
}
