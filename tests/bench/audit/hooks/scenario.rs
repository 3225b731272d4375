//! The faults while the backend is told.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use gorani_tests::process::Signal;

use super::{
    super::cluster::{Cluster, Kind, until},
    receiver::{Behaviour, Receiver},
};

/// The length of faults that have one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lengths {
    /// A node is stopped for longer than its lease.
    pub(super) pause: Duration,
    /// A node, Redis or the backend is away.
    pub(super) away: Duration,
    /// The backend is down.
    pub(super) down: Duration,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HookScenario {
    /// Nothing happens
    None,
    /// `kill -9` of a node, which is started again
    KillNode,
    /// SIGSTOP of a node for longer than its lease, then SIGCONT
    PauseNode,
    /// `kill -9` of Redis, which is started again
    RestartRedis,
    /// `kill -9` of the primary; Sentinels promote its replica
    SentinelFailover,
    /// `kill -9` of a primary of a Redis Cluster; its replica is elected
    ClusterFailover,
    /// FLUSHALL: Redis forgets everything
    FlushAll,
    /// The backend answers 503
    EndpointDown,
    /// The backend answers 400 to one event
    PoisonEvent,
    /// `kill -9` of a node that waits for the answer to a batch
    KillInPost,
}

/// The effect of a fault on the receiver.
#[derive(Debug, Clone, Copy)]
pub(super) struct HookFault {
    pub(super) at: Instant,
    /// It was over.
    pub(super) over: Instant,
    /// The node whose last sessions died with it.
    pub(super) killed: Option<usize>,
    /// Redis forgot events; the receiver is told by a reset.
    pub(super) forgot: bool,
}

impl HookScenario {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::SentinelFailover => Kind::Sentinels,
            Self::ClusterFailover => Kind::Shards,
            _ => Kind::Alone,
        }
    }

    /// Carries it out, and returns when it is over.
    pub(super) fn inject(self, cluster: &mut Cluster, receiver: &Receiver, lengths: Lengths) -> HookFault {
        let at = Instant::now();
        let mut fault = HookFault { at, over: at, killed: None, forgot: false };
        match self {
            Self::None => {}
            Self::KillNode => {
                let node = &mut cluster.nodes[0];
                node.kill();
                fault.killed = Some(0);
                thread::sleep(lengths.away);
                node.restart();
            }
            Self::PauseNode => {
                let process = cluster.nodes[0].process();
                process.signal(Signal::SIGSTOP);
                thread::sleep(lengths.pause);
                process.signal(Signal::SIGCONT);
            }
            Self::RestartRedis => {
                cluster.redis.kill();
                thread::sleep(lengths.away);
                cluster.redis.restart();
                // A server that comes back may have lost its last changes: nobody can know.
                fault.forgot = true;
            }
            Self::SentinelFailover | Self::ClusterFailover => {
                let replica = cluster.replica.as_ref().expect("this kind has a replica");
                cluster.redis.kill();
                until("the replica is promoted", || replica.info("replication").contains("role:master"));
                // Replication is asynchronous: the last changes may be gone.
                fault.forgot = true;
            }
            Self::FlushAll => {
                cluster.redis.ask("FLUSHALL");
                fault.forgot = true;
            }
            Self::EndpointDown => {
                receiver.behave(Behaviour::Down);
                thread::sleep(lengths.down);
                receiver.behave(Behaviour::Good);
            }
            Self::PoisonEvent => receiver.behave(Behaviour::Poisoned),
            Self::KillInPost => {
                receiver.behave(Behaviour::Silent);
                thread::sleep(lengths.away);
                let node = &mut cluster.nodes[0];
                fault.at = Instant::now();
                fault.killed = Some(0);
                node.kill();
                receiver.behave(Behaviour::Good);
                node.restart();
            }
        }
        fault.over = Instant::now();
        fault
    }
}
