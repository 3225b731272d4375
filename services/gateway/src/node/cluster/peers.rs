//! The state that a node keeps about the others: the members, the pending queries, and their messages.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc},
    time::Instant,
};

use super::{
    description::NodeDescription, error::ClusterError, membership::MembershipView,
    pending_queries::PendingQueries, reaping::ReapInProgress,
};
use crate::metrics::Metrics;

/// Messages from other nodes that may wait to be read.
pub(super) const MAILBOX_MESSAGES: usize = 4096;
/// Bytes of them.
pub(super) const MAILBOX_BYTES: usize = 64 * 1024 * 1024;

/// A read of the leases, shared by all who called before it began.
pub(super) struct MembersRead {
    pub(super) began: Instant,
    pub(super) others: Result<BTreeSet<String>, ClusterError>,
}

/// The state that a node keeps about the others.
pub(in crate::node) struct Peers {
    pub(super) view: Mutex<MembershipView>,
    pub(super) waiting: PendingQueries,
    /// Held while the leases are read.
    pub(super) last_read: AsyncMutex<Option<MembersRead>>,
    /// Clients of dead nodes that are being taken out of presence.
    pub(super) reaping: ReapInProgress,
    mailbox: mpsc::Sender<Bytes>,
    mailbox_bytes: Arc<AtomicUsize>,
    /// The node has ended its lease for good.
    pub(super) retired: AtomicBool,
    /// The number of times that its lease ran out, or the broker lost it.
    pub(super) lapses: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The other end of the mailbox.
pub(in crate::node) struct ClusterInbox {
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
            reaping: ReapInProgress::default(),
            mailbox,
            mailbox_bytes: Arc::clone(&mailbox_bytes),
            retired: AtomicBool::new(false),
            lapses: AtomicU64::new(0),
            metrics,
        };
        (peers, ClusterInbox { messages, bytes: mailbox_bytes })
    }

    /// Takes a message in without waiting. One that does not fit is not answered, and its sender learns it by the
    /// time-out.
    pub(in crate::node) fn deliver(&self, message: Bytes) {
        let size = message.len();
        if self.mailbox_bytes.fetch_add(size, Ordering::Relaxed) > MAILBOX_BYTES
            || self.mailbox.try_send(message).is_err()
        {
            self.mailbox_bytes.fetch_sub(size, Ordering::Relaxed);
            self.metrics.cluster.dropped.inc();
        }
    }

    /// The description of a node.
    pub(in crate::node) fn description(&self, node: &str) -> NodeDescription {
        self.view.lock().description(node).unwrap_or_default()
    }
}

impl ClusterInbox {
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let message = self.messages.recv().await?;
        self.bytes.fetch_sub(message.len(), Ordering::Relaxed);
        Some(message)
    }
}
