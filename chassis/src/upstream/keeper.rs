//! Keeps one replica connected: opens its connection, watches over it, and opens the next one when it ends.
//!
//! This is also how a replica is ejected and comes back: one that is lost, hangs or drains is out of the roster until a fresh
//! connection to it answers a health check. Only failures of the transport count; what a replica answers is its own affair.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, sleep};

use super::Settings;
use super::connection::Connection;
use super::endpoints::Address;
use super::pool::{Pool, State};
use crate::status::cause_chain;

/// Between attempts to reach a replica, so that its return is seen well within a drain delay.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// A replica that loses its connections this soon after it came is kept out for longer and longer.
const STABLE_AFTER: Duration = Duration::from_secs(2);
const FIRST_EJECTION: Duration = Duration::from_millis(250);
const LONGEST_EJECTION: Duration = Duration::from_secs(5);

/// Why a connection is no longer of use.
enum End {
    Closed,
    Draining,
    Silent,
}

/// Runs until it is dropped.
pub(super) async fn keep(pool: Arc<Pool>, address: Address) {
    let mut pause = FIRST_PAUSE;
    let mut relapses = 0;
    let mut reachable = true;
    loop {
        match Connection::open(&address, &pool.settings).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                reachable = true;
                if connection.serving() {
                    pool.set_answered();
                    pause = FIRST_PAUSE;
                    let ejection = serve_and_eject(&pool, connection, &mut relapses).await;
                    sleep(ejection).await;
                    continue;
                }
                pool.set(&address, State::Draining(connection));
            }
            Err(error) => {
                if std::mem::take(&mut reachable) {
                    let cause = format!("{error} ({})", cause_chain(&error));
                    tracing::warn!(upstream = pool.name, replica = %address, cause, "a replica is away");
                }
                pool.set_unreachable(&address);
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Has the connection serve for as long as it can. Returns how long to keep the replica out before it is tried again.
async fn serve_and_eject(pool: &Pool, connection: Arc<Connection>, relapses: &mut u32) -> Duration {
    let address = connection.address().clone();
    let since = Instant::now();
    tracing::info!(upstream = pool.name, replica = %address, "a replica serves");
    pool.set(&address, State::Ready(connection.clone()));
    let end = watch(&connection, &pool.settings).await;
    if matches!(end, End::Draining) {
        tracing::info!(upstream = pool.name, replica = %address, "a replica drains");
        pool.set(&address, State::Draining(connection));
        return jittered(FIRST_PAUSE);
    }
    *relapses = if since.elapsed() < STABLE_AFTER { *relapses + 1 } else { 0 };
    let ejection = match *relapses {
        0 => Duration::ZERO,
        count => jittered((FIRST_EJECTION * 2_u32.saturating_pow(count - 1)).min(LONGEST_EJECTION)),
    };
    // A connection that has just ended may be back at once: a call without any other replica waits for that. A replica that
    // hangs or relapses is not worth the wait.
    let hangs = matches!(end, End::Silent);
    pool.set(&address, if hangs || *relapses > 0 { State::Away } else { State::Connecting });
    connection.give_up();
    let cause = if hangs { "it does not answer" } else { "its connection ended" };
    tracing::warn!(upstream = pool.name, replica = %address, cause, "a replica is lost");
    ejection
}

/// Ends when the connection does, when the replica drains, and when it does not answer although calls are in flight.
async fn watch(connection: &Connection, settings: &Settings) -> End {
    let signals = connection.signals();
    let mut tick = tokio::time::interval(settings.silence / 2);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut heard, mut since) = (signals.heard(), Instant::now());
    loop {
        tokio::select! {
            biased;
            () = connection.closed().cancelled() => return End::Closed,
            () = signals.draining().cancelled() => return End::Draining,
            _ = tick.tick() => {}
        }
        if connection.in_flight() == 0 || signals.heard() != heard {
            (heard, since) = (signals.heard(), Instant::now());
        } else if since.elapsed() >= settings.silence {
            if !is_alive(connection, heard, settings).await {
                return if connection.closed().is_cancelled() { End::Closed } else { End::Silent };
            }
            (heard, since) = (signals.heard(), Instant::now());
        }
    }
}

/// Whether anything at all comes from a replica that has been silent since `heard`. A slow handler is no reason to give a
/// replica up; a process that is stopped, or a network that swallows packets, is.
async fn is_alive(connection: &Connection, heard: u64, settings: &Settings) -> bool {
    if connection.is_serving(settings.liveness_timeout).await.is_some() {
        return true;
    }
    // If it was this process that stood still, the answers are waiting to be read.
    sleep(Duration::from_millis(20)).await;
    connection.signals().heard() != heard
}

/// From half of a duration to all of it, so that the clients of a replica do not come back in step.
pub(super) fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.5 + fastrand::f64() / 2.0)
}
