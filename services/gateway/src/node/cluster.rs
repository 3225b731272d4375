//! The other nodes: who they are, and what is asked of them. `docs/architecture.md` §5.7.
//!
//! Each node announces itself with a lease and watches those of the others ([`heartbeat`], [`membership`]). An order or a question
//! for the whole cluster goes to the nodes whose lease is running as one message ([`envelope`]), each of them answers, and
//! it has succeeded when all have ([`rpc`], [`commands`], [`overview`], [`kinds`]). The
//! clients of a dead node vanish from presence ([`reaper`]). The memory broker has one node, and the same code path.

mod address;
mod commands;
mod description;
mod envelope;
mod heartbeat;
mod kinds;
mod membership;
mod overview;
mod pending_queries;
mod reaper;
mod rpc;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use gorani_broker::{Broker, BrokerError};
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::Instant,
};

pub(super) use self::reaper::{is_of, worker_gone};
use self::{
    envelope::{ClusterAnswer, ClusterQuery, EnvelopeBody},
    membership::MembershipView,
    pending_queries::PendingQueries,
    rpc::{MembersRead, Recipients},
};
use crate::{
    disconnect::ErrorCode,
    hub::{history_reads::HistoryReads, removals::PRESENCE_TTL},
    metrics::Metrics,
    node::{query::LocalQueries, workers::Workers},
    session::shared::policy::Policy,
    settings::{MembershipSettings, Settings},
    tasks::Tasks,
};

/// Messages from other nodes that may wait to be read.
const MAILBOX_MESSAGES: usize = 4096;
/// Bytes of them.
const MAILBOX_BYTES: usize = 64 * 1024 * 1024;
/// Digits of a node's id, with which the ids of its clients begin.
const NODE_ID_BYTES: usize = 8;

/// Why the whole cluster could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The broker did not tell who is there, or did not carry the message.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// These nodes live and did not answer in time: what they did is unknown.
    #[error("no answer from node {}, outcome unknown", .0.join(", "))]
    Unanswered(Vec<String>),
    /// These nodes do not know this kind of request, since they are of another version: id and version of each.
    #[error("node {} of this cluster does not understand this request", .nodes.join(", "))]
    Unsupported {
        /// `0badcafe (version 0.3.0)`.
        nodes: Vec<String>,
        /// Other nodes may have carried it out.
        is_partly_done: bool,
    },
    /// Too many questions wait or are looked into already; nothing was done.
    #[error("too many requests of this kind at the moment")]
    Busy,
}

impl From<&ClusterError> for ErrorCode {
    fn from(error: &ClusterError) -> Self {
        match error {
            ClusterError::Broker(error) => error.clone().into(),
            ClusterError::Unanswered(_) => Self::UNKNOWN_OUTCOME,
            ClusterError::Unsupported { is_partly_done: true, .. } => Self::UNKNOWN_OUTCOME,
            ClusterError::Unsupported { .. } => Self::UNAVAILABLE,
            ClusterError::Busy => Self::TOO_MANY_REQUESTS,
        }
    }
}

/// This node among the others.
pub struct ClusterMember {
    id: Arc<str>,
    started: Instant,
    settings: MembershipSettings,
    broker: Arc<dyn Broker>,
    policy: Arc<Policy>,
    workers: Arc<Workers>,
    queries: LocalQueries,
    reads: Arc<HistoryReads>,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    pub(super) peers: Peers,
    addresses: address::Addresses,
}

impl ClusterMember {
    /// A node that knows of no other one yet, and what the others write to it.
    pub(super) fn new(
        settings: &Settings,
        started: Instant,
        broker: Arc<dyn Broker>,
        policy: Arc<Policy>,
        workers: Arc<Workers>,
        reads: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, ClusterInbox) {
        let id = policy.node_id.clone();
        let (peers, mail) = Peers::new(id.clone(), settings.cluster.lease, PRESENCE_TTL, metrics.clone());
        let cluster = Arc::new(Self {
            queries: LocalQueries::new(id.clone(), workers.clone(), metrics.clone()),
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
            addresses: address::Addresses::new(settings),
        });
        (cluster, mail)
    }
}

/// What a node keeps about the others.
pub(super) struct Peers {
    view: Mutex<MembershipView>,
    waiting: PendingQueries,
    /// Held while the leases are read.
    last_read: AsyncMutex<Option<MembersRead>>,
    /// Clients of dead nodes that are being taken out of presence.
    reaping: reaper::ReapInProgress,
    mailbox: mpsc::Sender<Bytes>,
    mailbox_bytes: Arc<AtomicUsize>,
    /// The node has ended its lease for good.
    retired: AtomicBool,
    /// How often its lease ran out, or the broker lost it.
    lapses: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The other end of the mailbox.
pub(super) struct ClusterInbox {
    messages: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
}

impl Peers {
    /// `trace`: how long what a node leaves behind in the broker outlives it.
    pub(super) fn new(
        own: Arc<str>,
        lease: Duration,
        trace: Duration,
        metrics: Arc<Metrics>,
    ) -> (Self, ClusterInbox) {
        let (mailbox, messages) = mpsc::channel(MAILBOX_MESSAGES);
        let mailbox_bytes = Arc::<AtomicUsize>::default();
        let peers = Self {
            view: Mutex::new(MembershipView::new(own, lease, trace, Instant::now())),
            waiting: PendingQueries::default(),
            last_read: AsyncMutex::new(None),
            reaping: reaper::ReapInProgress::default(),
            mailbox,
            mailbox_bytes: Arc::clone(&mailbox_bytes),
            retired: AtomicBool::new(false),
            lapses: AtomicU64::new(0),
            metrics,
        };
        (peers, ClusterInbox { messages, bytes: mailbox_bytes })
    }

    /// Takes a message in without waiting. One that does not fit is not answered, and whoever wrote it is told by the
    /// time-out.
    pub(super) fn deliver(&self, message: Bytes) {
        let size = message.len();
        if self.mailbox_bytes.fetch_add(size, Ordering::Relaxed) > MAILBOX_BYTES
            || self.mailbox.try_send(message).is_err()
        {
            self.mailbox_bytes.fetch_sub(size, Ordering::Relaxed);
            self.metrics.cluster.dropped.inc();
        }
    }
}

impl ClusterInbox {
    async fn next(&mut self) -> Option<Bytes> {
        let message = self.messages.recv().await?;
        self.bytes.fetch_sub(message.len(), Ordering::Relaxed);
        Some(message)
    }
}

/// The id of the node that a client is connected to; `None` if the id is none of ours.
pub(super) fn node_of(client: &str) -> Option<&str> {
    client.get(..NODE_ID_BYTES).filter(|node| node.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
