//! The use cases on the real Postgres and the real Redis, by several replicas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chassis::postgres::Postgres;
use chassis::shutdown::Shutdown;
use sqlx::postgres::PgConnection;

use super::*;
use crate::fields::Bio;
use crate::test_servers::{
    cache_url, fresh_database, namespace, no_cache_url, no_database, replica, user_id, username,
};

/// A database, and replicas that share a cache.
struct House {
    postgres: Postgres,
    namespace: String,
    shutdown: Shutdown,
}

impl House {
    async fn build() -> Self {
        Self { postgres: fresh_database().await, namespace: namespace(), shutdown: Shutdown::new() }
    }

    fn replica(&self) -> ProfileService {
        replica(&self.postgres, &cache_url(), &self.namespace, &self.shutdown)
    }

    fn replica_without_a_database(&self) -> ProfileService {
        replica(&no_database(), &cache_url(), &self.namespace, &self.shutdown)
    }

    fn replica_without_a_cache(&self) -> ProfileService {
        replica(&self.postgres, &no_cache_url(), &self.namespace, &self.shutdown)
    }

    async fn execute(&self, sql: &'static str) {
        let statement = async |connection: &mut PgConnection| sqlx::raw_sql(sql).execute(connection).await;
        self.postgres.run("test", statement).await.unwrap();
    }
}

fn bio(text: &str) -> ProfileChange {
    ProfileChange { bio: Some(Bio::parse(text.into()).unwrap()), ..ProfileChange::default() }
}

fn is_not_found<T>(outcome: &Result<T, ProfileError>) -> bool {
    matches!(outcome, Err(ProfileError::NotFound))
}

#[tokio::test]
async fn a_profile_is_found_by_id_and_by_name_in_any_case() {
    let house = House::build().await;
    let service = house.replica();
    let id = user_id();
    let made = service.create(id, &username("J\u{fc}rgen")).await.unwrap();
    assert_eq!(service.profile(id).await.unwrap(), made);
    for name in ["J\u{fc}rgen", "j\u{fc}rgen", "J\u{dc}RGEN"] {
        assert_eq!(service.profile_by_username(&username(name)).await.unwrap(), made);
    }
    assert!(is_not_found(&service.profile(user_id()).await));
    assert!(is_not_found(&service.profile_by_username(&username("nobody")).await));
}

#[tokio::test]
async fn a_new_profile_replaces_the_memory_of_its_absence_on_every_replica() {
    let house = House::build().await;
    let (writer, reader) = (house.replica(), house.replica());
    let (id, name) = (user_id(), username("alice"));
    assert!(is_not_found(&reader.profile(id).await));
    assert!(is_not_found(&reader.profile_by_username(&name).await));
    let made = writer.create(id, &name).await.unwrap();
    assert_eq!(reader.profile(id).await.unwrap(), made);
    assert_eq!(reader.profile_by_username(&name).await.unwrap(), made);
}

#[tokio::test]
async fn creating_again_answers_with_what_there_is() {
    let house = House::build().await;
    let service = house.replica();
    let (id, name) = (user_id(), username("alice"));
    service.create(id, &name).await.unwrap();
    let changed = service.update(id, None, &bio("Hello")).await.unwrap();
    assert_eq!(service.create(id, &name).await.unwrap(), changed);
    assert_eq!(service.profile(id).await.unwrap(), changed);
}

#[tokio::test]
async fn a_taken_username_stays_with_its_owner() {
    let house = House::build().await;
    let service = house.replica();
    let owner = service.create(user_id(), &username("alice")).await.unwrap();
    let thief = user_id();
    let outcome = service.create(thief, &username("Alice")).await;
    assert!(matches!(outcome, Err(ProfileError::UsernameTaken)), "{outcome:?}");
    assert_eq!(service.profile_by_username(&username("alice")).await.unwrap(), owner);
    assert!(is_not_found(&service.profile(thief).await));
}

#[tokio::test]
async fn cached_reads_issue_no_sql() {
    let house = House::build().await;
    let (id, name) = (user_id(), username("alice"));
    let made = house.replica().create(id, &name).await.unwrap();
    let cut_off = house.replica_without_a_database();
    assert_eq!(cut_off.profile(id).await.unwrap(), made);
    assert_eq!(cut_off.profile_by_username(&name).await.unwrap(), made);
}

#[tokio::test]
async fn without_the_database_uncached_reads_fail_in_time_and_cached_ones_survive_a_try_to_change_them() {
    let house = House::build().await;
    let id = user_id();
    let made = house.replica().create(id, &username("alice")).await.unwrap();
    let cut_off = house.replica_without_a_database();
    let begun = Instant::now();
    let uncached = cut_off.profile(user_id()).await;
    assert!(matches!(uncached, Err(ProfileError::DatabaseAway(_))), "{uncached:?}");
    let changed = cut_off.update(id, None, &bio("Hello")).await;
    assert!(matches!(changed, Err(ProfileError::DatabaseAway(_))), "{changed:?}");
    let seen = cut_off.record_seen(id).await;
    assert!(matches!(seen, Err(ProfileError::DatabaseAway(_))), "{seen:?}");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(cut_off.profile(id).await.unwrap(), made);
}

#[tokio::test]
async fn a_change_is_seen_by_every_replica_at_once() {
    let house = House::build().await;
    let (one, other) = (house.replica(), house.replica());
    let id = user_id();
    one.create(id, &username("alice")).await.unwrap();
    for round in 0_i64..20 {
        let changed = one.update(id, Some(1 + round), &bio(&round.to_string())).await.unwrap();
        assert_eq!(other.profile(id).await.unwrap(), changed);
    }
}

#[tokio::test]
async fn concurrent_readers_on_all_replicas_never_see_less_than_was_acknowledged() {
    let house = House::build().await;
    let id = user_id();
    let name = username("alice");
    house.replica().create(id, &name).await.unwrap();
    let acknowledged = Arc::new(AtomicI64::new(1));
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let service = house.replica();
        let (acknowledged, done, name) = (acknowledged.clone(), done.clone(), name.clone());
        readers.spawn(async move {
            let mut reads = 0;
            while !done.load(Ordering::SeqCst) {
                let at_least = acknowledged.load(Ordering::SeqCst);
                let profile = if number % 3 == 0 {
                    service.profile_by_username(&name).await
                } else {
                    service.profile(id).await
                };
                assert!(profile.unwrap().version >= at_least);
                reads += 1;
            }
            reads
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let service = house.replica();
        let acknowledged = acknowledged.clone();
        writers.spawn(async move {
            for round in 0..60 {
                let changed = service.update(id, None, &bio(&round.to_string())).await.unwrap();
                acknowledged.fetch_max(changed.version, Ordering::SeqCst);
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let reads: usize = readers.join_all().await.iter().sum();
    assert_eq!(house.replica().profile(id).await.unwrap().version, 181);
    assert!(reads > 180, "{reads}");
}

#[tokio::test]
async fn a_change_from_an_outdated_version_is_refused_and_costs_the_cache_nothing() {
    let house = House::build().await;
    let service = house.replica();
    let id = user_id();
    let made = service.create(id, &username("alice")).await.unwrap();
    let outcome = service.update(id, Some(7), &bio("Hello")).await;
    assert!(matches!(outcome, Err(ProfileError::VersionMismatch)), "{outcome:?}");
    assert_eq!(house.replica_without_a_database().profile(id).await.unwrap(), made);
    assert!(is_not_found(&service.update(user_id(), Some(1), &bio("Hello")).await));
}

#[tokio::test]
async fn without_the_cache_reads_go_to_the_database_and_changes_are_refused_unmade() {
    let house = House::build().await;
    let (cut_off, other) = (house.replica_without_a_cache(), house.replica());
    let (id, name) = (user_id(), username("alice"));
    let made = other.create(id, &name).await.unwrap();
    assert_eq!(cut_off.profile(id).await.unwrap(), made);
    assert_eq!(cut_off.profile_by_username(&name).await.unwrap(), made);
    for outcome in [cut_off.update(id, None, &bio("Hello")).await.map(drop), cut_off.record_seen(id).await] {
        assert!(matches!(outcome, Err(ProfileError::CacheAway(_))), "{outcome:?}");
    }
    assert_eq!(cut_off.profile(id).await.unwrap(), made);
}

#[tokio::test]
async fn a_user_who_registers_without_the_cache_is_found_by_replicas_that_remember_nothing_or_create_again() {
    let house = House::build().await;
    let (cut_off, other) = (house.replica_without_a_cache(), house.replica());
    let (id, name) = (user_id(), username("alice"));
    assert!(is_not_found(&other.profile(id).await));
    let made = cut_off.create(id, &name).await.unwrap();
    assert_eq!(cut_off.profile(id).await.unwrap(), made);
    assert_eq!(other.profile_by_username(&name).await.unwrap(), made);
    // What the gateway does with a profile that is missing while its user exists.
    assert!(is_not_found(&other.profile(id).await));
    assert_eq!(other.create(id, &name).await.unwrap(), made);
    assert_eq!(other.profile(id).await.unwrap(), made);
}

#[tokio::test]
async fn being_seen_is_noted_once_a_minute_and_shown_by_every_replica() {
    let house = House::build().await;
    let (one, other) = (house.replica(), house.replica());
    let id = user_id();
    let made = one.create(id, &username("alice")).await.unwrap();
    assert_eq!(other.profile(id).await.unwrap().last_seen, None);
    one.record_seen(id).await.unwrap();
    let first = other.profile(id).await.unwrap();
    assert!(first.last_seen.is_some());
    assert_eq!(first.version, made.version);
    other.record_seen(id).await.unwrap();
    assert_eq!(one.profile(id).await.unwrap(), first);
    house.execute("UPDATE profiles SET last_seen = last_seen - interval '1 minute'").await;
    other.record_seen(id).await.unwrap();
    assert!(one.profile(id).await.unwrap().last_seen > first.last_seen);
}

#[tokio::test]
async fn an_outdated_username_in_the_cache_leads_nobody_to_the_wrong_profile() {
    let house = House::build().await;
    let service = house.replica();
    let alice = service.create(user_id(), &username("alice")).await.unwrap();
    let outcome = service.profile_by_username(&username("alice")).await.unwrap();
    assert_eq!(outcome, alice);
    // Behind the back of the cache of names, which is told about profiles that come and not about those that
    // change hands.
    house.execute("UPDATE profiles SET username = 'carol', username_key = 'carol'").await;
    service.update(alice.user_id, None, &bio("now Carol")).await.unwrap();
    assert!(is_not_found(&service.profile_by_username(&username("alice")).await));
    let bob = service.create(user_id(), &username("alice")).await.unwrap();
    assert_eq!(service.profile_by_username(&username("alice")).await.unwrap(), bob);
}

/// A future is copied as it is handed from layer to layer: with room for a load in each, a hit once cost six
/// times as much.
#[tokio::test]
async fn a_hit_carries_no_room_for_a_load() {
    let house = House::build().await;
    let service = house.replica();
    let (id, name) = (user_id(), username("alice"));
    let sizes = [size_of_val(&service.profile(id)), size_of_val(&service.profile_by_username(&name))];
    assert!(sizes.iter().all(|size| *size < 2048), "{sizes:?}");
}
