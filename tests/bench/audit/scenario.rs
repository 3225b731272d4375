//! The faults. Each is injected while backends publish and subscribers listen, and says when what was wrong.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use gorani_tests::node::free_address;

use super::cluster::{Cluster, Kind, NODES, until};

/// How far a replica falls behind.
const LAG: Duration = Duration::from_millis(500);

/// How long a fault lasts that has a length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// Redis frozen, or the road to it a black hole: longer than a node needs to notice.
    pub(crate) silence: Duration,
    /// Redis or a node away before it is started again.
    pub(crate) away: Duration,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Nothing happens
    None,
    /// `kill -9` of a node, which is started again
    KillNode,
    /// `kill -9` of Redis, which is started again with its append-only file (appendfsync always)
    RestartRedis,
    /// SIGSTOP of Redis, then SIGCONT
    FreezeRedis,
    /// `kill -9` of the primary; Sentinels promote its replica
    SentinelFailover,
    /// The same, with a replica that lags behind: Redis forgets what it has acknowledged
    LossyFailover,
    /// `kill -9` of a primary of a Redis Cluster; its replica is elected
    ClusterFailover,
    /// Packets between one node and Redis vanish, without a reset
    BlackHole,
    /// SIGTERM of each node in turn: it drains, and is started again
    RollingRestart,
    /// All nodes are of another version (`--mixed`), are rolled to this one node by node, and back
    #[value(skip)]
    Mixed,
}

/// Something that was wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The nodes that could not deliver.
    pub(crate) nodes: Vec<usize>,
    pub(crate) began: Instant,
    /// From here on they could again, or others could take their clients.
    pub(crate) served: Instant,
    /// From here on the nodes themselves could again.
    pub(crate) ended: Instant,
    /// Whether its first moment cannot be overlooked: a connection that ends, not a silence.
    pub(crate) is_loud: bool,
}

impl Scenario {
    pub(crate) fn name(self) -> String {
        let named = self.to_possible_value().map(|value| value.get_name().to_owned());
        named.unwrap_or_else(|| "mixed".to_owned())
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::SentinelFailover | Self::LossyFailover => Kind::Sentinels,
            Self::ClusterFailover => Kind::Shards,
            Self::BlackHole => Kind::AloneWithProxy,
            _ => Kind::Alone,
        }
    }

    /// Carries it out, and returns when it is over.
    pub(crate) fn inject(self, cluster: &mut Cluster, lengths: Lengths, other: Option<&Path>) -> Vec<Fault> {
        let all: Vec<usize> = (0..NODES).collect();
        let began = Instant::now();
        match self {
            Self::None => Vec::new(),
            Self::KillNode => {
                let node = &mut cluster.nodes[0];
                node.kill();
                let served = Instant::now();
                thread::sleep(lengths.away);
                let ended = Instant::now();
                node.restart();
                vec![Fault { nodes: vec![0], began, served, ended, is_loud: true }]
            }
            Self::RestartRedis => {
                cluster.redis.kill();
                thread::sleep(lengths.away);
                let ended = Instant::now();
                cluster.redis.restart();
                let served = Instant::now();
                vec![Fault { nodes: all, began, served, ended, is_loud: true }]
            }
            Self::FreezeRedis => {
                cluster.redis.pause();
                thread::sleep(lengths.silence);
                let ended = Instant::now();
                cluster.redis.resume();
                vec![Fault { nodes: all, began, served: ended, ended, is_loud: false }]
            }
            Self::SentinelFailover | Self::LossyFailover | Self::ClusterFailover => {
                let replica = cluster.replica.as_ref().expect("this kind has a replica");
                if self == Self::LossyFailover {
                    replica.follow(free_address());
                    thread::sleep(LAG);
                }
                let began = Instant::now();
                cluster.redis.kill();
                until("the replica is promoted", || replica.info("replication").contains("role:master"));
                let ended = Instant::now();
                vec![Fault { nodes: all, began, served: ended, ended, is_loud: true }]
            }
            Self::BlackHole => {
                let proxy = cluster.proxy.as_ref().expect("this kind has a road of its own");
                proxy.black_hole();
                thread::sleep(lengths.silence);
                let ended = Instant::now();
                proxy.lift();
                vec![Fault { nodes: vec![0], began, served: ended, ended, is_loud: false }]
            }
            Self::RollingRestart => (0..NODES).map(|index| restart(cluster, index, lengths)).collect(),
            Self::Mixed => {
                let own = gorani_tests::binary::node();
                let versions = [Some(own.as_path()), other];
                let steps = versions
                    .into_iter()
                    .flatten()
                    .flat_map(|program| (0..NODES).map(move |index| (program, index)));
                steps
                    .map(|(program, index)| {
                        cluster.nodes[index].set_program(program);
                        let fault = restart(cluster, index, lengths);
                        // The two versions have the load together for a while.
                        thread::sleep(lengths.away);
                        fault
                    })
                    .collect()
            }
        }
    }
}

/// Restarts one node as an orchestrator does, and waits until it is ready again.
fn restart(cluster: &mut Cluster, index: usize, lengths: Lengths) -> Fault {
    let node = &mut cluster.nodes[index];
    let began = Instant::now();
    node.terminate();
    let status = node
        .wait_exit(lengths.silence.max(Duration::from_secs(60)))
        .expect("a node that is told to stop ends");
    assert!(status.success(), "it ended with {status}");
    let ended = Instant::now();
    node.restart();
    node.wait_ready();
    Fault { nodes: vec![index], began, served: began, ended, is_loud: true }
}
