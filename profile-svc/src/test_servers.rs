//! What the tests run on: the real Postgres and the real Redis, a database and a namespace for each test.

use std::str::FromStr as _;

use chassis::postgres::{Postgres, PostgresUrl};
use chassis::redis::{Redis, RedisUrl};
use chassis::shutdown::Shutdown;
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;

use crate::cache::{Lifetime, ProfileCache};
use crate::erasure::Erasure;
use crate::profile::UserId;
use crate::profiles::Profiles;
use crate::service::ProfileService;
use crate::username::Username;

#[expect(clippy::disallowed_methods, reason = "tests are told their servers in the environment")]
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} has to name a server for tests"))
}

/// A migrated database of the test's own.
pub async fn fresh_database() -> Postgres {
    fresh_database_at().await.1
}

/// The same with where it is.
pub async fn fresh_database_at() -> (PostgresUrl, Postgres) {
    let url = server("TEST_POSTGRES_URL");
    let name = format!("profile_{:016x}", fastrand::u64(..));
    let options = PgConnectOptions::from_str(&url).unwrap();
    let mut connection = sqlx::PgConnection::connect_with(&options).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    let own: PostgresUrl = url.replace("/postgres", &format!("/{name}")).parse().unwrap();
    let postgres = Postgres::open(&own, "profile-svc tests", 4);
    postgres.migrate(&sqlx::migrate!()).await.unwrap();
    (own, postgres)
}

/// A database without a server behind it.
pub fn no_database() -> Postgres {
    Postgres::open(&format!("postgres://nobody@{}/none", closed_port()).parse().unwrap(), "test", 1)
}

pub fn cache_url() -> RedisUrl {
    server("TEST_CACHE_REDIS_URL").parse().unwrap()
}

pub fn state_url() -> RedisUrl {
    server("TEST_STATE_REDIS_URL").parse().unwrap()
}

/// A Redis without a server behind it.
pub fn no_cache_url() -> RedisUrl {
    format!("redis://{}", closed_port()).parse().unwrap()
}

fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Keeps the keys of concurrent tests apart.
pub fn namespace() -> String {
    format!("test-{:016x}-", fastrand::u64(..))
}

/// A replica of the service.
pub fn replica(
    postgres: &Postgres,
    cache: &RedisUrl,
    namespace: &str,
    shutdown: &Shutdown,
) -> ProfileService {
    let profiles = Profiles::new(postgres.clone());
    let redis = Redis::open(cache, "cache", shutdown);
    let lifetime = Lifetime { namespace: namespace.to_owned(), ttl: std::time::Duration::from_secs(300) };
    let cache = ProfileCache::new(&redis, &lifetime, profiles.clone(), shutdown);
    ProfileService::new(profiles, cache, Erasure::new(postgres.clone()))
}

pub fn user_id() -> UserId {
    UserId(uuid::Uuid::now_v7())
}

pub fn username(text: &str) -> Username {
    Username::parse(text).unwrap()
}
