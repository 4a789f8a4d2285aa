//! What the tests run on: the real servers, a database for each test.

use chassis::postgres::{Postgres, PostgresUrl};

#[expect(clippy::disallowed_methods, reason = "the test runner says where its servers are")]
pub fn server(variable: &str) -> String {
    std::env::var(variable).expect("run through `make test`, which starts the servers")
}

/// A migrated database of the test's own, with its name and where it is.
pub async fn fresh_database() -> (Postgres, String, PostgresUrl) {
    let admin_url = server("TEST_POSTGRES_URL");
    let name = format!("auth_{}", uuid::Uuid::now_v7().simple());
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    let admin = Postgres::open(&admin_url.parse().unwrap(), "test", 1);
    admin
        .run("create database", async |connection| sqlx::query(create).execute(connection).await)
        .await
        .unwrap();
    let (server_url, _) = admin_url.rsplit_once('/').unwrap();
    let url: PostgresUrl = format!("{server_url}/{name}").parse().unwrap();
    let postgres = Postgres::open(&url, "test", 4);
    postgres.migrate(&sqlx::migrate!()).await.unwrap();
    (postgres, name, url)
}
