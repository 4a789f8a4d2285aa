//! Keeps one link up: to a server at a fixed address, or to whichever server the Sentinels call the master.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{ConnectionInfo, FromRedisValue};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::link::{self, Link, Request};
use super::replication::{self, Deployment, Writers};
use super::sentinel::Sentinels;
use super::{LINK_WAIT, RedisAway};
use crate::shutdown::Shutdown;

/// Pause between attempts to connect, doubled from the first to the second bound, with jitter.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// How often a link's clock is read. Clocks drift by microseconds in that time.
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);
/// How often a server that may be replaced is asked whether it still is the master. Shorter than any failover, so that no link lives
/// through one unnoticed.
const TERM_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps one link up for as long as any clone of it lives.
#[derive(Clone)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

/// Where the server is.
pub(super) enum Source {
    Fixed(Box<ConnectionInfo>),
    Sentinels(Arc<Sentinels>),
}

pub(super) struct Shared {
    pub(super) deployment: Arc<Deployment>,
    state: watch::Sender<State>,
    retired: Notify,
    answered: AtomicBool,
    writers: Writers,
    /// Those who say whom a write has to reach.
    pub(super) sentinels: Option<Arc<Sentinels>>,
}

#[derive(Clone)]
enum State {
    Connecting,
    Up(Link),
    Down,
}

impl Keeper {
    /// Begins to connect, in the background.
    pub fn start(source: Source, deployment: &Arc<Deployment>, shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            deployment: deployment.clone(),
            state: watch::Sender::new(State::Connecting),
            retired: Notify::new(),
            answered: AtomicBool::new(false),
            writers: Writers::default(),
            sentinels: match &source {
                Source::Fixed(_) => None,
                Source::Sentinels(sentinels) => Some(sentinels.clone()),
            },
        });
        let stop = CancellationToken::new();
        let task = stop.clone().run_until_cancelled_owned(keep_up(source, shared.clone()));
        shutdown.spawn_background(async move {
            task.await;
        });
        Self { shared, _stop: Arc::new(stop.drop_guard()) }
    }

    /// Whether the server has answered at least once.
    pub fn answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// The link, if it is up at this moment.
    pub fn link_now(&self) -> Option<Link> {
        match &*self.shared.state.borrow() {
            State::Up(link) => Some(link.clone()),
            _ => None,
        }
    }

    pub async fn link(&self) -> Result<Link, RedisAway> {
        if let Some(link) = self.link_now() {
            return Ok(link);
        }
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting));
        if let Ok(Ok(settled)) = tokio::time::timeout(LINK_WAIT, settled).await
            && let State::Up(link) = &*settled
        {
            return Ok(link.clone());
        }
        Err(RedisAway::NotConnected(self.shared.deployment.role))
    }

    /// Sends a request, and returns when all replicas have what it did.
    pub async fn write_replicated<T: FromRedisValue>(
        &self,
        operation: &'static str,
        request: Request<'_>,
        asking: bool,
    ) -> Result<T, RedisAway> {
        let link = self.link().await?;
        self.shared.writers.write(&self.shared, &link, operation, request, asking).await
    }
}

impl Shared {
    /// Takes a link out of use, once; its calls in flight go on.
    pub(super) fn retire(&self, serial: u64) {
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

/// Keeps a link up for as long as it is polled.
async fn keep_up(source: Source, shared: Arc<Shared>) {
    let role = shared.deployment.role;
    let mut pause = RECONNECT_PAUSE.0;
    for serial in 1.. {
        match connect(&source, &shared, serial).await {
            Ok(link) => {
                if shared.answered.swap(true, Ordering::Relaxed) {
                    tracing::info!(role, server = %link.server().addr(), "redis is back");
                }
                pause = RECONNECT_PAUSE.0;
                shared.state.send_replace(State::Up(link.clone()));
                tend(&link, &source, &shared).await;
                metrics::counter!("redis_links_lost_total", "role" => role).increment(1);
            }
            Err(cause) => {
                let was_down = matches!(shared.state.send_replace(State::Down), State::Down);
                if !was_down {
                    tracing::warn!(role, cause = crate::status::cause_chain(&cause), "{cause}");
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause = (pause * 2).min(RECONNECT_PAUSE.1);
            }
        }
    }
}

async fn connect(source: &Source, shared: &Arc<Shared>, serial: u64) -> Result<Link, RedisAway> {
    match source {
        Source::Fixed(server) => link::connect(server, shared, serial).await,
        Source::Sentinels(sentinels) => {
            let master = sentinels.master().await.ok_or(RedisAway::NoMaster(shared.deployment.role))?;
            link::connect(&master, shared, serial).await
        }
    }
}

/// Asks for the time now and then until the link is retired: keeps the clock true, and notices a server that fell silent
/// while nobody else asked. Where servers replace each other it also asks whether this one is still the right one.
async fn tend(link: &Link, source: &Source, shared: &Shared) {
    let replicated = shared.deployment.replicated;
    let mut tick = tokio::time::interval(if replicated { TERM_INTERVAL } else { CLOCK_INTERVAL });
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    let retired = shared.retired.notified();
    let ticking = async {
        loop {
            tick.tick().await;
            // A failure has retired the link already.
            let _ = link.read_clock().await;
            if replicated {
                let _ = replication::check(link).await;
            }
            if let Source::Sentinels(sentinels) = source
                && let Some(master) = sentinels.master().await
                && master.addr() != link.server().addr()
            {
                link.retire();
            }
        }
    };
    tokio::select! {
        () = retired => {}
        () = ticking => {}
    }
}
