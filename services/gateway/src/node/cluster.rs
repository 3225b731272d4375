//! The other nodes, and the calls to them. `docs/architecture.md` §5.7.
//!
//! Each node announces itself with a lease ([`ClusterMember::keep_lease`]) and watches those of the others ([`membership`]). A
//! command or a query for the whole cluster goes to the nodes whose lease is running as one message ([`envelope`]), each of them
//! answers, and it has succeeded when all have ([`rpc`], [`queries`]). The clients of a dead node vanish from presence
//! ([`presence`]). The memory broker has one node, and the same code path.

pub mod drift;
mod envelope;
pub mod event_queries;
pub mod event_reports;
pub(super) mod hook_nodes;
pub mod inspect;
pub mod inspector;
mod membership;
mod own_address;
mod peers;
pub mod permission_count;
pub mod presence;
mod queries;
mod rpc;
mod sampled_traces;
pub mod secret;
pub mod traces;
pub mod versions;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use gorani_broker::{Broker, Member};
use tokio::{sync::Semaphore, time::Instant};

use self::{
    drift::SettingsDrift,
    envelope::KINDS,
    inspector::RegisteredInspector,
    membership::{MembershipChange, NodeDescription},
    own_address::Addresses,
    peers::{ClusterInbox, Peers},
    sampled_traces::SampledTraces,
};
use super::workers::Workers;
use crate::{
    event_log::event::GapChange,
    hooks::Hooks,
    hub::{history_reads::HistoryReads, removals::PRESENCE_TTL},
    metrics::Metrics,
    session::shared::current_policy::CurrentPolicy,
    settings::{MembershipSettings, Settings},
    tasks::Tasks,
};

pub use self::{membership::NodeCounts, peers::ClusterError, queries::NodeOverview};

/// Pause before an announcement that the broker did not take is retried: others must not take this node for
/// dead longer than they have to once the broker is back.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Shortest pause between two reads of the members for an unknown node, whatever made-up names ask for.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Scans of a node at a time: each of them may take up to 25 ms of every worker's time.
const SCANS_AT_A_TIME: usize = 2;

/// The name of something that has one owner in the cluster, which nodes claim at the broker.
#[derive(Debug, Clone, Copy)]
pub enum ClaimName<'a> {
    /// The secret of the cluster. Its owner is the secret itself.
    Secret,
    /// The channel out of whose presence the owner takes the clients of a dead node.
    Reaper {
        /// The dead node's id.
        dead: &'a str,
        /// The channel.
        channel: &'a str,
    },
    /// A session by its key, which begins with the slash of its path: no client can name the others.
    Session(&'a str),
}

impl fmt::Display for ClaimName<'_> {
    /// As nodes of every version claim it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret => formatter.write_str("secret of the cluster"),
            Self::Reaper { dead, channel } => write!(formatter, "reaper {dead} {channel}"),
            Self::Session(key) => formatter.write_str(key),
        }
    }
}

/// This node among the others.
pub struct ClusterMember {
    id: Arc<str>,
    started: Instant,
    settings: MembershipSettings,
    broker: Arc<dyn Broker>,
    policy: Arc<CurrentPolicy>,
    workers: Arc<Workers>,
    /// Scans of the workers that may be under way.
    scans: Semaphore,
    /// Traces that sampled contexts of backends have begun here.
    sampled_traces: SampledTraces,
    reads: Arc<HistoryReads>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    pub(super) peers: Peers,
    addresses: Addresses,
    /// Nodes whose settings differ from those of this one.
    pub drift: SettingsDrift,
    /// Hooks of this node, if it has any.
    pub(super) hooks: OnceLock<Weak<Hooks>>,
    inspector: RegisteredInspector,
}

impl ClusterMember {
    /// A node that knows of no other one yet, and what the others write to it.
    pub(super) fn new(
        settings: &Settings,
        started: Instant,
        broker: Arc<dyn Broker>,
        policy: Arc<CurrentPolicy>,
        workers: Arc<Workers>,
        reads: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, ClusterInbox) {
        let id = policy.node_id.clone();
        let (peers, mail) = Peers::new(id.clone(), settings.cluster.lease, PRESENCE_TTL, metrics.clone());
        let cluster = Arc::new(Self {
            scans: Semaphore::new(SCANS_AT_A_TIME),
            sampled_traces: SampledTraces::default(),
            id,
            started,
            settings: settings.cluster.clone(),
            broker,
            policy,
            tasks: workers.tasks.clone(),
            workers,
            reads,
            metrics,
            peers,
            addresses: Addresses::new(settings),
            drift: SettingsDrift::default(),
            hooks: OnceLock::new(),
            inspector: RegisteredInspector::default(),
        });
        (cluster, mail)
    }

    /// Renews the lease until the node retires, and takes the clients of dead nodes out of presence.
    pub(super) async fn keep_lease(self: Arc<Self>) {
        while !self.peers.retired.load(Ordering::Acquire) {
            let renewed = self.announce().await;
            let pause = if renewed { self.settings.heartbeat } else { RETRY_AFTER };
            tokio::time::sleep(pause).await;
        }
    }

    /// Announces this node once; false if the broker did not take it. No worker is asked for anything: a worker that is held up
    /// must not end the lease.
    pub(super) async fn announce(self: &Arc<Self>) -> bool {
        let description = NodeDescription {
            name: self.policy.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            counts: self.local_counts(),
            address: self.addresses.own(),
            understands: KINDS,
            settings: self.drift.own(),
        };
        let lease = self.settings.lease;
        let sent = Instant::now();
        let announced = match self.broker.cluster().announce(&self.id, description.write(), lease).await {
            Ok(announced) => announced,
            Err(error) => {
                tracing::debug!(%error, "renewing the lease failed");
                return false;
            }
        };
        if self.peers.retired.load(Ordering::Acquire) {
            // It was under way when the node ended its lease.
            let _ = self.broker.cluster().retire(&self.id).await;
            return true;
        }
        self.metrics.cluster.members.set(i64::try_from(announced.members.len()).unwrap_or(i64::MAX));
        let MembershipChange { lapsed, died } =
            self.peers.view.lock().announced(&announced, sent, Instant::now());
        self.tell_drift(&announced.members);
        let hooks = self.hooks.get().and_then(Weak::upgrade);
        if let Some(hooks) = &hooks {
            if !announced.renewed || lapsed {
                // Others may have taken this node for dead, and ended its sessions for the backend.
                hooks.tracker.request_repair();
            }
            if !died.is_empty() {
                hooks.node_died();
            }
        }
        if lapsed {
            self.peers.lapses.fetch_add(1, Ordering::Relaxed);
            self.metrics.cluster.lease_lapses.inc();
            tracing::warn!("lease expired; re-registering presence");
            self.workers.restore_presence();
        }
        for node in died {
            let name = self.peers.description(&node).name;
            self.workers.events.note(GapChange::NodeLost { id: node.clone(), name });
            tracing::info!(node, "node left the cluster");
            self.tasks.spawn(self.clone().reap_everywhere(node));
        }
        true
    }

    /// Names the nodes whose settings differ, once for each change.
    fn tell_drift(&self, members: &Arc<[Member]>) {
        let Some(differing) = self.drift.compare(&self.id, members) else { return };
        self.metrics.reload.differing_nodes.set(i64::try_from(differing.len()).unwrap_or(i64::MAX));
        if differing.is_empty() {
            tracing::info!("settings are equal on all nodes");
        }
        for (node, sections) in differing {
            let name = self.peers.description(&node).name;
            tracing::warn!(
                node,
                name,
                sections = sections.join(", "),
                "settings differ between this node and another one"
            );
        }
    }

    /// Ends the lease for good: the node is down, and nobody needs to wait for it.
    pub async fn retire(&self) {
        self.peers.retired.store(true, Ordering::Release);
        if let Err(error) = self.broker.cluster().retire(&self.id).await {
            tracing::warn!(%error, "ending the lease failed; it will expire");
        }
    }

    /// Announces the address at which the others reach this node, which listens there.
    pub async fn advertise(self: &Arc<Self>, listening: SocketAddr) {
        self.set_address(listening).await;
        self.announce().await;
    }

    pub(super) async fn set_address(&self, listening: SocketAddr) {
        self.addresses.listening(listening).await;
    }

    /// The address of another node: `host:port`. `None` if it is not alive, or does not say.
    pub async fn address_of(&self, node: &str) -> Option<String> {
        if *node == *self.id {
            return None;
        }
        if let Some(address) = self.known_address(node) {
            return Some(address);
        }
        // It may have begun a moment ago. Those who ask at the same time wait for the same answer.
        let mut looked_at = self.addresses.looked_at.lock().await;
        if let Some(address) = self.known_address(node) {
            return Some(address);
        }
        if looked_at.is_none_or(|at| at.elapsed() >= LOOK_AT_MOST_EVERY) {
            if let Err(error) = self.refresh_members().await {
                tracing::debug!(%error, "reading the cluster's members failed");
            }
            *looked_at = Some(Instant::now());
        }
        self.known_address(node)
    }

    fn known_address(&self, node: &str) -> Option<String> {
        Some(self.peers.description(node).address).filter(|address| !address.is_empty())
    }
}

#[cfg(test)]
mod tests;
