//! The composition root: builds what the routes need, and serves until told to end. `main` and the tests both come in here.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::bulkhead::Refusals;
use chassis::http::Limits as ConnectionLimits;
use chassis::process::Process;
use chassis::readiness::Readiness;
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;

use crate::admission::Admission;
use crate::app::{App, Services, Settings};
use crate::auth::Auth;
use crate::config::{Args, Switch};
use crate::limits::Limits;
use crate::observe::RouteDurations;
use crate::profiles::Profiles;
use crate::router::router;

/// How long a gateway that has just started waits for the Redis of its limits. It serves without as well.
const REDIS_GRACE: Duration = Duration::from_secs(2);

/// Serves until the shutdown stops; requests in flight then end on their own, tracked by the shutdown.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(args: Args, process: Process) -> anyhow::Result<()> {
    let Process { listener, shutdown, admin } = process;
    let app = build(&args, &shutdown);
    admin.open(app.readiness.clone());
    let limits =
        ConnectionLimits { header_read_timeout: args.bounds.header_timeout(), ..ConnectionLimits::default() };
    chassis::http::serve(listener, router(app), limits, &shutdown)
        .await
        .context("the listener cannot be used")
}

/// Connects to everything, in the background: a gateway starts, and answers 503, without its upstreams.
fn build(args: &Args, shutdown: &Shutdown) -> App {
    let refusals = Refusals::default();
    let auth = Auth::open(args.auth_endpoints.clone(), &args.bounds, &refusals, shutdown);
    let profiles = Profiles::open(args.profile_endpoints.clone(), &args.bounds, &refusals, shutdown);
    let mut checks: Vec<(_, Box<dyn Fn() -> bool + Send + Sync>)> =
        vec![("auth-svc", Box::new(auth.has_answered())), ("profile-svc", Box::new(profiles.has_answered()))];
    let counting = args.limits.rate_limits == Switch::On;
    let cache = counting.then(|| Redis::open(args.cache_redis_url(), "cache", shutdown));
    if let Some(cache) = &cache {
        checks.push(("redis", Box::new(had_its_chance(cache))));
    }
    let readiness = Readiness::new(shutdown, checks);
    App::new(Services {
        admission: Admission::new(&args.bounds, &refusals),
        auth,
        profiles,
        limits: Limits::new(&args.limits, cache),
        settings: Settings {
            bounds: args.bounds.clone(),
            trusted_proxies: args.trusted_proxies.clone(),
            cors_origins: args.cors_origins.clone(),
            sampler: args.service.telemetry.sampler(),
        },
        durations: RouteDurations::default(),
        readiness,
        shutdown: shutdown.clone(),
    })
}

fn had_its_chance(redis: &Redis) -> impl Fn() -> bool + Send + Sync + 'static {
    let (redis, opened) = (redis.clone(), Instant::now());
    move || redis.answered() || opened.elapsed() > REDIS_GRACE
}
