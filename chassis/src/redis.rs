//! The connection to a Redis: one multiplexed link that is kept up in the background.
//!
//! Every call is bounded in time. While no link is up calls fail at once; a call never waits for a reconnect longer than
//! [`LINK_WAIT`]. A link that fails or stops answering is replaced, with jittered backoff. Commands on one link are answered in the
//! order in which they were sent.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo as _, Pipeline, ScriptInvocation};
use tokio::sync::{Notify, watch};

use crate::shutdown::Shutdown;

mod link;

pub use link::Link;

/// A call that has no answer by then counts as unanswered.
const CALL_TIMEOUT: Duration = Duration::from_millis(300);
/// How long a call waits for a link that is just being made.
const LINK_WAIT: Duration = Duration::from_millis(150);
/// How long making a link may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause between attempts to connect, doubled from the first to the second bound, with jitter.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often a link's clock is read. Clocks drift by microseconds in that time.
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// Where a Redis is: `redis://` or `rediss://`, as the redis crate reads it. Its `Debug` shows no password.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let info = text.into_connection_info().map_err(|error| error.to_string())?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(Self(info.set_tcp_settings(tcp)))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.0.addr())
    }
}

/// Redis gave no answer, or none that helps: away, too slow, loading, read-only, out of memory.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RedisAway {
    #[error("no connection to redis ({0})")]
    NotConnected(&'static str),
    #[error("redis ({0}) does not answer in time")]
    TimedOut(&'static str),
    #[error("redis ({0}) failed")]
    Failed(&'static str, #[source] Arc<redis::RedisError>),
}

/// One Redis, as one replica sees it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("role", &self.shared.role).finish_non_exhaustive()
    }
}

struct Shared {
    role: &'static str,
    state: watch::Sender<State>,
    retired: Notify,
    answered: AtomicBool,
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Link),
    Down,
}

impl Redis {
    /// Begins to connect, in the background: a service starts without its Redis. `role` names it in errors and metrics.
    pub fn open(url: &RedisUrl, role: &'static str, shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            role,
            state: watch::Sender::new(State::Connecting),
            retired: Notify::new(),
            answered: AtomicBool::new(false),
        });
        shutdown.spawn_background(keep_up(url.0.clone(), shared.clone()));
        Self { shared }
    }

    /// Whether it has answered at least once.
    pub fn answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// The link that is up, for calls that belong together: they reach one server process, in their order.
    pub async fn link(&self) -> Result<Link, RedisAway> {
        if let State::Up(link) = &*self.shared.state.borrow() {
            return Ok(link.clone());
        }
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        if let Ok(Ok(settled)) = tokio::time::timeout(LINK_WAIT, settled).await
            && let State::Up(link) = &*settled
        {
            return Ok(link.clone());
        }
        Err(RedisAway::NotConnected(self.shared.role))
    }

    /// Sends one command. `operation` names it in traces and metrics.
    pub async fn query<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &Cmd,
    ) -> Result<T, RedisAway> {
        self.link().await?.query(operation, command).await
    }

    /// Sends several commands at once.
    pub async fn pipeline<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, RedisAway> {
        self.link().await?.pipeline(operation, pipeline).await
    }

    /// Runs a script, which is loaded when the server does not know it.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        operation: &'static str,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, RedisAway> {
        self.link().await?.invoke(operation, script).await
    }
}

impl Shared {
    /// Takes a link out of use, once; its calls in flight go on.
    fn retire(&self, serial: u64) {
        let was_current = self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up(link) if link.serial() == serial);
            if current {
                *state = State::Connecting;
            }
            current
        });
        if was_current {
            self.retired.notify_one();
        }
    }
}

/// Keeps a link up for as long as the process runs.
async fn keep_up(info: ConnectionInfo, shared: Arc<Shared>) {
    let mut pause = RECONNECT_PAUSE.0;
    for serial in 1.. {
        match link::connect(&info, &shared, serial).await {
            Ok(link) => {
                if shared.answered.swap(true, Ordering::Relaxed) {
                    tracing::info!(role = shared.role, "redis is back");
                }
                pause = RECONNECT_PAUSE.0;
                shared.state.send_replace(State::Up(link.clone()));
                tend(&link, &shared.retired).await;
                metrics::counter!("redis_links_lost_total", "role" => shared.role).increment(1);
            }
            Err(cause) => {
                let was_down = matches!(shared.state.send_replace(State::Down), State::Down);
                if !was_down {
                    tracing::warn!(role = shared.role, cause = crate::status::cause_chain(&cause), "{cause}");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(RECONNECT_PAUSE.1);
            }
        }
    }
}

/// Asks for the time now and then until the link is retired: keeps the clock true, and notices a server that fell silent
/// while nobody else asked.
async fn tend(link: &Link, retired: &Notify) {
    let mut tick = tokio::time::interval(CLOCK_INTERVAL);
    tick.tick().await;
    loop {
        tokio::select! {
            () = retired.notified() => return,
            _ = tick.tick() => {
                // A failure has retired the link already.
                let _ = link.read_clock().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_password() {
        let url: RedisUrl = "redis://user:hush@127.0.0.1:6379/0".parse().unwrap();
        let shown = format!("{url:?}");
        assert!(shown.contains("127.0.0.1:6379") && !shown.contains("hush"), "{shown}");
        assert!("http://127.0.0.1".parse::<RedisUrl>().is_err());
    }

    #[tokio::test]
    async fn a_call_without_a_server_fails_at_once_and_not_after_the_reconnects() {
        let shutdown = Shutdown::new();
        let closed_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let redis = Redis::open(&format!("redis://{closed_port}").parse().unwrap(), "test", &shutdown);
        let ping = redis::cmd("PING");
        let outcome = tokio::time::timeout(Duration::from_secs(10), redis.query::<String>("PING", &ping));
        assert!(matches!(outcome.await, Ok(Err(RedisAway::NotConnected("test")))));
        assert!(!redis.answered());
        shutdown.begin(Duration::ZERO).await;
        assert!(shutdown.finished(Duration::from_secs(10)).await);
    }
}
