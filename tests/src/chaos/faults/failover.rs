//! A server is lost for good, and another one takes its place: Postgres by hand, Redis by itself.

use std::time::{Duration, Instant};

use local::postgres::Cluster as PostgresCluster;
use local::redis::{Cluster, Role, Sentinel, Watched};
use tempfile::TempDir;

use super::stores::{without_profiles, without_state, without_users};
use super::{behind_proxies, generous};
use crate::chaos::load::Crowd;
use crate::chaos::report::Chapter;
use crate::chaos::row::Row;
use crate::chaos::stage::{Form, Stage};
use crate::controlled::{Controlled, Store};
use crate::stack::Hop;
use crate::wait;

const TEXT: &str = "Two of each. *Postgres*: a streaming replica follows the server, which commits nothing without it \
    (`synchronous_standby_names`); the server is killed, the replica is promoted by hand, and the address moves there. *Redis for sessions*: a Cluster of three masters \
    with a replica each, and a master with two replicas under three Sentinels; a master is killed, and they go on by themselves (they wait 3.5 s before they give a \
    server up). Meanwhile the failure matrix holds; nothing that was acknowledged is lost, but a login of the last second before \
    (replication is asynchronous, and only ends of sessions wait for it). Recovery counts from the moment at which the successor takes writes; under Sentinels from when they have given the dead server up as \
    its replica too, for until then ends of sessions wait for it.";
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
    let stack = stack.start();
    let users = stack.auth_database.standby().await;
    let profiles = stack.profile_database.standby().await;
    let mut stage = Stage::set(stack, form, Crowd::USUAL).await;
    for (name, hop, standby, bars) in [
        ("Postgres of users fails over to a streaming replica", Hop::AuthDatabase, &users, without_users()),
        (
            "Postgres of profiles fails over to a streaming replica",
            Hop::ProfileDatabase,
            &profiles,
            without_profiles(),
        ),
    ] {
        let failover = async |stage: &Stage| {
            let lost = match hop {
                Hop::AuthDatabase => &stage.stack.auth_database,
                _ => &stage.stack.profile_database,
            };
            lost.server().kill().await;
            stage.hold(Duration::from_secs(2)).await;
            let promoted = standby.server().with(PostgresCluster::promote).await;
            promoted.unwrap_or_else(|error| panic!("{error:#}"));
            proxies.borrow()[&hop].lead_to(standby.address());
        };
        stage.fault(name, bars, failover).await;
    }
    stage.end().await
}

async fn cluster(form: Form) -> Vec<Row> {
    let folder = folder();
    let cluster = Cluster::temporary(Role::State, folder.path());
    let cluster = cluster.unwrap_or_else(|error| panic!("no Redis Cluster: {error:#}"));
    let url = cluster.url();
    let nodes: Vec<Store> = cluster.nodes.into_iter().map(Controlled::new).collect();
    let mut stage = on_redis(&url, form).await;
    let failover = async |stage: &Stage| {
        let killed = Instant::now();
        nodes[1].kill().await;
        wait_until_master(&nodes[4..5]).await;
        // The successor has no replica, and takes no writes until it has one.
        nodes[1].start().await;
        wait_until_followed(&nodes[4..5]).await;
        stage.ground().lose_sessions_since(killed, UNREPLICATED);
    };
    stage.fault("Redis Cluster for sessions loses a master", without_state(), failover).await;
    stage.end().await
}

async fn sentinels(form: Form) -> Vec<Row> {
    let folder = folder();
    let watched = Watched::temporary(Role::State, folder.path());
    let watched = watched.unwrap_or_else(|error| panic!("no Redis under Sentinels: {error:#}"));
    let url = watched.url();
    let sentinels: Vec<_> = watched.sentinels.into_iter().map(Controlled::new).collect();
    let servers: Vec<Store> = watched.servers.into_iter().map(Controlled::new).collect();
    let mut stage = on_redis(&url, form).await;
    let failover = async |stage: &Stage| {
        let killed = Instant::now();
        servers[0].kill().await;
        wait_until_followed(&servers[1..]).await;
        for sentinel in &sentinels {
            let given_up = |sentinel: &Sentinel| {
                sentinel.replica_flags().iter().any(|flags| flags.split(',').any(|flag| flag == "s_down"))
            };
            wait::until_true("a Sentinel gives the dead one up", async || sentinel.with(given_up).await)
                .await;
        }
        stage.ground().lose_sessions_since(killed, UNREPLICATED);
    };
    stage.fault("Redis for sessions under Sentinels loses its master", without_state(), failover).await;
    stage.end().await
}

fn folder() -> TempDir {
    local::temporary::folder().unwrap_or_else(|error| panic!("no folder: {error:#}"))
}

async fn on_redis(url: &str, form: Form) -> Stage {
    let stack = generous().gateways(2).auths(2).profiles(2).env_everywhere("STATE_REDIS_URL", url);
    Stage::set(stack.start(), form, Crowd::USUAL).await
}

async fn wait_until_master(servers: &[Store]) {
    wait::until_true("a replica is the master", async || any_says(servers, "role:master").await).await;
}

/// One of them is a master that takes writes, for it has a replica.
async fn wait_until_followed(servers: &[Store]) {
    let followed = async || any_says(servers, "min_slaves_good_slaves:1").await;
    wait::until_true("the new master has a replica", followed).await;
}

async fn any_says(servers: &[Store], what: &str) -> bool {
    for server in servers {
        // One that changes sides closes its connections.
        let info = async {
            let client = redis::Client::open(server.url())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("INFO").arg("replication").query_async::<String>(&mut connection).await
        };
        if info.await.is_ok_and(|info| info.lines().any(|line| line == what)) {
            return true;
        }
    }
    false
}
