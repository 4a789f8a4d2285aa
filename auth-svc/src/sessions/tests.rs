//! The session store on a real Redis, and on a real Redis Cluster.

use chassis::redis::RedisUrl;

use super::*;

const GENERATION: i32 = 1;
const LIFETIMES: Lifetimes =
    Lifetimes { idle: Duration::from_secs(1800), absolute: Duration::from_secs(86_400) };

struct Store {
    sessions: Sessions,
    redis: Redis,
    _shutdown: Shutdown,
}

/// Users are random, so tests share one Redis without meeting.
fn store(lifetimes: Lifetimes, limit: u32) -> Store {
    let shutdown = Shutdown::new();
    let redis = Redis::open(&test_redis_url(), "state", &shutdown);
    Store { sessions: Sessions::new(redis.clone(), lifetimes, limit, &shutdown), redis, _shutdown: shutdown }
}

#[expect(clippy::disallowed_methods, reason = "the test runner says where its servers are")]
fn test_redis_url() -> RedisUrl {
    let on_a_cluster = module_path!().ends_with("tests_on_a_cluster");
    let name = if on_a_cluster { "TEST_CLUSTER_REDIS_URL" } else { "TEST_STATE_REDIS_URL" };
    let url = std::env::var(name).expect("run through `make test`, which starts a Redis");
    url.parse().unwrap()
}

async fn log_in(store: &Store, user: Uuid) -> SessionToken {
    let token = SessionToken::generate(user).unwrap();
    store.sessions.create(&token, GENERATION).await.unwrap().unwrap();
    token
}

async fn is_valid(store: &Store, token: &SessionToken) -> bool {
    store.sessions.validate(token).await.unwrap().is_some()
}

async fn fields(store: &Store, user: Uuid) -> Vec<Vec<u8>> {
    let mut read = redis::cmd("HGETALL");
    read.arg(layout::key(user));
    store.redis.query("test", layout::key(user), &read).await.unwrap()
}

#[tokio::test]
async fn a_session_is_valid_until_it_ends_and_never_again() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let (token, other) = (log_in(&store, user).await, log_in(&store, user).await);
    let session = store.sessions.validate(&token).await.unwrap().unwrap();
    assert_eq!((session.user_id, session.id), (user, token.digest().id));
    assert!(
        session.expires_in <= LIFETIMES.idle && session.expires_in + Duration::from_secs(60) > LIFETIMES.idle
    );

    assert!(store.sessions.end(&token).await.unwrap());
    assert!(!is_valid(&store, &token).await);
    assert!(!store.sessions.end(&token).await.unwrap(), "it ends once");
    assert!(!store.sessions.renew(&token).await.unwrap(), "a renewal in flight brings nothing back");
    assert!(!is_valid(&store, &token).await);
    assert!(is_valid(&store, &other).await, "the user's other session goes on");
}

#[tokio::test]
async fn nothing_is_left_of_a_user_without_sessions() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let token = log_in(&store, user).await;
    store.sessions.end(&token).await.unwrap();
    assert!(fields(&store, user).await.is_empty());
}

#[tokio::test]
async fn the_stored_session_does_not_contain_the_token() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let token = log_in(&store, user).await;
    let stored = fields(&store, user).await.concat();
    let contains = |part: &[u8]| stored.windows(part.len()).any(|window| window == part);
    assert!(contains(&token.digest().id.0) && contains(&token.digest().proof));
    for part in token.encoded().as_bytes().chunks(8) {
        assert!(!contains(part));
    }
}

#[tokio::test]
async fn half_a_hash_opens_nothing() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let token = log_in(&store, user).await;
    let forged = SessionToken::generate(user).unwrap();
    assert!(!is_valid(&store, &forged).await);
    // A value under the forged token's id, but with another proof.
    let mut copy = redis::cmd("HGET");
    copy.arg(layout::key(user)).arg(&token.digest().id.0);
    let value: Vec<u8> = store.redis.query("test", layout::key(user), &copy).await.unwrap();
    let mut plant = redis::cmd("HSET");
    plant.arg(layout::key(user)).arg(&forged.digest().id.0).arg(value);
    store.redis.query::<()>("test", layout::key(user), &plant).await.unwrap();
    assert!(!is_valid(&store, &forged).await);
    assert!(!store.sessions.end(&forged).await.unwrap());
    assert!(!store.sessions.renew(&forged).await.unwrap());
}

#[tokio::test]
async fn an_idle_session_ends_and_a_used_one_does_not() {
    let idle = Duration::from_millis(600);
    let store = store(Lifetimes { idle, ..LIFETIMES }, 50);
    let (used, unused) = (log_in(&store, Uuid::now_v7()).await, log_in(&store, Uuid::now_v7()).await);
    let started = std::time::Instant::now();
    while started.elapsed() < idle * 2 {
        assert!(is_valid(&store, &used).await);
        tokio::time::sleep(idle / 10).await;
    }
    assert!(!is_valid(&store, &unused).await);
    assert!(!store.sessions.renew(&unused).await.unwrap(), "too late");
    tokio::time::sleep(idle * 2).await;
    assert!(!is_valid(&store, &used).await);
    assert!(fields(&store, used.user_id()).await.is_empty(), "Redis dropped it");
}

#[tokio::test]
async fn no_use_prolongs_a_session_beyond_its_absolute_end() {
    let absolute = Duration::from_millis(500);
    let store = store(Lifetimes { idle: Duration::from_secs(60), absolute }, 50);
    let token = log_in(&store, Uuid::now_v7()).await;
    let session = store.sessions.validate(&token).await.unwrap().unwrap();
    assert!(session.expires_in <= absolute);
    assert!(store.sessions.renew(&token).await.unwrap());
    // Redis's clock is told in whole milliseconds.
    tokio::time::sleep(absolute + Duration::from_millis(20)).await;
    assert!(!is_valid(&store, &token).await);
    assert!(!store.sessions.renew(&token).await.unwrap());
}

#[tokio::test]
async fn a_request_costs_no_write_until_a_renewal_is_due() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let token = log_in(&store, user).await;
    let before = fields(&store, user).await;
    for _ in 0..100 {
        assert!(is_valid(&store, &token).await);
    }
    assert_eq!(fields(&store, user).await, before);
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_session_ends() {
    let store = store(LIFETIMES, 3);
    let user = Uuid::now_v7();
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(log_in(&store, user).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut valid = Vec::new();
    for token in &tokens {
        valid.push(is_valid(&store, token).await);
    }
    assert_eq!(valid, [false, false, true, true, true]);
}

#[tokio::test]
async fn concurrent_logins_keep_the_limit_and_lose_nobody() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let tokens: Vec<_> = (0..50).map(|_| SessionToken::generate(user).unwrap()).collect();
    let created = tokens.iter().map(|token| store.sessions.create(token, GENERATION));
    for outcome in futures_util::future::join_all(created).await {
        assert!(outcome.unwrap().is_some());
    }
    for token in &tokens {
        assert!(is_valid(&store, token).await);
    }
    let last = SessionToken::generate(user).unwrap();
    let displaced = store.sessions.create(&last, GENERATION).await.unwrap().unwrap().displaced;
    let validations = tokens.iter().map(|token| is_valid(&store, token));
    let valid = futures_util::future::join_all(validations).await;
    let ended = tokens.iter().zip(valid).filter(|(_, valid)| !valid).map(|(token, _)| token.digest().id);
    assert_eq!(ended.collect::<Vec<_>>(), displaced);
    assert_eq!(displaced.len(), 1);
}

#[tokio::test]
async fn a_login_of_an_older_generation_is_refused_and_a_newer_one_ends_the_rest() {
    let store = store(LIFETIMES, 50);
    let user = Uuid::now_v7();
    let old = log_in(&store, user).await;
    let new = SessionToken::generate(user).unwrap();
    store.sessions.create(&new, GENERATION + 1).await.unwrap().unwrap();
    assert!(is_valid(&store, &new).await && !is_valid(&store, &old).await);
    assert!(!store.sessions.renew(&old).await.unwrap());
    let late = SessionToken::generate(user).unwrap();
    assert_eq!(store.sessions.create(&late, GENERATION).await.unwrap(), None);
    assert!(!is_valid(&store, &late).await);
}
