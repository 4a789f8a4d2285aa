//! A Redis Cluster of three masters with replicas, for tests. Loses at most one server at a time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Detour, Instance, Redis, Role, START_LIMIT, wait_until};
use crate::output::Output;
use crate::sockets;

const MASTERS: usize = 3;
const SLOTS: usize = 16384;
/// How long a server may be silent before its replica takes its place.
const NODE_TIMEOUT: Duration = Duration::from_millis(3500);

/// A running Cluster. Dropping it kills its servers.
pub struct Cluster {
    /// The masters, then a replica of each in the same order, then another one of each, as long as nothing fails.
    pub nodes: Vec<Redis>,
    /// Where each is found.
    places: Vec<Place>,
}

/// The ports at which clients and the other servers are told that a server is.
struct Place {
    port: u16,
    bus: u16,
}

impl Cluster {
    /// A Cluster with a replica for each master, on free ports, with its data in `folder`, which the caller removes at the end.
    pub fn temporary(role: Role, folder: &Path) -> anyhow::Result<Self> {
        Self::start(role, folder, 1, None)
    }

    /// The same with two replicas for each, where `detour` says at which port everybody else is to find each port of the server of a number, and each server
    /// connects to others from an [address of its own](Self::source).
    pub fn through(role: Role, folder: &Path, detour: Detour<'_>) -> anyhow::Result<Self> {
        Self::start(role, folder, 2, Some(detour))
    }

    fn start(
        role: Role,
        folder: &Path,
        replicas: usize,
        mut detour: Option<Detour<'_>>,
    ) -> anyhow::Result<Self> {
        let (mut nodes, mut places) = (Vec::new(), Vec::new());
        for number in 0..MASTERS * (1 + replicas) {
            let folder = folder.join(number.to_string());
            let mut place = Place { port: sockets::free_port()?, bus: sockets::free_port()? };
            let instance = Instance::open(role, &folder, place.port, Output::kept())?;
            let mut instance = instance
                .replicated()
                .set("cluster-enabled", &["yes"])
                .set("cluster-port", &[&place.bus.to_string()])
                .set("cluster-node-timeout", &[&NODE_TIMEOUT.as_millis().to_string()]);
            if let Some(detour) = &mut detour {
                place = Place { port: detour(number, place.port), bus: detour(number, place.bus) };
                instance = instance
                    .set("bind-source-addr", &[&Self::source(number).to_string()])
                    .set("cluster-announce-ip", &["127.0.0.1"])
                    .set("cluster-announce-port", &[&place.port.to_string()])
                    .set("cluster-announce-bus-port", &[&place.bus.to_string()]);
            }
            nodes.push(Redis::start(instance, START_LIMIT)?);
            places.push(place);
        }
        let cluster = Self { nodes, places };
        cluster.form()?;
        Ok(cluster)
    }

    /// Where a server's connections to others come from when these go [through](Self::through) something.
    pub fn source(number: usize) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 0, 2 + number as u8)
    }

    /// Names every server, as operators would: any may be away when a service starts.
    pub fn url(&self) -> String {
        let places: Vec<_> = self.places.iter().map(|place| format!("127.0.0.1:{}", place.port)).collect();
        format!("redis+cluster://{}", places.join(","))
    }

    /// Gives the first servers their slots, makes the others their replicas, and waits until all agree.
    fn form(&self) -> anyhow::Result<()> {
        let Self { nodes, places } = self;
        // Before any of them has heard of another.
        for (number, node) in nodes.iter().enumerate() {
            node.told(&format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1))?;
        }
        for (number, node) in nodes.iter().enumerate() {
            if number < MASTERS {
                let (first, next) = (SLOTS * number / MASTERS, SLOTS * (number + 1) / MASTERS);
                node.told(&format!("CLUSTER ADDSLOTSRANGE {first} {}", next - 1))?;
            }
            for Place { port, bus } in &places[number + 1..] {
                node.told(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"))?;
            }
        }
        let known = format!("cluster_known_nodes:{}", nodes.len());
        wait_until("all servers of a Cluster know each other", || {
            nodes.iter().all(|node| node.says("CLUSTER INFO", &[&known]))
        })?;
        let (masters, replicas) = nodes.split_at(MASTERS);
        thread::scope(|scope| {
            let following = replicas.iter().zip(masters.iter().cycle()).map(|(replica, master)| {
                scope.spawn(move || {
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
        let each = replicas.len() / MASTERS;
        let followed = [format!("connected_slaves:{each}"), format!("min_slaves_good_slaves:{each}")];
        let followed = followed.each_ref().map(String::as_str);
        wait_until("a Cluster is whole", || {
            let is_ok = ["cluster_state:ok", "cluster_slots_ok:16384"];
            nodes.iter().all(|node| node.says("CLUSTER INFO", &is_ok))
                && masters.iter().all(|node| node.says("INFO replication", &followed))
                && replicas.iter().all(|node| node.says("INFO replication", &["master_link_status:up"]))
                // Who asks any of them is told of all.
                && nodes.iter().all(|node| {
                    node.told("CLUSTER SLOTS").is_ok_and(|answer| {
                        places.iter().all(|place| answer.lines().any(|line| line == format!(":{}", place.port)))
                    })
                })
        })
    }
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
