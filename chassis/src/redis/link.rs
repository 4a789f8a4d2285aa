//! One connection to one server process.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError,
    RedisResult, ServerErrorKind,
};

use super::keeper::Shared;
use super::script::Invocation;
use super::{CALL_TIMEOUT, CONNECT_TIMEOUT, RedisAway, replication};
use crate::trace::{Kind, Span};

/// A connection to one server process, and which process that is. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    connection: MultiplexedConnection,
    identity: Arc<Identity>,
}

struct Identity {
    term: String,
    /// Replicas without which the server refuses writes. `None`: it has none, for all we care.
    replicas_required: Option<u32>,
    server: ConnectionInfo,
    connected: Instant,
    /// The server's clock in milliseconds since 1970 at the moment of `connected`.
    server_time_ms: AtomicI64,
    role: &'static str,
    serial: u64,
    shared: Weak<Shared>,
}

/// What can be sent.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Pipeline(&'a Pipeline),
    Script(&'a Invocation<'a>),
}

/// Connects, without asking anything.
pub(super) async fn dial(server: &ConnectionInfo) -> RedisResult<MultiplexedConnection> {
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
    Client::open(server.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

/// Connects, and asks the server who it is.
pub(super) async fn connect(
    server: &ConnectionInfo,
    shared: &Arc<Shared>,
    serial: u64,
) -> Result<Link, RedisAway> {
    let role = shared.deployment.role;
    let attempt = async {
        let mut connection = dial(server).await?;
        let mut info = redis::cmd("INFO");
        info.arg("server");
        if shared.deployment.replicated {
            info.arg("replication");
        }
        let info: String = info.query_async(&mut connection).await?;
        // A server that still loads its file refuses this.
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        let (term, replicas_required) = if shared.deployment.replicated {
            let required = replication::replicas_required(&mut connection, &info, &shared.deployment).await;
            (replication::term(&info)?, Some(required))
        } else {
            (replication::field(&info, "run_id").unwrap_or_default(), None)
        };
        if term.is_empty() {
            // What is cached is kept apart by it; without it an old process's entries would pass for this one's.
            return Err((ErrorKind::Client, "the server does not tell its run_id").into());
        }
        let identity = Arc::new(Identity {
            term: term.to_owned(),
            replicas_required,
            server: server.clone(),
            connected: Instant::now(),
            server_time_ms: AtomicI64::new(0),
            role,
            serial,
            shared: Arc::downgrade(shared),
        });
        Ok::<_, RedisError>(Link { connection, identity })
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(Ok(link)) => link.read_clock().await.map(|()| link),
        Ok(Err(cause)) => Err(RedisAway::Failed(role, Arc::new(cause))),
        Err(_) => Err(RedisAway::TimedOut(role)),
    }
}

impl Link {
    /// Names the server process, and where there are replicas the time for which it is master: another one after every restart and
    /// every failover.
    pub fn term(&self) -> &str {
        &self.identity.term
    }

    /// Whether the server refuses writes, and scripts that may write, as soon as it is cut off from its replicas.
    pub fn refuses_when_isolated(&self) -> bool {
        self.identity.replicas_required.is_some_and(|required| required > 0)
    }

    /// The server's clock, in milliseconds since 1970: read every few seconds, and carried on by a clock that nobody sets.
    pub fn server_time_ms(&self) -> i64 {
        let elapsed = self.identity.connected.elapsed().as_millis() as i64;
        self.identity.server_time_ms.load(Ordering::Relaxed) + elapsed
    }

    pub(super) async fn read_clock(&self) -> Result<(), RedisAway> {
        let (seconds, micros): (i64, i64) = self.query("clock", &redis::cmd("TIME")).await?;
        let elapsed = self.identity.connected.elapsed().as_millis() as i64;
        self.identity.server_time_ms.store(seconds * 1000 + micros / 1000 - elapsed, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn serial(&self) -> u64 {
        self.identity.serial
    }

    pub(super) fn role(&self) -> &'static str {
        self.identity.role
    }

    pub(super) fn server(&self) -> &ConnectionInfo {
        &self.identity.server
    }

    pub(super) fn replicas_required(&self) -> u32 {
        self.identity.replicas_required.unwrap_or_default()
    }

    /// Sends one command.
    pub async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, RedisAway> {
        let mut connection = self.connection.clone();
        self.bounded(operation, command.query_async(&mut connection)).await
    }

    /// Sends several commands at once.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, RedisAway> {
        let mut connection = self.connection.clone();
        self.bounded(operation, pipeline.query_async(&mut connection)).await
    }

    /// Runs a script, which is loaded when the server does not know it.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &Invocation<'_>,
    ) -> Result<T, RedisAway> {
        let mut connection = self.connection.clone();
        let call = async {
            match script.command().query_async(&mut connection).await {
                Err(error) if is_unknown_script(&error) => {
                    let mut pipeline = redis::pipe();
                    pipeline.add_command(script.load()).ignore().add_command(script.command().clone());
                    let (outcome,) = pipeline.query_async(&mut connection).await?;
                    Ok(outcome)
                }
                outcome => outcome,
            }
        };
        self.bounded(operation, call).await
    }

    pub(super) async fn send<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, RedisAway> {
        match request {
            Request::Command(command) => self.query(operation, command).await,
            Request::Pipeline(pipeline) => self.pipeline(operation, pipeline).await,
            Request::Script(script) => self.invoke(operation, script).await,
        }
    }

    /// The same on a server that is about to take the key's slot over, and serves it only to who asks.
    pub(super) async fn send_asking<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
    ) -> Result<T, RedisAway> {
        let mut pipeline = redis::pipe();
        match request {
            Request::Command(command) => {
                pipeline.cmd("ASKING").ignore().add_command(command.clone());
            }
            Request::Script(script) => {
                pipeline.add_command(script.load()).ignore();
                pipeline.cmd("ASKING").ignore().add_command(script.command().clone());
            }
            // It would have to ask before each of its commands, and cannot within a transaction.
            Request::Pipeline(_) => return Err(RedisAway::NotConnected(self.role())),
        }
        let (outcome,) = self.pipeline(operation, &pipeline).await?;
        Ok(outcome)
    }

    async fn bounded<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, RedisAway> {
        let mut span = Span::begin(Kind::Client, operation);
        span.set("db.system.name", "redis")
            .set("db.operation.name", operation)
            .set("db.namespace", self.identity.role);
        match within(CALL_TIMEOUT, call).await {
            Some(Ok(value)) => Ok(value),
            Some(Err(cause)) => {
                span.fail();
                self.count_failure(operation);
                if ends_link(&cause) {
                    self.retire();
                }
                Err(RedisAway::Failed(self.identity.role, Arc::new(cause)))
            }
            None => {
                span.fail();
                self.count_failure(operation);
                self.retire();
                Err(RedisAway::TimedOut(self.identity.role))
            }
        }
    }

    /// Takes the link out of use; the next one may lead to another server.
    pub(super) fn retire(&self) {
        if let Some(shared) = self.identity.shared.upgrade() {
            shared.retire(self.serial());
        }
    }

    fn count_failure(&self, operation: &'static str) {
        metrics::counter!("redis_failures_total", "role" => self.identity.role, "operation" => operation)
            .increment(1);
    }
}

/// How long a call that has run out of time may still find an answer that has arrived already.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// `None` when there is no answer in time. When this process was stopped or starved, its timers fire before it has read what came in
/// meanwhile: hence a last look.
async fn within<F: Future>(limit: Duration, call: F) -> Option<F::Output> {
    let mut call = std::pin::pin!(call);
    if let Ok(outcome) = tokio::time::timeout(limit, call.as_mut()).await {
        return Some(outcome);
    }
    tokio::time::timeout(LAST_LOOK, call).await.ok()
}

/// Whether another connection could do better: this one is broken, or leads to a server that may not serve.
fn ends_link(cause: &RedisError) -> bool {
    cause.is_unrecoverable_error()
        || cause.is_io_error()
        || matches!(
            cause.kind(),
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown
            )
        )
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
