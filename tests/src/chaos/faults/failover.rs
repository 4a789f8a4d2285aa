//! A server is lost for good, and another one takes its place: Postgres by hand, Redis by itself.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use local::postgres::Cluster as PostgresCluster;
use local::redis::{Cluster, Role, Sentinel, Watched};
use tempfile::TempDir;

use super::stores::{WITHOUT_SESSIONS, without_profiles, without_state, without_users};
use super::{behind_proxies, generous};
use crate::chaos::absence::Absence;
use crate::chaos::bars::Bars;
use crate::chaos::journal::Op;
use crate::chaos::load::Crowd;
use crate::chaos::proxy::{Proxy, Weather};
use crate::chaos::report::Chapter;
use crate::chaos::row::Row;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::{Controlled, Store};
use crate::database::Database;
use crate::stack::Hop;
use crate::wait;

const TEXT: &str = "Two of each. A server is killed, frozen (SIGSTOP), or in a black hole, and another one takes its place. *Postgres*: a \
    streaming replica follows the server, which commits nothing without it (`synchronous_standby_names`); the replica is promoted by hand and the address moves \
    there; in a black hole the old connections come back to life at that moment, beside the successor, and a frozen server wakes up later. *Redis for sessions*: a Cluster of \
    three masters with two replicas each, and a master with two replicas under three Sentinels; they go on by themselves (they wait 3.5 s before they give a \
    server up), and what was lost comes back as a replica, which some of them have to be told first. Meanwhile the failure matrix holds; nothing that was \
    acknowledged is lost, but a login of the last second before (replication is asynchronous, and only ends of sessions wait for it). Recovery counts from the \
    moment at which the successor takes writes; under Sentinels from when they have given the lost server up as its replica too, for until then ends of sessions \
    wait for it. They do again when it is back, until all Sentinels know it as a replica; by their own periods that takes them some twenty seconds.";
/// A login so shortly before its master died may be lost with it.
const UNREPLICATED: Duration = Duration::from_secs(1);

pub(super) async fn run(form: Form) -> Chapter {
    let mut rows = postgres(form).await;
    rows.extend(cluster(form).await);
    rows.extend(sentinels(form).await);
    Chapter { title: "Failover", text: TEXT, rows, skipped: Vec::new() }
}

async fn postgres(form: Form) -> Vec<Row> {
    let stack = generous().gateways(2).auths(2).profiles(2).own_auth_postgres().own_profile_postgres();
    let (stack, proxies) = behind_proxies(stack);
    let mut stage = Stage::set(stack.start(), form, Crowd::USUAL).await;
    // Who was promoted last serves to the end.
    let mut serving = Vec::new();
    for (name, hop, bars) in [
        ("users", Hop::AuthDatabase, without_users as fn() -> Bars),
        ("profiles", Hop::ProfileDatabase, without_profiles),
    ] {
        let turn = |weather| proxies.borrow()[&hop].set(weather);
        let mut successor: Option<Database> = None;
        for absence in Absence::ALL {
            let first = match hop {
                Hop::AuthDatabase => &stage.stack.auth_database,
                _ => &stage.stack.profile_database,
            };
            let current = successor.as_ref().unwrap_or(first);
            let (lost, standby) = (current.server().clone(), current.standby().await);
            let failover = async |stage: &Stage| {
                absence.begin(&lost, turn).await;
                stage.hold(Duration::from_secs(2)).await;
                let promoted = standby.server().with(PostgresCluster::promote).await;
                promoted.unwrap_or_else(|error| panic!("{error:#}"));
                proxies.borrow()[&hop].lead_to(standby.address());
                // With it every connection through that network.
                turn(Weather::Fair);
            };
            let name = format!("Postgres of {name} fails over to a streaming replica, {}", absence.name());
            stage.fault(name, bars(), failover).await;
            if absence == Absence::Frozen {
                let wakes = async |stage: &Stage| {
                    absence.end(&lost, turn).await;
                    stage.hold(Duration::from_secs(2)).await;
                };
                stage.fault("… and the frozen one wakes up", Bars::nothing_fails(), wakes).await;
            }
            lost.kill().await;
            successor = Some(standby);
        }
        serving.push(successor);
    }
    stage.end().await
}

async fn cluster(form: Form) -> Vec<Row> {
    let folder = folder();
    let network = Network::default();
    let cluster =
        Cluster::through(Role::State, folder.path(), &mut |number, port| network.detour(number, port));
    let cluster = cluster.unwrap_or_else(|error| panic!("no Redis Cluster: {error:#}"));
    let url = cluster.url();
    let nodes: Vec<Store> = cluster.nodes.into_iter().map(Controlled::new).collect();
    let mut stage = on_redis(&url, form).await;
    // A master each, and its replicas.
    for (absence, lost) in Absence::ALL.into_iter().zip([1, 0, 2]) {
        let turn = |weather| network.isolate(lost, weather);
        let heirs = [nodes[lost + 3].clone(), nodes[lost + 6].clone()];
        let failover = async |stage: &Stage| {
            let began = Instant::now();
            absence.begin(&nodes[lost], turn).await;
            stage.ground().lose_sessions_since(began, UNREPLICATED);
            wait_until_followed(&heirs, 1).await;
        };
        let name = format!("Redis Cluster for sessions loses a master, {}", absence.name());
        stage.fault(name, without_state(), failover).await;
        let back = async |_: &Stage| {
            absence.end(&nodes[lost], turn).await;
            wait_until_followed(&heirs, 2).await;
        };
        stage.fault(format!("… and the one that was {} comes back", absence.name()), ends_wait(), back).await;
    }
    stage.end().await
}

/// Ends of sessions wait for every replica, one that is just coming back too.
fn ends_wait() -> Bars {
    Bars::at_most(&[Op::Logout], WITHOUT_SESSIONS)
}

async fn sentinels(form: Form) -> Vec<Row> {
    let folder = folder();
    let network = Network::default();
    let watched =
        Watched::through(Role::State, folder.path(), &mut |number, port| network.detour(number, port));
    let watched = watched.unwrap_or_else(|error| panic!("no Redis under Sentinels: {error:#}"));
    let url = watched.url();
    let sentinels: Vec<_> = watched.sentinels.into_iter().map(Controlled::new).collect();
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let mut stage = on_redis(&url, form).await;
    for absence in Absence::ALL {
        let lost = master_of(&servers).await;
        let turn = |weather| network.isolate(lost, weather);
        let others: Vec<Store> = [&servers[..lost], &servers[lost + 1..]].concat();
        let failover = async |stage: &Stage| {
            let began = Instant::now();
            absence.begin(&servers[lost], turn).await;
            stage.ground().lose_sessions_since(began, UNREPLICATED);
            wait_until_followed(&others, 1).await;
            wait_until_given_up(&sentinels).await;
        };
        let name = format!("Redis for sessions under Sentinels loses its master, {}", absence.name());
        stage.fault(name, without_state(), failover).await;
        let back = async |_: &Stage| {
            absence.end(&servers[lost], turn).await;
            wait_until_followed(&others, 2).await;
            wait_until_whole(&sentinels).await;
        };
        stage.fault(format!("… and the one that was {} comes back", absence.name()), ends_wait(), back).await;
    }
    stage.end().await
}

/// What lies between the servers of a set, and between them and the services.
#[derive(Default)]
struct Network(RefCell<Vec<(usize, Proxy)>>);

impl Network {
    /// Puts a proxy in front of a port of the server of that number.
    fn detour(&self, number: usize, port: u16) -> u16 {
        let proxy = Proxy::start((Ipv4Addr::LOCALHOST, port).into());
        let proxy = proxy.unwrap_or_else(|error| panic!("no proxy: {error}"));
        let port = proxy.address().port();
        self.0.borrow_mut().push((number, proxy));
        port
    }

    /// Such is the weather around one server: on the way to it, and on its own ways to the others.
    fn isolate(&self, number: usize, weather: Weather) {
        let source = (weather == Weather::BlackHole).then(|| Cluster::source(number).into());
        for (of, proxy) in &*self.0.borrow() {
            if *of == number {
                proxy.set(weather);
            } else {
                proxy.cut_off(source);
            }
        }
    }
}

fn folder() -> TempDir {
    local::temporary::folder().unwrap_or_else(|error| panic!("no folder: {error:#}"))
}

async fn on_redis(url: &str, form: Form) -> Stage {
    let stack = generous().gateways(2).auths(2).profiles(2).env_everywhere("STATE_REDIS_URL", url);
    Stage::set(stack.start(), form, Crowd::USUAL).await
}

/// One of them is a master that takes writes, for it has so many replicas.
async fn wait_until_followed(servers: &[Store], replicas: usize) {
    let followed = format!("min_slaves_good_slaves:{replicas}");
    let followed = async || says_one_of(servers, &followed).await.is_some();
    wait::until_true("the master has its replicas", followed).await;
}

/// Every Sentinel knows that a replica is lost.
async fn wait_until_given_up(sentinels: &[Controlled<Sentinel>]) {
    wait_until_all_know(sentinels, |sentinel| {
        sentinel.of_replicas("flags").iter().any(|flags| is_down(flags))
    })
    .await;
}

/// Every Sentinel knows that none is lost, and that all of them are replicas.
async fn wait_until_whole(sentinels: &[Controlled<Sentinel>]) {
    let whole = |sentinel: &Sentinel| {
        !sentinel.of_replicas("flags").iter().any(|flags| is_down(flags))
            && sentinel.of_replicas("role-reported").iter().all(|role| role == "slave")
    };
    wait_until_all_know(sentinels, whole).await;
}

fn is_down(flags: &str) -> bool {
    flags.split(',').any(|flag| flag == "s_down")
}

async fn wait_until_all_know(sentinels: &[Controlled<Sentinel>], what: fn(&Sentinel) -> bool) {
    for sentinel in sentinels {
        wait::until_true("a Sentinel knows who is there", async || sentinel.with(what).await).await;
    }
}

async fn master_of(servers: &[Store]) -> usize {
    wait::until("there is a master", async || says_one_of(servers, "connected_slaves:2").await).await
}

/// Which of them says this of its replication.
async fn says_one_of(servers: &[Store], what: &str) -> Option<usize> {
    for (number, server) in servers.iter().enumerate() {
        // One that changes sides closes its connections.
        let info = async {
            let client = redis::Client::open(server.url())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("INFO").arg("replication").query_async::<String>(&mut connection).await
        };
        if info.await.is_ok_and(|info| info.lines().any(|line| line == what)) {
            return Some(number);
        }
    }
    None
}
