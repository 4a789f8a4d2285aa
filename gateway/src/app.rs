//! What every request may use: upstreams, limits and settings. Built once, in `serve`.

use std::ops::Deref;
use std::sync::Arc;

use chassis::readiness::Readiness;
use chassis::shutdown::Shutdown;
use chassis::telemetry::Sampler;

use crate::admission::Admission;
use crate::auth::Auth;
use crate::client_address::TrustedProxies;
use crate::config::Bounds;
use crate::cross_site::Origins;
use crate::limits::Limits;
use crate::observe::RouteDurations;
use crate::profiles::Profiles;

/// Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Services>);

/// Behind [`App`].
pub struct Services {
    pub admission: Admission,
    pub auth: Auth,
    pub profiles: Profiles,
    pub limits: Limits,
    pub settings: Settings,
    pub durations: RouteDurations,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
}

/// What does not change while the process runs.
pub struct Settings {
    pub bounds: Bounds,
    pub trusted_proxies: TrustedProxies,
    pub cors_origins: Origins,
    pub sampler: Sampler,
}

impl App {
    pub fn new(services: Services) -> Self {
        Self(Arc::new(services))
    }
}

impl Deref for App {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}
