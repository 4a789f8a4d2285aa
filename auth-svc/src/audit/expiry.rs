//! Takes the personal fields from entries that are old, in the background. The entries themselves stay, and so does the chain.

use std::time::Duration;

use chassis::postgres::Postgres;

/// How often a replica looks, give or take a half.
const INTERVAL: Duration = Duration::from_secs(600);
/// Entries at a time: nobody can add one meanwhile.
pub(super) const BATCH: i64 = 500;

/// Goes on for as long as the process runs.
pub async fn expire(postgres: Postgres, age: Duration) {
    loop {
        tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
        loop {
            match expire_some(&postgres, age).await {
                Ok(BATCH..) => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!("old audit entries keep their fields for now: {error}");
                    break;
                }
            }
        }
    }
}

/// Tells how many entries it went through: a whole batch when there may be more.
pub(super) async fn expire_some(postgres: &Postgres, age: Duration) -> sqlx::Result<i64> {
    let seconds = age.as_secs_f64();
    let expired = postgres.run("audit.expire", async |connection| {
        sqlx::query_scalar!(
            r#"SELECT audit_expire(make_interval(secs => $1), $2) AS "through!""#,
            seconds,
            BATCH
        )
        .fetch_one(connection)
        .await
    });
    expired.await
}
