//! The end of a profile, by several replicas, with whatever is under way while it comes.

use chassis::event_stream::Publisher;
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;
use prost::Message as _;
use proto::auth::v1::account_event::Event;
use proto::auth::v1::{AccountEvent, UserDeleted};
use redis::cmd;

use super::*;
use crate::fields::Bio;
use crate::profile::ProfileChange;
use crate::service::ProfileService;
use crate::test_servers::{
    cache_url, fresh_database, namespace, no_cache_url, no_database, replica, state_url, user_id, username,
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

    async fn count(&self, sql: &'static str) -> i64 {
        let count = async |connection: &mut PgConnection| sqlx::query_scalar(sql).fetch_one(connection).await;
        self.postgres.run("test", count).await.unwrap()
    }

    async fn profiles(&self) -> i64 {
        self.count("SELECT count(*) FROM profiles").await
    }

    async fn execute(&self, sql: &'static str) {
        let statement = async |connection: &mut PgConnection| sqlx::raw_sql(sql).execute(connection).await;
        self.postgres.run("test", statement).await.unwrap();
    }

    /// What the cache holds of this test.
    async fn cached(&self) -> Vec<String> {
        let redis = Redis::open(&cache_url(), "test", &self.shutdown);
        redis.query("KEYS", "", cmd("KEYS").arg(format!("{}*", self.namespace))).await.unwrap()
    }

    fn state(&self) -> Redis {
        Redis::open(&state_url(), "test", &self.shutdown)
    }

    /// A replica that listens to events.
    fn listen(&self) {
        let namespace = self.namespace.clone();
        let (service, redis) = (self.replica(), self.state());
        self.shutdown.spawn_background(async move {
            crate::events::consume(service, redis, &namespace).await;
        });
    }

    async fn length(&self, stream: &str) -> usize {
        let stream = format!("{{{}}}:{stream}", self.namespace);
        self.state().query("XLEN", &stream, cmd("XLEN").arg(&stream)).await.unwrap()
    }

    async fn publish(&self, event_id: Uuid, id: UserId) {
        let event = Some(Event::UserDeleted(UserDeleted { user_id: id.to_string() }));
        let event = AccountEvent { id: event_id.to_string(), event }.encode_to_vec();
        let publisher = Publisher::new(self.state(), format!("{{{}}}:events", self.namespace));
        publisher.publish(None, &event).await.unwrap();
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let reached = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), reached).await.is_ok(), "until {what}");
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.stopping().cancel();
    }
}

fn is_not_found<T>(outcome: &Result<T, ProfileError>) -> bool {
    matches!(outcome, Err(ProfileError::NotFound))
}

#[tokio::test]
async fn a_deleted_user_leaves_nothing_in_database_or_cache_and_the_name_is_free() {
    let house = House::build().await;
    let (one, other) = (house.replica(), house.replica());
    let (id, name) = (user_id(), username("Alice"));
    one.create(id, &name).await.unwrap();
    assert_eq!(other.profile(id).await.unwrap(), other.profile_by_username(&name).await.unwrap());
    assert_eq!(house.cached().await.len(), 2);

    one.erase(Uuid::now_v7(), id).await.unwrap();
    assert_eq!(house.profiles().await, 0);
    assert_eq!(house.cached().await, [""; 0]);
    let everything = house
        .count(
            "SELECT (SELECT count(*) FROM inbox i WHERE i::text ~* 'alice')
                  + (SELECT count(*) FROM tombstones t WHERE t::text ~* 'alice')",
        )
        .await;
    assert_eq!(everything, 0);
    assert!(is_not_found(&other.profile(id).await));
    assert!(is_not_found(&other.profile_by_username(&name).await));
    let namesake = other.create(user_id(), &name).await.unwrap();
    assert_eq!(one.profile_by_username(&name).await.unwrap(), namesake);
}

#[tokio::test]
async fn nobody_makes_the_profile_of_a_deleted_user_again() {
    let house = House::build().await;
    let service = house.replica();
    let (made, never_made) = (user_id(), user_id());
    service.create(made, &username("alice")).await.unwrap();
    for id in [made, never_made] {
        service.erase(Uuid::now_v7(), id).await.unwrap();
        assert!(is_not_found(&service.create(id, &username("alice")).await));
    }
    assert_eq!((house.profiles().await, house.cached().await), (0, Vec::new()));
}

#[tokio::test]
async fn whatever_runs_into_the_deletion_nothing_stays() {
    let house = House::build().await;
    let services = [house.replica(), house.replica(), house.replica()];
    let hello = ProfileChange { bio: Some(Bio::parse("Hello".into()).unwrap()), ..ProfileChange::default() };
    for round in 0..25 {
        let (id, name) = (user_id(), username(&format!("alice{round}")));
        if round % 2 == 0 {
            services[0].create(id, &name).await.unwrap();
        }
        let first_reads = futures_util::future::join_all(services.iter().map(async |service| {
            for _ in 0..4 {
                if is_not_found(&service.profile(id).await) {
                    let _ = service.create(id, &name).await;
                }
                let _ = service.profile_by_username(&name).await;
                let _ = service.update(id, None, &hello).await;
                let _ = service.record_seen(id).await;
            }
        }));
        let deletion = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            // More than once, as it may come.
            let event = Uuid::now_v7();
            let (one, other) = tokio::join!(services[1].erase(event, id), services[2].erase(event, id));
            one.and(other).unwrap();
        };
        tokio::join!(first_reads, deletion);
        assert_eq!(house.profiles().await, 0);
        // Nor does anybody remember it; that there is no such profile may be remembered for a moment.
        for service in &services {
            assert!(is_not_found(&service.profile(id).await));
            assert!(is_not_found(&service.profile_by_username(&name).await));
        }
    }
}

#[tokio::test]
async fn an_insert_that_is_not_committed_yet_does_not_escape_the_deletion() {
    let house = House::build().await;
    let (service, id) = (house.replica(), user_id());
    let erasure = Erasure::new(house.postgres.clone());
    let inserted = house.postgres.run("test", async |connection: &mut PgConnection| {
        // As `Profiles::insert` does, held before its commit.
        let mut transaction = connection.begin().await?;
        lock(&mut transaction, id).await?;
        sqlx::query(
            "INSERT INTO profiles (user_id, username, username_key, display_name) VALUES ($1, 'a', 'a', 'a')",
        )
        .bind(id.0)
        .execute(&mut *transaction)
        .await?;
        let commit = async {
            while house
                .count("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'")
                .await
                == 0
            {
                tokio::task::yield_now().await;
            }
            transaction.commit().await
        };
        let (erased, committed) = tokio::join!(erasure.erase(Uuid::now_v7(), id), commit);
        committed?;
        Ok(erased)
    });
    assert_eq!(inserted.await.unwrap().unwrap(), Erased::Now { username_key: Some("a".into()) });
    assert_eq!(house.profiles().await, 0);
    assert!(is_not_found(&service.create(id, &username("alice")).await));
}

#[tokio::test]
async fn an_event_is_carried_out_once_however_often_it_comes() {
    let house = House::build().await;
    let erasure = Erasure::new(house.postgres.clone());
    let (event, id) = (Uuid::now_v7(), user_id());
    house.replica().create(id, &username("alice")).await.unwrap();
    let outcomes = futures_util::future::join_all((0..4).map(|_| erasure.erase(event, id))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome != Erased::Before).count(), 1, "{outcomes:?}");
    assert_eq!(house.count("SELECT count(*) FROM inbox").await, 1);
}

#[tokio::test]
async fn without_a_store_nothing_is_done_and_nothing_is_confirmed() {
    let house = House::build().await;
    let id = user_id();
    house.replica().create(id, &username("alice")).await.unwrap();
    let without_cache = replica(&house.postgres, &no_cache_url(), &house.namespace, &house.shutdown);
    let outcome = without_cache.erase(Uuid::now_v7(), id).await;
    assert!(matches!(outcome, Err(ProfileError::CacheAway(_))), "{outcome:?}");
    assert_eq!(house.profiles().await, 1);
    let without_database = replica(&no_database(), &cache_url(), &house.namespace, &house.shutdown);
    let outcome = without_database.erase(Uuid::now_v7(), id).await;
    assert!(matches!(outcome, Err(ProfileError::DatabaseAway(_))), "{outcome:?}");
    assert_eq!((house.profiles().await, house.count("SELECT count(*) FROM inbox").await), (1, 0));
}

#[tokio::test]
async fn events_are_carried_out_confirmed_and_gone_from_the_stream() {
    let house = House::build().await;
    let mut ids = Vec::new();
    for number in 0..10 {
        let id = user_id();
        house.replica().create(id, &username(&format!("alice{number}"))).await.unwrap();
        ids.push(id);
    }
    for id in &ids {
        let event = Uuid::now_v7();
        for _ in 0..2 {
            house.publish(event, *id).await;
        }
    }
    for _ in 0..3 {
        house.listen();
    }
    let confirmed = async || house.length("confirmed").await == 20 && house.length("events").await == 0;
    house.until("all are confirmed", confirmed).await;
    assert_eq!((house.profiles().await, house.count("SELECT count(*) FROM inbox").await), (0, 10));
}

/// The effect is committed, and the process dies before it could confirm: the entry stays with the dead consumer until another
/// one takes it over.
#[tokio::test]
async fn an_effect_that_was_committed_and_not_confirmed_is_confirmed_and_not_repeated() {
    let house = House::build().await;
    let (event, id) = (Uuid::now_v7(), user_id());
    house.replica().create(id, &username("alice")).await.unwrap();
    house.publish(event, id).await;
    let stream = format!("{{{}}}:events", house.namespace);
    let mut create = cmd("XGROUP");
    create.arg("CREATE").arg(&stream).arg("profile-svc").arg("0");
    house.state().query::<()>("XGROUP", &stream, &create).await.unwrap();
    let mut read = cmd("XREADGROUP");
    read.arg("GROUP").arg("profile-svc").arg("dead").arg("STREAMS").arg(&stream).arg(">");
    house.state().query::<()>("XREADGROUP", &stream, &read).await.unwrap();
    house.replica().erase(event, id).await.unwrap();

    // If it were done again, this one would go.
    house.execute("DELETE FROM tombstones").await;
    house.replica().create(id, &username("alice")).await.unwrap();
    house.listen();
    house.until("it is confirmed", async || house.length("confirmed").await == 1).await;
    assert_eq!((house.length("events").await, house.profiles().await), (0, 1));
}

#[tokio::test]
async fn old_events_and_tombstones_are_forgotten() {
    let house = House::build().await;
    let erasure = Erasure::new(house.postgres.clone());
    for _ in 0..2 {
        erasure.erase(Uuid::now_v7(), user_id()).await.unwrap();
        house.execute("UPDATE inbox SET handled_at = handled_at - interval '13 hours'").await;
        house.execute("UPDATE tombstones SET set_at = set_at - interval '13 hours'").await;
    }
    erasure.forget_old().await.unwrap();
    let left = (
        house.count("SELECT count(*) FROM inbox").await,
        house.count("SELECT count(*) FROM tombstones").await,
    );
    assert_eq!(left, (1, 1));
}
