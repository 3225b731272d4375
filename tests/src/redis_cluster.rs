//! A real Redis Cluster of a test's own: three primaries that share the slots, each with a replica.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::redis::Redis;

/// Primaries, and as many replicas.
const PRIMARIES: u16 = 3;
/// Slots of every cluster.
const SLOTS: u16 = 16_384;
/// How long the servers may take to agree.
const AGREED_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Six servers.
#[derive(Debug)]
pub struct RedisCluster {
    /// Those that serve the slots, in their order.
    pub primaries: Vec<Redis>,
    /// Their replicas, in the same order.
    pub replicas: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one, and waits until every primary has a replica that is up to date.
    ///
    /// # Panics
    /// If the servers do not start or do not agree.
    pub fn start() -> Self {
        let (servers, bus_ports): (Vec<_>, Vec<_>) = (0..2 * PRIMARIES).map(|_| Redis::of_cluster()).unzip();
        let share = SLOTS / PRIMARIES + 1;
        for (index, server) in (0..PRIMARIES).zip(&servers) {
            let (first, end) = (index * share, ((index + 1) * share).min(SLOTS));
            order(server, &format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1));
            order(server, &format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1));
        }
        for server in &servers[1..] {
            let first = servers[0].address();
            order(server, &format!("CLUSTER MEET {} {} {}", first.ip(), first.port(), bus_ports[0]));
        }
        let knows_all = |server: &Redis| {
            let info = server.ask("CLUSTER INFO");
            info.contains("cluster_state:ok")
                && info.contains(&format!("cluster_known_nodes:{}\r\n", 2 * PRIMARIES))
        };
        until("all know all", || servers.iter().all(knows_all));
        let mut primaries = servers;
        let replicas = primaries.split_off(PRIMARIES.into());
        for (primary, replica) in primaries.iter().zip(&replicas) {
            order(replica, &format!("CLUSTER REPLICATE {}", primary.ask("CLUSTER MYID")));
        }
        let follows = |primary: &Redis| primary.info("replication").contains("state=online");
        until("every primary has a replica", || primaries.iter().all(follows));
        // Only those that are known as replicas are elected.
        let knows_replicas =
            |server: &Redis| server.ask("CLUSTER NODES").matches("slave").count() == usize::from(PRIMARIES);
        until("all know the replicas", || primaries.iter().chain(&replicas).all(knows_replicas));
        Self { primaries, replicas }
    }

    /// Waits until the replicas have what the primaries have.
    ///
    /// # Panics
    /// If they do not get it.
    pub fn copy(&self) {
        for primary in &self.primaries {
            // Asked over a connection that wrote nothing, WAIT has nothing to wait for; the offsets tell.
            until("the replica has it all", || {
                let info = primary.info("replication");
                let field = |name: &str| {
                    let rest = info.split_once(name).map_or("", |(_, rest)| rest);
                    rest.split([',', '\r']).next().unwrap_or_default().to_owned()
                };
                !field("offset=").is_empty() && field("offset=") == field("master_repl_offset:")
            });
        }
    }

    /// The addresses of the primaries, as a list in the node's settings.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self.primaries.iter().map(|server| format!("{:?}", server.url())).collect();
        format!("[{}]", urls.join(", "))
    }
}

fn order(server: &Redis, command: &str) {
    let answer = server.ask(command);
    assert!(answer.starts_with("+OK"), "{command}: {answer}");
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + AGREED_WITHIN;
    while !holds() {
        assert!(Instant::now() < give_up, "after {AGREED_WITHIN:?} still not: {what}");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}
