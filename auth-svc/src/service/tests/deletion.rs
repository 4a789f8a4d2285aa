//! The end of an account, and what is under way while it comes.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::*;
use crate::sessions::Sessions;

impl Bench {
    async fn execute(&self, sql: &'static str) {
        let statement = async |connection: &mut PgConnection| sqlx::raw_sql(sql).execute(connection).await;
        self.postgres.run("test", statement).await.unwrap();
    }

    /// How many rows a table has.
    async fn count(&self, sql: &'static str) -> i64 {
        let count = async |connection: &mut PgConnection| sqlx::query_scalar(sql).fetch_one(connection).await;
        self.postgres.run("test", count).await.unwrap()
    }

    /// The keys of either Redis that name a user, of this test alone.
    async fn keys(&self, user_id: Uuid) -> Vec<String> {
        let mut keys = Vec::new();
        for redis in [&self.state, &self.cache] {
            let pattern = format!("*{user_id}*");
            let found: Vec<String> = redis.query("KEYS", "", redis::cmd("KEYS").arg(pattern)).await.unwrap();
            keys.extend(found);
        }
        keys
    }

    async fn reads(&self, user: &User) -> Credentials {
        self.service.users.credentials_by_id(user.id).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn a_deleted_user_is_gone_from_every_store() {
    let bench = bench().await;
    let service = &bench.service;
    let user = service.register("Alice", PASSWORD, Some("alice@example.org"), &client()).await.unwrap();
    let bob = service.register("bob", PASSWORD, None, &client()).await.unwrap();
    let bobs = service.login("bob", PASSWORD, &client(), "").await.unwrap();
    let id = user.id.to_string();
    let mut logins = Vec::new();
    for _ in 0..2 {
        logins.push(service.login("alice", PASSWORD, &client(), "").await.unwrap());
    }
    assert_eq!(service.user_by_id(&id).await.unwrap(), user);
    assert_eq!(bench.keys(user.id).await.len(), 2, "sessions, and the user in the cache");

    for wrong in ["not my password", ""] {
        let refused = service.delete_user(&id, wrong, &client()).await;
        assert!(matches!(refused, Err(AuthError::WrongPassword)));
    }
    assert!(service.validate(logins[0].token.encoded()).await.is_ok(), "nothing has happened yet");

    service.delete_user(&id, PASSWORD, &client()).await.unwrap();
    for login in &logins {
        let refused = service.validate(login.token.encoded()).await;
        assert!(matches!(refused, Err(AuthError::SessionInvalid)));
    }
    assert_eq!(bench.keys(user.id).await, [""; 0]);
    assert_eq!(bench.count("SELECT count(*) FROM users").await, 1);
    assert_eq!(bench.count("SELECT count(*) FROM session_clients").await, 1);
    assert_eq!(bench.count("SELECT count(*) FROM outbox").await, 1);
    assert!(matches!(service.user_by_id(&id).await, Err(AuthError::UserNotFound)));
    assert!(matches!(service.user_by_username("alice").await, Err(AuthError::UserNotFound)));
    let login = service.login("alice", PASSWORD, &client(), "").await;
    assert!(matches!(login.err(), Some(AuthError::InvalidCredentials)));
    let again = service.delete_user(&id, PASSWORD, &client()).await;
    assert!(matches!(again, Err(AuthError::UserNotFound)));

    let namesake = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    assert_ne!(namesake.id, user.id);
    assert_eq!(service.validate(bobs.token.encoded()).await.unwrap().user_id, bob.id);
}

#[tokio::test]
async fn of_many_who_delete_one_user_one_does() {
    let bench = bench().await;
    let user = bench.service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let id = user.id.to_string();
    let from = client();
    let deletions = (0..6).map(|_| bench.service.delete_user(&id, PASSWORD, &from));
    let outcomes = futures_util::future::join_all(deletions).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let others = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    assert!(others.into_iter().all(|error| matches!(error, AuthError::UserNotFound)), "{outcomes:?}");
    assert_eq!(bench.count("SELECT count(*) FROM outbox").await, 1);
}

#[tokio::test]
async fn a_password_that_changed_meanwhile_deletes_nobody() {
    let bench = bench().await;
    let service = &bench.service;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let read = bench.reads(&user).await;
    service
        .change_password(&user.id.to_string(), PASSWORD, "an even better passphrase", "", &client())
        .await
        .unwrap();
    assert_eq!(service.erasure.erase(&read).await.unwrap(), None);
    assert_eq!(service.users.by_id(user.id).await.unwrap(), Some(user));
}

#[tokio::test]
async fn a_login_under_way_takes_its_session_back() {
    let bench = bench().await;
    let service = &bench.service;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let read = bench.reads(&user).await;
    service.delete_user(&user.id.to_string(), PASSWORD, &client()).await.unwrap();
    let outcome = service.open_session(read.user, read.generation, &client()).await;
    assert!(matches!(outcome.err(), Some(AuthError::InvalidCredentials)));
    assert_eq!(bench.keys(user.id).await, [""; 0]);
}

#[tokio::test]
async fn a_login_that_waits_for_the_deletion_to_commit_takes_its_session_back() {
    let bench = bench().await;
    let service = &bench.service;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let read = bench.reads(&user).await;
    let held = bench.postgres.run("test", async |connection| {
        let mut transaction = connection.begin().await?;
        sqlx::query("DELETE FROM users").execute(&mut *transaction).await?;
        let from = client();
        let login = service.open_session(read.user.clone(), read.generation, &from);
        let commit = async {
            // It has come to Postgres, and waits for the row.
            while bench.count("SELECT count(*) FROM pg_locks WHERE NOT granted").await == 0 {
                tokio::task::yield_now().await;
            }
            transaction.commit().await
        };
        let (outcome, committed) = tokio::join!(login, commit);
        committed?;
        Ok(outcome)
    });
    assert!(matches!(held.await.unwrap().err(), Some(AuthError::InvalidCredentials)));
    assert_eq!(bench.keys(user.id).await, [""; 0]);
}

#[tokio::test]
async fn a_session_that_a_dying_login_left_behind_ends_with_the_second_pass() {
    let bench = bench().await;
    let service = &bench.service;
    let user = service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let read = bench.reads(&user).await;
    service.delete_user(&user.id.to_string(), PASSWORD, &client()).await.unwrap();
    let orphan = SessionToken::generate(user.id).unwrap();
    let sessions: &Sessions = &service.sessions;
    sessions.create(&orphan, read.generation).await.unwrap().unwrap();

    assert_eq!(bench.count("SELECT count(*) FROM session_revocations WHERE due_at > now()").await, 1);
    let sweep = service.revocations.clone().sweep();
    let ended = async {
        // So long has passed.
        bench.execute("UPDATE session_revocations SET due_at = now()").await;
        service.revocations.look_again();
        while bench.count("SELECT count(*) FROM session_revocations").await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = sweep => unreachable!("it goes on"),
        () = ended => {}
    }
    assert_eq!(bench.keys(user.id).await, [""; 0]);
}

#[tokio::test]
async fn two_replicas_that_carry_out_one_pass_do_not_skip_the_other() {
    let bench = bench().await;
    let user = bench.service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let read = bench.reads(&user).await;
    let order = bench.service.erasure.erase(&read).await.unwrap().unwrap();
    let replicas = (0..5).map(|_| bench.service.revocations.carry_out(order));
    assert!(futures_util::future::join_all(replicas).await.iter().all(Result::is_ok));
    assert_eq!(bench.count("SELECT count(*) FROM session_revocations WHERE passes = 1").await, 1);
}

#[tokio::test]
async fn what_cannot_be_told_to_the_cache_is_not_done() {
    let mut bench = bench().await;
    let user = bench.service.register("alice", PASSWORD, None, &client()).await.unwrap();
    let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = Redis::open(&format!("redis://{closed_port}").parse().unwrap(), "cache", &bench.shutdown);
    let (users, shutdown) = (bench.service.users.clone(), &bench.shutdown);
    bench.service.user_cache = UserCache::new(away, &bench.namespace, users, shutdown);
    let outcome = bench.service.delete_user(&user.id.to_string(), PASSWORD, &client()).await;
    assert!(matches!(outcome, Err(AuthError::CacheAway(_))), "{outcome:?}");
    assert_eq!(bench.count("SELECT count(*) FROM users").await, 1);
    assert_eq!(bench.count("SELECT count(*) FROM outbox").await, 0);
}
