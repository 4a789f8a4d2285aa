//! The replicas of one upstream and the picker among them.
//!
//! Calls read one immutable roster without a lock. Whoever watches a replica tells the pool what it has become, and the pool
//! swaps the roster. The pool opens no connection and sends nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::connection::{Connection, Lease};
use super::endpoints::Address;
use super::observe::ReplicaGauges;

pub(crate) struct Pool {
    pub(super) name: &'static str,
    pub(super) settings: Settings,
    roster: ArcSwap<Roster>,
    members: Mutex<Vec<Member>>,
    changed: Notify,
    /// Set once the first resolution of the endpoints has ended, whatever came of it.
    resolved: AtomicBool,
    answered: AtomicBool,
    gauges: ReplicaGauges,
}

/// What the picker sees: the live connections, and the replicas that may have one in a moment.
#[derive(Default)]
struct Roster {
    ready: Vec<Arc<Connection>>,
    draining: Vec<Arc<Connection>>,
    connecting: Vec<Address>,
}

struct Member {
    address: Address,
    state: State,
    retired: CancellationToken,
}

/// What a replica is to its callers.
pub(super) enum State {
    /// Nothing is known yet, or its connection has just ended: a call may wait for it.
    Connecting,
    Ready(Arc<Connection>),
    /// It asked for no new work, or does not serve yet: it gets calls only when no other replica could.
    Draining(Arc<Connection>),
    /// It could not be reached: no call waits for it.
    Away,
}

/// No replica can take a call.
#[derive(Debug)]
pub(crate) struct NoReplica;

impl Pool {
    pub(super) fn new(name: &'static str, settings: Settings) -> Self {
        Self {
            name,
            settings,
            roster: ArcSwap::default(),
            members: Mutex::default(),
            changed: Notify::new(),
            resolved: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            gauges: ReplicaGauges::new(name),
        }
    }

    /// Takes a place on the better of two replicas chosen at random, or on one that drains when there is no other.
    pub(crate) fn pick(&self, except: Option<&Address>) -> Option<Lease> {
        let roster = self.roster.load();
        let slow_start = self.settings.slow_start;
        choose(&roster.ready, except, slow_start)
            .or_else(|| {
                choose(&roster.draining, except, slow_start).filter(|one| !one.closed().is_cancelled())
            })
            .map(|connection| Lease::new(connection.clone(), roster.ready.len() > 1))
    }

    /// As [`Self::pick`]; waits while that is a matter of a connection about to be made, and not when every replica is known
    /// to be away.
    pub(crate) async fn acquire(
        &self,
        except: Option<&Address>,
        deadline: Instant,
    ) -> Result<Lease, NoReplica> {
        let patience = Instant::now() + self.settings.connect_timeout + self.settings.probe_timeout;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(lease) = self.pick(except) {
                return Ok(lease);
            }
            let hope = !self.resolved.load(Ordering::Acquire)
                || self.roster.load().connecting.iter().any(|address| Some(address) != except);
            if !hope || timeout_at(deadline.min(patience), changed).await.is_err() {
                return Err(NoReplica);
            }
        }
    }

    /// Notes what a replica has become. A replica that has been retired meanwhile stays so.
    pub(super) fn set(&self, address: &Address, state: State) {
        let mut members = self.lock();
        if let Some(member) = members.iter_mut().find(|member| member.address == *address) {
            member.state = state;
        }
        self.publish(members);
    }

    /// Notes that a replica could not be reached; one that drains stays of use while its old connection lives.
    pub(super) fn set_unreachable(&self, address: &Address) {
        let mut members = self.lock();
        if let Some(member) = members.iter_mut().find(|member| member.address == *address) {
            let still_drains = matches!(&member.state, State::Draining(old) if !old.closed().is_cancelled());
            if !still_drains {
                member.state = State::Away;
            }
        }
        self.publish(members);
    }

    /// Replaces the set of addresses; the replicas that stay keep their connections. Returns the new ones, each with the token
    /// that tells when it is no longer one. The calls of those that left end as they can.
    pub(super) fn set_addresses(&self, addresses: &[Address]) -> Vec<(Address, CancellationToken)> {
        let mut members = self.lock();
        members.retain(|member| {
            let stays = addresses.contains(&member.address);
            if !stays {
                member.retired.cancel();
            }
            stays
        });
        let mut added = Vec::new();
        for address in addresses {
            if !members.iter().any(|member| member.address == *address) {
                let retired = CancellationToken::new();
                added.push((address.clone(), retired.clone()));
                members.push(Member { address: address.clone(), state: State::Connecting, retired });
            }
        }
        self.publish(members);
        added
    }

    /// To be called after the first resolution: from then on an empty set of replicas is worth no wait.
    pub(super) fn set_resolved(&self) {
        self.resolved.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn set_answered(&self) {
        self.answered.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Acquire)
    }

    pub(super) async fn until_answered(&self) {
        self.until(Self::has_answered).await;
    }

    /// Waits until some replica is away: a reason to look for others.
    pub(super) async fn until_some_away(&self) {
        self.until(|pool| pool.lock().iter().any(|member| matches!(member.state, State::Away))).await;
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    fn publish(&self, members: MutexGuard<'_, Vec<Member>>) {
        let mut roster = Roster::default();
        let mut away = 0;
        for member in members.iter() {
            match &member.state {
                State::Connecting => roster.connecting.push(member.address.clone()),
                State::Ready(connection) => roster.ready.push(connection.clone()),
                State::Draining(connection) => roster.draining.push(connection.clone()),
                State::Away => away += 1,
            }
        }
        self.gauges.set(roster.ready.len(), roster.draining.len(), roster.connecting.len(), away);
        self.roster.store(Arc::new(roster));
        drop(members);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Pool {
    pub(super) fn ready(&self) -> usize {
        self.roster.load().ready.len()
    }

    pub(super) fn away(&self) -> usize {
        self.lock().iter().filter(|member| matches!(member.state, State::Away)).count()
    }
}

/// Power of two choices by calls in flight; a replica that has just come stands back at random.
fn choose<'a>(
    candidates: &'a [Arc<Connection>],
    except: Option<&Address>,
    slow_start: Duration,
) -> Option<&'a Arc<Connection>> {
    let allowed = |connection: &Connection| except != Some(connection.address());
    let count = candidates.len();
    if count < 2 {
        return candidates.first().filter(|only| allowed(only));
    }
    let first = fastrand::usize(..count);
    let second = (first + 1 + fastrand::usize(..count - 1)) % count;
    let (first, second) = (&candidates[first], &candidates[second]);
    if !allowed(first) {
        return Some(second);
    }
    if !allowed(second) {
        return Some(first);
    }
    let prefer_first = match (first.is_warming(slow_start), second.is_warming(slow_start)) {
        (false, true) if second.stands_back(slow_start) => true,
        (true, false) if first.stands_back(slow_start) => false,
        _ => first.in_flight() <= second.in_flight(),
    };
    Some(if prefer_first { first } else { second })
}
