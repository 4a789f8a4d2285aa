//! The composition root: what `main` and the tests both call.

use chassis::postgres::{Postgres, PostgresUrl};
use chassis::process::Process;
use chassis::readiness::Readiness;
use chassis::redis::Redis;
use proto::profile::v1::profile_service_server::ProfileServiceServer;

use crate::cache::{self, ProfileCache};
use crate::config::Args;
use crate::erasure::Erasure;
use crate::events;
use crate::grpc::ProfileGrpc;
use crate::profiles::Profiles;
use crate::service::ProfileService;

/// Runs the service until its process is told to end.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(args: Args, process: Process) -> anyhow::Result<()> {
    let Process { listener, shutdown, admin } = process;
    let redis = Redis::open(args.cache_redis_url.as_ref().unwrap_or(&args.redis_url), "cache", &shutdown);
    let events_redis =
        Redis::open(args.state_redis_url.as_ref().unwrap_or(&args.redis_url), "events", &shutdown);
    let postgres = Postgres::open(&args.database_url, "profile-svc", args.database_connections);
    shutdown.spawn_background(postgres.clone().first_answer());

    let (redis_check, postgres_check) = (redis.clone(), postgres.clone());
    let readiness = Readiness::new(
        &shutdown,
        vec![
            ("cache redis", Box::new(move || redis_check.answered())),
            ("postgres", Box::new(move || postgres_check.answered())),
        ],
    );
    admin.open(readiness.clone());

    let erasure = Erasure::new(postgres.clone());
    shutdown.spawn_background(erasure.clone().clean());
    let profiles = Profiles::new(postgres);
    let lifetime = cache::Lifetime { namespace: String::new(), ttl: args.cache_ttl() };
    let cache = ProfileCache::new(&redis, &lifetime, profiles.clone(), &shutdown);
    let service = ProfileService::new(profiles, cache, erasure);
    shutdown.spawn_background(events::consume(service.clone(), events_redis, "account"));
    let grpc = ProfileGrpc::new(service, shutdown.clone());
    chassis::grpc::Server::new(proto::FILE_DESCRIPTOR_SET, args.service.telemetry.sampler())
        .service(ProfileServiceServer::new(grpc))
        .serve(listener, readiness, &shutdown)
        .await
}

/// Brings the database's schema up to date.
pub async fn migrate(url: &PostgresUrl) -> anyhow::Result<()> {
    Postgres::open(url, "profile-svc migrate", 1).migrate(&sqlx::migrate!()).await?;
    tracing::info!("the database is up to date");
    Ok(())
}
