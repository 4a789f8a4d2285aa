//! A Redis Cluster: a link to each master, and a map that tells which of them has a key.
//!
//! The map is read again when a server says that it is outdated, when a link is lost, and every few seconds. What a server redirects
//! is sent again to where it points, for it was not done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::{ConnectionAddr, ConnectionInfo, FromRedisValue, RedisError, Value};
use tokio::sync::{Notify, watch};

use super::keeper::{Keeper, Source};
use super::link::{self, Link, Request};
use super::replication::{self, Deployment};
use super::url::at;
use super::{CALL_TIMEOUT, LINK_WAIT, RedisAway};
use crate::shutdown::Shutdown;

mod slots;
#[cfg(test)]
mod tests;

use slots::{Address, Range};

/// How often the map is read when nothing says that it is outdated.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How often at most.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// How often one call is sent on.
const REDIRECTIONS: usize = 3;
/// How long a server is kept that a redirection named and no map does, such as one that gets its first slots.
const STRANGER_KEPT: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    deployment: Arc<Deployment>,
    seeds: Vec<ConnectionInfo>,
    map: watch::Sender<Arc<Map>>,
    nodes: Mutex<HashMap<Address, Node>>,
    outdated: Notify,
    shutdown: Shutdown,
}

struct Node {
    keeper: Keeper,
    named: Instant,
}

/// Who has which slots, in the order of the slots. Empty until a node has told.
#[derive(Default)]
struct Map {
    ranges: Vec<(Range, Keeper)>,
}

/// Where a server sends a call on to.
struct Redirection {
    address: Address,
    /// The slot is on its way there: for this call alone.
    asking: bool,
}

impl Cluster {
    /// Begins to read the map, in the background.
    pub fn open(seeds: Vec<ConnectionInfo>, deployment: Arc<Deployment>, shutdown: &Shutdown) -> Self {
        let shared = Arc::new(Shared {
            deployment,
            seeds,
            map: watch::Sender::default(),
            nodes: Mutex::default(),
            outdated: Notify::new(),
            shutdown: shutdown.clone(),
        });
        shutdown.spawn_background(keep_fresh(shared.clone()));
        Self { shared }
    }

    /// Whether every master has answered at least once.
    pub fn answered(&self) -> bool {
        let map = self.shared.map.borrow();
        !map.ranges.is_empty() && map.ranges.iter().all(|(_, keeper)| keeper.answered())
    }

    /// The link to the server that has a key.
    pub async fn link(&self, key: &[u8]) -> Result<Link, RedisAway> {
        self.keeper(key).await?.link().await.inspect_err(|_| self.shared.outdated.notify_one())
    }

    async fn keeper(&self, key: &[u8]) -> Result<Keeper, RedisAway> {
        let slot = slots::of_key(key);
        let not_connected = RedisAway::NotConnected(self.shared.deployment.role);
        if let Some(keeper) = self.shared.map.borrow().keeper(slot) {
            return Ok(keeper);
        }
        let mut map = self.shared.map.subscribe();
        let told = map.wait_for(|map| !map.ranges.is_empty());
        let Ok(Ok(map)) = tokio::time::timeout(LINK_WAIT, told).await else { return Err(not_connected) };
        map.keeper(slot).ok_or(not_connected)
    }

    /// Sends a request to the server that has its key, wherever that is; with `replicated`, and waits for its replicas.
    pub async fn send<T: FromRedisValue>(
        &self,
        operation: &'static str,
        key: &[u8],
        request: Request<'_>,
        replicated: bool,
    ) -> Result<T, RedisAway> {
        let mut keeper = self.keeper(key).await?;
        let mut asking = false;
        let mut sent = 0;
        loop {
            sent += 1;
            let outcome = if replicated {
                keeper.write_replicated(operation, request, asking).await
            } else {
                match keeper.link().await {
                    Ok(link) if asking => link.send_asking(operation, request).await,
                    Ok(link) => link.send(operation, request).await,
                    Err(away) => Err(away),
                }
            };
            let Err(away) = outcome else { return outcome };
            let host = keeper.link_now().map(|link| host(link.server().addr())).unwrap_or_default();
            let redirection = redirection(&away, &request, &host);
            if redirection.as_ref().is_none_or(|redirection| !redirection.asking) {
                self.shared.outdated.notify_one();
            }
            match redirection {
                Some(redirection) if sent <= REDIRECTIONS => {
                    keeper = self.shared.node(redirection.address);
                    asking = redirection.asking;
                }
                _ => return Err(away),
            }
        }
    }
}

impl Map {
    fn keeper(&self, slot: u16) -> Option<Keeper> {
        let place = self.ranges.partition_point(|(range, _)| range.last < slot);
        self.ranges.get(place).filter(|(range, _)| range.first <= slot).map(|(_, keeper)| keeper.clone())
    }
}

impl Shared {
    /// The keeper of the link to a server, started when there is none.
    fn node(&self, address: Address) -> Keeper {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let server = self.server(&address);
        let node = nodes.entry(address).or_insert_with(|| Node {
            keeper: Keeper::start(Source::Fixed(server.into()), &self.deployment, &self.shutdown),
            named: Instant::now(),
        });
        node.named = Instant::now();
        node.keeper.clone()
    }

    fn server(&self, (host, port): &Address) -> ConnectionInfo {
        at(&self.seeds[0], host, *port)
    }

    /// Takes a map over. Servers that it does not name are let go of.
    fn adopt(&self, mut ranges: Vec<Range>) {
        ranges.sort_by_key(|range| range.first);
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|range| {
                let keeper = self.node(range.master.clone());
                (range, keeper)
            })
            .collect();
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, node| {
            node.named.elapsed() < STRANGER_KEPT || ranges.iter().any(|(range, _)| range.master == *address)
        });
        drop(nodes);
        self.map.send_if_modified(|map| {
            let changed = map.ranges.len() != ranges.len()
                || map.ranges.iter().zip(&ranges).any(|((old, _), (new, _))| old != new);
            if changed {
                *map = Arc::new(Map { ranges });
            }
            changed
        });
    }

    /// Everyone who may know the map, in any order: masters with a link, the other servers of the last map, and the seeds.
    fn informants(&self) -> (Vec<Link>, Vec<ConnectionInfo>) {
        let map = self.map.borrow().clone();
        let mut links: Vec<Link> = Vec::new();
        let mut others = self.seeds.clone();
        for (range, keeper) in &map.ranges {
            match keeper.link_now() {
                Some(link) => {
                    if links.iter().all(|known| known.server().addr() != link.server().addr()) {
                        links.push(link);
                    }
                }
                None => others.extend(range.replicas.iter().map(|replica| self.server(replica))),
            }
        }
        fastrand::shuffle(&mut links);
        fastrand::shuffle(&mut others);
        (links, others)
    }

    /// Reads the map from the first who knows it and is on the side of the majority.
    async fn refresh(&self) {
        let ask = || {
            let mut ask = redis::pipe();
            ask.cmd("CLUSTER").arg("INFO").cmd("CLUSTER").arg("SLOTS");
            ask
        };
        let mut doubtful = None;
        let (links, others) = self.informants();
        for link in links {
            let Ok((state, answer)) = link.pipeline::<(String, Value)>("cluster.slots", &ask()).await else {
                continue;
            };
            if self.heed(&state, &answer, link.server().addr(), &mut doubtful) {
                return;
            }
        }
        for server in others {
            let asked = async {
                let mut connection = link::dial(&server).await?;
                ask().query_async::<(String, Value)>(&mut connection).await
            };
            let Ok(Ok((state, answer))) = tokio::time::timeout(CALL_TIMEOUT, asked).await else { continue };
            if self.heed(&state, &answer, server.addr(), &mut doubtful) {
                return;
            }
        }
        // A part of a Cluster that is down is better than nothing to begin with.
        let nothing_known = self.map.borrow().ranges.is_empty();
        if let Some(ranges) = doubtful.filter(|_| nothing_known) {
            self.adopt(ranges);
        }
    }

    /// Takes over what a node says, if that can be believed.
    fn heed(
        &self,
        state: &str,
        answer: &Value,
        asked: &ConnectionAddr,
        doubtful: &mut Option<Vec<Range>>,
    ) -> bool {
        let ranges = slots::parse(answer, &host(asked));
        if ranges.is_empty() {
            return false;
        }
        let believed = replication::field(state, "cluster_state") == Some("ok");
        if believed {
            self.adopt(ranges);
        } else {
            *doubtful = Some(ranges);
        }
        believed
    }
}

/// Keeps the map fresh for as long as the process runs.
async fn keep_fresh(shared: Arc<Shared>) {
    loop {
        shared.refresh().await;
        // Until there is a map, and while a server is away, it may come any moment.
        let map = shared.map.borrow().clone();
        let whole =
            !map.ranges.is_empty() && map.ranges.iter().all(|(_, keeper)| keeper.link_now().is_some());
        let interval = if whole { REFRESH_INTERVAL } else { REFRESH_PAUSE * 2 };
        // Nobody has to wait for it: what is outdated is redirected.
        tokio::select! {
            () = tokio::time::sleep(interval.mul_f64(0.5 + fastrand::f64())) => {}
            () = shared.outdated.notified() => {}
        }
        tokio::time::sleep(REFRESH_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
    }
}

fn host(address: &ConnectionAddr) -> String {
    match address {
        ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
        _ => String::new(),
    }
}

/// Where a server sent a call on to, unless a part of the call was done.
fn redirection(away: &RedisAway, request: &Request<'_>, asked: &str) -> Option<Redirection> {
    let RedisAway::Failed(_, cause) = away else { return None };
    let errors = RedisError::clone(cause).into_server_errors()?;
    let (place, first) = errors.first()?;
    if matches!(request, Request::Pipeline(pipeline) if *place > 0 && !pipeline.is_transaction()) {
        return None;
    }
    let asking = match first.code() {
        "MOVED" => false,
        "ASK" => true,
        _ => return None,
    };
    let (_slot, address) = first.details()?.split_once(' ')?;
    Some(Redirection { address: slots::parse_address(address, asked)?, asking })
}
