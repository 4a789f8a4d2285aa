//! The composition root: what `main` and the tests both call.

use std::io::Write as _;

use anyhow::Context as _;
use chassis::postgres::{Postgres, PostgresUrl};
use chassis::process::Process;
use chassis::readiness::Readiness;
use chassis::redis::Redis;
use chassis::shutdown::Shutdown;
use proto::auth::v1::auth_service_server::AuthServiceServer;

use crate::audit::{self, Audit};
use crate::config::{Args, AuditCommand, MailArgs};
use crate::devices::Devices;
use crate::erasure::Erasure;
use crate::expiry;
use crate::grpc::AuthGrpc;
use crate::hasher::{self, Hasher};
use crate::mail::{self, Mail};
use crate::outbox::Outbox;
use crate::pepper::Peppers;
use crate::registration_keys::RegistrationKeys;
use crate::relay::Relay;
use crate::revocations::{self, Revocations};
use crate::service::AuthService;
use crate::session_clients::SessionClients;
use crate::sessions::{Lifetimes, Sessions};
use crate::user_cache::UserCache;
use crate::users::Users;

/// Runs the service until its process is told to end.
///
/// # Errors
/// Hashing threads that cannot be started, or a listener that cannot be used.
pub async fn serve(args: Args, peppers: Peppers, process: Process) -> anyhow::Result<()> {
    let Process { listener, shutdown, admin } = process;
    let state_url = args.state_redis_url.as_ref().unwrap_or(&args.redis_url);
    let state = Redis::open(state_url, "state", &shutdown);
    let events = Redis::open(state_url, "events", &shutdown);
    let cache = Redis::open(args.cache_redis_url.as_ref().unwrap_or(&args.redis_url), "cache", &shutdown);
    let postgres = Postgres::open(&args.database_url, "auth-svc", args.database_connections);
    shutdown.spawn_background(postgres.clone().first_answer());

    let readiness = Readiness::new(
        &shutdown,
        vec![
            (
                "state redis",
                Box::new({
                    let state = state.clone();
                    move || state.answered()
                }),
            ),
            (
                "cache redis",
                Box::new({
                    let cache = cache.clone();
                    move || cache.answered()
                }),
            ),
            (
                "postgres",
                Box::new({
                    let postgres = postgres.clone();
                    move || postgres.answered()
                }),
            ),
        ],
    );
    admin.open(readiness.clone());

    let lifetimes = Lifetimes { idle: args.sessions.idle(), absolute: args.sessions.absolute() };
    let users = Users::new(postgres.clone());
    let sessions = Sessions::new(state.clone(), lifetimes, args.sessions.sessions_per_user, &shutdown);
    let session_clients = SessionClients::new(postgres.clone());
    let audit = Audit::start(postgres.clone(), &shutdown);
    shutdown.spawn_background(audit::expire(postgres.clone(), args.audit_retention()));
    let devices = Devices::new(postgres.clone());
    let mail = open_mail(&args.mail, &postgres, &shutdown);
    let registration_keys = RegistrationKeys::new(postgres.clone());
    let revocations = Revocations::new(postgres.clone(), sessions.clone(), args.passwords.hash_deadline());
    let relay = Relay::new(Outbox::new(postgres.clone()), state, "account");
    shutdown.spawn_background(relay.clone().publish());
    shutdown.spawn_background(relay.clone().confirm(events));
    shutdown.spawn_background(revocations.clone().sweep());
    shutdown.spawn_background(revocations::clean(session_clients.clone(), lifetimes.absolute));
    shutdown.spawn_background(expiry::clean(devices.clone(), registration_keys.clone()));
    let service = AuthService {
        user_cache: UserCache::new(cache, "user", users.clone(), &shutdown),
        users,
        sessions,
        session_clients,
        revocations,
        audit,
        devices,
        mail,
        registration_keys,
        erasure: Erasure::new(postgres),
        relay,
        hasher: Hasher::start(hasher::Limits::from(&args.passwords), peppers)?,
        password_min_length: args.passwords.password_min_length,
    };
    let sampler = args.service.telemetry.sampler();
    let grpc = AuthGrpc::new(service, shutdown.clone());
    chassis::grpc::Server::new(proto::FILE_DESCRIPTOR_SET, sampler)
        .service(AuthServiceServer::new(grpc))
        .serve(listener, readiness, &shutdown)
        .await
}

/// The stores of mails, and the worker that sends them if it is known where to.
fn open_mail(args: &MailArgs, postgres: &Postgres, shutdown: &Shutdown) -> Mail {
    let queue = mail::Queue::new(postgres.clone());
    let tokens = mail::Tokens::new(postgres.clone());
    shutdown.spawn_background(mail::clean(queue.clone(), tokens.clone()));
    let sends = args.mail_url.is_some();
    if let Some(url) = args.mail_url.clone() {
        let from = args.mail_from.clone();
        let transport = mail::Transport::open(url, &from.email);
        let (links, lifetimes) = (args.links(), args.lifetimes());
        let worker = mail::Worker::new(queue.clone(), transport, from, links, lifetimes, shutdown.clone());
        shutdown.spawn(worker.run());
    } else {
        tracing::warn!(
            "no mail can be sent without --mail-url: password resets and e-mail verifications are refused"
        );
    }
    Mail { queue, tokens, sends }
}

/// Brings the database's schema up to date.
pub async fn migrate(url: &PostgresUrl) -> anyhow::Result<()> {
    Postgres::open(url, "auth-svc migrate", 1).migrate(&sqlx::migrate!()).await?;
    tracing::info!("the database is up to date");
    Ok(())
}

/// Checks the audit trail, or tells its head, on standard output.
///
/// # Errors
/// The trail is broken, or the database cannot be asked.
pub async fn audit(url: &PostgresUrl, command: AuditCommand) -> anyhow::Result<()> {
    let unasked = "the audit trail could not be read";
    let mut connection = url.connect("auth-svc audit").await.context(unasked)?;
    let line = match command {
        AuditCommand::Verify { head: kept } => {
            let verdict = audit::verify(&mut connection, &kept).await.context(unasked)?;
            let audit::Intact { head, erased } = verdict.context("the audit trail is broken")?;
            format!("the audit trail is intact: {} entries, {erased} of them erased; head {head}", head.seq)
        }
        AuditCommand::Head => {
            let head = audit::head(&mut connection).await.context(unasked)?;
            head.context("the audit trail is broken")?.to_string()
        }
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
