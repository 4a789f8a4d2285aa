//! Connection pools without a connection to give: each one waits for a lock, or others have taken all that the server has.

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::stores::{OUTAGE, without_profiles, without_users};
use crate::chaos::stage::Stage;
use crate::database::Database;

/// More than the server lets in.
const CONNECTIONS: usize = 400;

pub(super) async fn run(stage: &mut Stage) {
    for (name, table, bars) in [
        (
            "Postgres of users: every statement waits for a lock, the pool is exhausted",
            "users",
            without_users(),
        ),
        (
            "Postgres of profiles: every statement waits for a lock, the pool is exhausted",
            "profiles",
            without_profiles(),
        ),
    ] {
        stage.fault(name, bars, async |stage| lock(stage, table).await).await;
    }
    for (name, of_users, bars) in [
        ("Postgres of users: all its connections are taken by others", true, without_users()),
        ("Postgres of profiles: all its connections are taken by others", false, without_profiles()),
    ] {
        stage.fault(name, bars, async |stage| take_all(stage, database(stage, of_users)).await).await;
    }
}

fn database(stage: &Stage, of_users: bool) -> &Database {
    if of_users { &stage.stack.auth_database } else { &stage.stack.profile_database }
}

async fn lock(stage: &Stage, table: &str) {
    let lock = database(stage, table == "users").lock(table).await;
    stage.hold(OUTAGE).await;
    let _ = lock.close().await;
}

async fn take_all(stage: &Stage, database: &Database) {
    let mut taken: Vec<PgConnection> = Vec::new();
    let out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%-svc%'";
    // Whoever is thrown out comes back at once, so both at once and a few times over.
    while taken.len() < CONNECTIONS {
        let Some(next) = database.try_connect().await else {
            let Some(one) = taken.first_mut() else { panic!("the database lets nobody in") };
            let thrown = sqlx::query(out).execute(one).await.map(|done| done.rows_affected());
            if thrown.unwrap_or_default() == 0 {
                break;
            }
            continue;
        };
        taken.push(next);
    }
    stage.hold(OUTAGE).await;
    for connection in taken {
        let _ = connection.close().await;
    }
}
