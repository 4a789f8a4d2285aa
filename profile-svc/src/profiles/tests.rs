//! The store on a real Postgres.

use sqlx::Connection as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::*;
use crate::fields::{AvatarUrl, DisplayName, Links};
use crate::test_servers::{fresh_database, fresh_database_at, user_id, username};

async fn store() -> Profiles {
    Profiles::new(fresh_database().await)
}

fn link() -> Link {
    Link { label: "Home".into(), url: "https://example.org/".into() }
}

#[tokio::test]
async fn a_new_profile_has_the_defaults() {
    let profiles = store().await;
    let id = user_id();
    let profile = profiles.insert(id, &username("Alice")).await.unwrap();
    let expected = Profile {
        user_id: id,
        username: "Alice".into(),
        username_key: "alice".into(),
        display_name: "Alice".into(),
        bio: String::new(),
        locale: "en".into(),
        timezone: "UTC".into(),
        role: "user".into(),
        links: vec![],
        avatar_url: None,
        last_seen: None,
        created_at: profile.created_at,
        updated_at: profile.created_at,
        version: 1,
    };
    assert_eq!(profile, expected);
    assert_eq!(profiles.by_id(id).await.unwrap().as_ref(), Some(&expected));
    assert_eq!(profiles.by_username("alice").await.unwrap().as_ref(), Some(&expected));
    assert_eq!(profiles.id_of("alice").await.unwrap(), Some(id));
    assert_eq!(profiles.id_of("Alice").await.unwrap(), None);
}

#[tokio::test]
async fn concurrent_inserts_of_one_user_make_one_profile() {
    let profiles = store().await;
    for _ in 0..5 {
        let id = user_id();
        let name = username(&format!("user{}", fastrand::u32(..)));
        let mut inserts = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (profiles, name) = (profiles.clone(), name.clone());
            inserts.spawn(async move { profiles.insert(id, &name).await.unwrap() });
        }
        let made = inserts.join_all().await;
        assert!(made.iter().all(|profile| *profile == made[0]));
    }
}

#[tokio::test]
async fn a_username_has_one_profile_in_whatever_case() {
    let profiles = store().await;
    let first = profiles.insert(user_id(), &username("Alice")).await.unwrap();
    let second = profiles.insert(user_id(), &username("ALICE")).await;
    assert!(matches!(second, Err(ProfileError::UsernameTaken)), "{second:?}");
    assert_eq!(profiles.by_username("alice").await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_change_touches_what_it_names_and_counts() {
    let profiles = store().await;
    let id = user_id();
    let before = profiles.insert(id, &username("alice")).await.unwrap();
    let change = ProfileChange {
        display_name: Some(DisplayName::parse("Alice L.".into()).unwrap()),
        links: Some(Links::parse(vec![link()]).unwrap()),
        avatar_url: Some(AvatarUrl::parse(Some("https://example.org/a.png".into())).unwrap()),
        ..ProfileChange::default()
    };
    let after = profiles.update(id, Some(1), &change).await.unwrap();
    assert!(after.updated_at > before.updated_at);
    let expected = Profile {
        display_name: "Alice L.".into(),
        links: vec![link()],
        avatar_url: Some("https://example.org/a.png".into()),
        updated_at: after.updated_at,
        version: 2,
        ..before
    };
    assert_eq!(after, expected);

    let rest = ProfileChange {
        bio: Some(Bio::parse("Hello".into()).unwrap()),
        locale: Some(Locale::parse("de-at").unwrap()),
        timezone: Some(Timezone::parse("Europe/Vienna").unwrap()),
        ..ProfileChange::default()
    };
    let after = profiles.update(id, None, &rest).await.unwrap();
    let expected = Profile {
        bio: "Hello".into(),
        locale: "de-AT".into(),
        timezone: "Europe/Vienna".into(),
        updated_at: after.updated_at,
        version: 3,
        ..expected
    };
    assert_eq!(after, expected);
    assert_eq!(profiles.by_id(id).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn clearing_brings_the_defaults_back() {
    let profiles = store().await;
    let id = user_id();
    let new = profiles.insert(id, &username("alice")).await.unwrap();
    let fill = ProfileChange {
        display_name: Some(DisplayName::parse("A.".into()).unwrap()),
        bio: Some(Bio::parse("Hello".into()).unwrap()),
        locale: Some(Locale::parse("de").unwrap()),
        timezone: Some(Timezone::parse("Europe/Vienna").unwrap()),
        links: Some(Links::parse(vec![link()]).unwrap()),
        avatar_url: Some(AvatarUrl::parse(Some("https://example.org/a.png".into())).unwrap()),
    };
    let clear = ProfileChange {
        display_name: Some(DisplayName::parse(String::new()).unwrap()),
        bio: Some(Bio::parse(String::new()).unwrap()),
        locale: Some(Locale::parse("").unwrap()),
        timezone: Some(Timezone::parse("").unwrap()),
        links: Some(Links::parse(vec![]).unwrap()),
        avatar_url: Some(AvatarUrl::parse(None).unwrap()),
    };
    assert_ne!(profiles.update(id, None, &fill).await.unwrap().bio, new.bio);
    let cleared = profiles.update(id, None, &clear).await.unwrap();
    assert_eq!(cleared, Profile { updated_at: cleared.updated_at, version: 3, ..new });
}

#[tokio::test]
async fn of_concurrent_changes_from_one_version_one_is_made() {
    let profiles = store().await;
    let id = user_id();
    profiles.insert(id, &username("alice")).await.unwrap();
    let mut updates = tokio::task::JoinSet::new();
    for number in 0..8 {
        let profiles = profiles.clone();
        let bio = Some(Bio::parse(number.to_string()).unwrap());
        updates.spawn(async move {
            profiles.update(id, Some(1), &ProfileChange { bio, ..ProfileChange::default() }).await
        });
    }
    let outcomes = updates.join_all().await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let refused = |outcome: &Result<_, _>| matches!(outcome, Err(ProfileError::VersionMismatch));
    assert_eq!(outcomes.iter().filter(|outcome| refused(outcome)).count(), 7);
    assert_eq!(profiles.version(id).await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_profile_that_is_not_there_cannot_be_changed() {
    let profiles = store().await;
    let change = ProfileChange { bio: Some(Bio::parse("x".into()).unwrap()), ..ProfileChange::default() };
    for expected in [None, Some(1)] {
        let outcome = profiles.update(user_id(), expected, &change).await;
        assert!(matches!(outcome, Err(ProfileError::NotFound)), "{outcome:?}");
    }
    assert!(matches!(profiles.record_seen(user_id()).await, Err(ProfileError::NotFound)));
    assert!(matches!(profiles.is_seen_due(user_id()).await, Err(ProfileError::NotFound)));
    assert_eq!(profiles.by_id(user_id()).await.unwrap(), None);
}

#[tokio::test]
async fn being_seen_moves_nothing_else() {
    let profiles = store().await;
    let id = user_id();
    let before = profiles.insert(id, &username("alice")).await.unwrap();
    assert!(profiles.is_seen_due(id).await.unwrap());
    let after = profiles.record_seen(id).await.unwrap();
    assert!(after.last_seen.is_some());
    assert_eq!(after, Profile { last_seen: after.last_seen, ..before });
    assert!(!profiles.is_seen_due(id).await.unwrap());
}

#[tokio::test]
async fn several_replicas_may_migrate_at_once() {
    let postgres = fresh_database().await;
    postgres
        .run("test", async |connection: &mut PgConnection| {
            sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(connection).await
        })
        .await
        .unwrap();
    let migrator = sqlx::migrate!();
    let migrations = (0..4).map(|_| postgres.migrate(&migrator));
    for outcome in futures_util::future::join_all(migrations).await {
        outcome.unwrap();
    }
    assert!(Profiles::new(postgres).insert(user_id(), &username("alice")).await.is_ok());
}

/// Somebody reads for long, and a migration wants the table: those who come after it do not wait for the first one.
#[tokio::test]
async fn a_migration_that_has_to_wait_keeps_nobody_waiting() {
    let (url, postgres) = fresh_database_at().await;
    let mut long = url.connect("test").await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM profiles").execute(&mut long).await.unwrap();
    let mut migrations = sqlx::migrate!().migrations.to_vec();
    let sql = sqlx::SqlStr::from_static("ALTER TABLE profiles ADD COLUMN later text");
    migrations.push(Migration::new(9999, "later".into(), MigrationType::Simple, sql, false));
    let migrator = Migrator::with_migrations(migrations);
    let profiles = Profiles::new(postgres.clone());
    let reads = async {
        for _ in 0..100 {
            assert_eq!(profiles.by_id(user_id()).await.unwrap(), None);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        long.close().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(postgres.migrate(&migrator), reads);
    migrated.unwrap();
}

/// A caller may go away at any moment, such as between a `BEGIN` and its answer. What others then do on the connection is theirs alone.
#[tokio::test]
async fn a_transaction_that_was_abandoned_takes_no_later_change_with_it() {
    let profiles = store().await;
    let id = user_id();
    profiles.insert(id, &username("Alice")).await.unwrap();
    let change =
        ProfileChange { bio: Some(Bio::parse("changed".into()).unwrap()), ..ProfileChange::default() };
    for polls in 1..24 {
        let name = username(&format!("abandoned{polls}"));
        {
            let mut insert = std::pin::pin!(profiles.insert(user_id(), &name));
            for _ in 0..polls {
                if futures_util::poll!(insert.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        let changed = profiles.update(id, None, &change).await.unwrap();
        // On several connections, so that most of them are not the one that was written on.
        let seen = futures_util::future::join_all((0..4).map(|_| profiles.by_id(id))).await;
        for profile in seen {
            assert_eq!(profile.unwrap().unwrap().version, changed.version, "after {polls} polls");
        }
    }
}
