//! A Redis Cluster of three masters with a replica each, for tests. Loses at most one server at a time.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Instance, Redis, Role, START_LIMIT, wait_until};
use crate::output::Output;
use crate::sockets;

const MASTERS: usize = 3;
const SLOTS: usize = 16384;
/// How long a server may be silent before its replica takes its place.
const NODE_TIMEOUT: Duration = Duration::from_millis(3500);

/// A running Cluster. Dropping it kills its servers.
pub struct Cluster {
    /// The masters, then their replicas in the same order, as long as nothing fails.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// A Cluster on free ports with its data in `folder`, which the caller removes at the end.
    pub fn temporary(role: Role, folder: &Path) -> anyhow::Result<Self> {
        let nodes = (0..MASTERS * 2).map(|number| {
            let folder = folder.join(number.to_string());
            let instance = Instance::open(role, &folder, sockets::free_port()?, Output::kept())?;
            let (bus, timeout) = (sockets::free_port()?.to_string(), NODE_TIMEOUT.as_millis().to_string());
            let instance = instance.replicated();
            let instance = instance.set("cluster-enabled", &["yes"]).set("cluster-port", &[&bus]);
            let mut node = Redis::launch(instance.set("cluster-node-timeout", &[&timeout]))?;
            node.wait_ready(START_LIMIT)?;
            Ok((node, bus))
        });
        let nodes = nodes.collect::<anyhow::Result<Vec<_>>>()?;
        form(&nodes)?;
        Ok(Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() })
    }

    /// Names every server, as operators would: any may be away when a service starts.
    pub fn url(&self) -> String {
        let places: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", places.join(","))
    }
}

/// Gives the first servers their slots, makes the others their replicas, and waits until all agree.
fn form(nodes: &[(Redis, String)]) -> anyhow::Result<()> {
    // Before any of them has heard of another.
    for (number, (node, _)) in nodes.iter().enumerate() {
        node.told(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
    }
    for (number, (node, _)) in nodes.iter().enumerate() {
        if number < MASTERS {
            let (first, next) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
            node.told(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1))?;
        }
        for (other, bus) in nodes.iter().skip(number + 1) {
            node.told(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()))?;
        }
    }
    let all_know_all = || nodes.iter().all(|(node, _)| node.says("CLUSTER INFO", &["cluster_known_nodes:6"]));
    wait_until("all servers of a Cluster know each other", all_know_all)?;
    thread::scope(|scope| {
        let following = (0..MASTERS).map(|number| {
            scope.spawn(move || {
                let (master, replica) = (&nodes[number].0, &nodes[number + MASTERS].0);
                let id = master.told("CLUSTER MYID")?.lines().nth(1).unwrap_or_default().to_owned();
                wait_until("a replica may follow its master", || {
                    replica.told(&format!("CLUSTER REPLICATE {id}")).is_ok()
                })
            })
        });
        let following: Vec<_> = following.collect();
        following
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    wait_until("a Cluster is whole", || {
        let (masters, replicas) = nodes.split_at(MASTERS);
        nodes.iter().all(|(node, _)| node.says("CLUSTER INFO", &["cluster_state:ok", "cluster_slots_ok:16384"]))
            && masters.iter().all(|(node, _)| node.says("INFO replication", &["connected_slaves:1", "min_slaves_good_slaves:1"]))
            && replicas.iter().all(|(node, _)| node.says("INFO replication", &["master_link_status:up"]))
            // Who asks any of them is told of all.
            && nodes.iter().all(|(node, _)| {
                node.told("CLUSTER SLOTS").is_ok_and(|answer| {
                    nodes.iter().all(|(other, _)| answer.lines().any(|line| line == format!(":{}", other.port())))
                })
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_goes_on_when_a_master_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut cluster = Cluster::temporary(Role::State, folder.path()).unwrap();
        // `foo` is in the last third of the slots.
        cluster.nodes[2].told("SET foo bar").unwrap();
        cluster.nodes[2].kill();
        let replica = &cluster.nodes[5];
        wait_until("the replica has taken over", || {
            replica.told("GET foo").is_ok_and(|answer| answer.starts_with("$3\r\nbar"))
        })
        .unwrap();
        assert!(cluster.url().starts_with("redis+cluster://127.0.0.1:"));
    }
}
