//! The client side of one service: its replicas, the picker among them, and the policy of deadlines and retries.
//!
//! An [`Upstream`] keeps one HTTP/2 connection per replica. Each call goes to the better of two replicas chosen at random.
//! A replica that is lost, hangs or drains is out until a fresh connection to it answers a health check; failures of the
//! transport alone count, for a status is an answer, whatever it says. When every replica is away a call fails at once, and the
//! search for them goes on in the background.
//!
//! Unary calls go through generated clients, for which an `Upstream` is the transport:
//!
//! ```text
//! let auth = Upstream::open("auth-svc", args.auth_endpoints, Settings::default(), &shutdown);
//! let mut users = AuthServiceClient::new(auth.clone());
//! let validate = auth.call_stream::<ValidateSessionRequest, ValidateSessionResponse>(
//!     "/sallyport.auth.v1.AuthService/ValidateSessionStream",
//! );
//! ```
//!
//! Calls that are made all the time go through [call streams](crate::call_stream), which cost a fraction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::{CancellationToken, DropGuard};
use tower::retry::budget::TpsBudget;

use crate::rpc::CallDurations;
use crate::shutdown::Shutdown;

pub(crate) mod attempts;
pub(crate) mod connection;
mod endpoints;
mod failure;
mod keeper;
pub(crate) mod observe;
mod pool;
mod resolver;
mod socket;
mod unary;

#[cfg(test)]
pub(crate) mod tests;

pub use endpoints::{Address, Endpoints, InvalidEndpoints};
pub use failure::DOMAIN;
pub(crate) use failure::Failure;

/// How an upstream is called. The defaults suit services on one network.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For a unary call that brings no `grpc-timeout` of its own.
    pub deadline: Duration,
    /// After this long, or half of the deadline, an idempotent call is tried on another replica if there is one.
    pub attempt_timeout: Duration,
    /// Paths of the unary methods that may be carried out twice, such as `/sallyport.auth.v1.AuthService/GetUser`.
    pub idempotent: &'static [&'static str],
    /// For a TCP connection.
    pub connect_timeout: Duration,
    /// For the first answer on a new connection.
    pub probe_timeout: Duration,
    /// When nothing at all has come for this long while calls are in flight, the replica is asked for a sign of life...
    pub silence: Duration,
    /// ...and given up after this long without one.
    pub liveness_timeout: Duration,
    /// Between HTTP/2 pings, which notice a dead connection without calls.
    pub keep_alive_interval: Duration,
    /// For the answer to an HTTP/2 ping.
    pub keep_alive_timeout: Duration,
    /// How long a new replica takes to get its full share.
    pub slow_start: Duration,
    /// Calls in flight on one call stream; what comes on top is refused at once.
    pub max_in_flight: usize,
    /// Between resolutions of a `dns:///` name.
    pub resolve_interval: Duration,
    /// For one such resolution.
    pub resolve_timeout: Duration,
    /// Retries allowed per second however few calls there are; a fifth of the calls on top.
    pub min_retries_per_second: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(1),
            idempotent: &[],
            connect_timeout: Duration::from_millis(300),
            probe_timeout: Duration::from_secs(1),
            silence: Duration::from_millis(200),
            liveness_timeout: Duration::from_millis(300),
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(2),
            slow_start: Duration::from_secs(2),
            max_in_flight: 1024,
            resolve_interval: Duration::from_secs(3),
            resolve_timeout: Duration::from_secs(2),
            min_retries_per_second: 50,
        }
    }
}

/// One service, however many replicas it has. Clones share everything.
///
/// The search for replicas ends when the process stops or the last clone is dropped. Connections live as long as a clone
/// does, so that requests in flight during a shutdown get their answers.
#[derive(Clone)]
pub struct Upstream {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Arc<pool::Pool>,
    counters: observe::AttemptCounters,
    budget: TpsBudget,
    methods: Mutex<HashMap<String, Arc<CallDurations>>>,
    _owner: DropGuard,
}

impl Upstream {
    /// Begins to look for the replicas. Never fails: until one has been reached calls wait a moment, then fail.
    ///
    /// `name` is what metrics, logs and errors call this upstream.
    pub fn open(name: &'static str, endpoints: Endpoints, settings: Settings, shutdown: &Shutdown) -> Self {
        Self::open_with(name, endpoints, settings, resolver::system(), shutdown)
    }

    fn open_with(
        name: &'static str,
        endpoints: Endpoints,
        settings: Settings,
        resolve: resolver::Resolve,
        shutdown: &Shutdown,
    ) -> Self {
        let owner = CancellationToken::new();
        let budget = TpsBudget::new(Duration::from_secs(10), settings.min_retries_per_second, 0.2);
        let pool = Arc::new(pool::Pool::new(name, settings));
        resolver::start(&pool, endpoints, resolve, owner.clone(), shutdown);
        let counters = observe::AttemptCounters::new(name);
        let inner = Inner { pool, counters, budget, methods: Mutex::default(), _owner: owner.drop_guard() };
        Self { inner: Arc::new(inner) }
    }

    pub fn name(&self) -> &'static str {
        self.inner.pool.name
    }

    /// Whether any replica has answered since this was opened: what readiness waits for.
    pub fn answered(&self) -> bool {
        self.inner.pool.has_answered()
    }

    /// Waits for the first answer.
    pub async fn until_answered(&self) {
        self.inner.pool.until_answered().await;
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.pool.settings
    }
}
