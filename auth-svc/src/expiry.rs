//! Forgets what has outlived its use, in the background.

use std::time::Duration;

use crate::devices::Devices;
use crate::registration_keys::RegistrationKeys;

/// How often a replica looks, give or take a half.
const INTERVAL: Duration = Duration::from_secs(600);

/// Cleans for as long as the process runs.
pub async fn clean(devices: Devices, registration_keys: RegistrationKeys) {
    loop {
        tokio::time::sleep(INTERVAL.mul_f64(0.5 + fastrand::f64())).await;
        let cleaned = async {
            devices.forget_expired().await?;
            registration_keys.forget_expired().await
        };
        if let Err(error) = cleaned.await {
            tracing::debug!("what has expired is kept for now: {error}");
        }
    }
}
