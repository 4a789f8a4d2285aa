//! Forgets what has outlived its use, in the background.

use std::time::Duration;

use crate::devices::Devices;

/// How often a replica looks, give or take a half.
const INTERVAL: Duration = Duration::from_secs(600);

/// Cleans for as long as the process runs.
pub async fn clean(devices: Devices) {
    loop {
        tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
        if let Err(error) = devices.forget_expired().await {
            tracing::debug!("what has expired is kept for now: {error}");
        }
    }
}
