//! The state that a node keeps about the others: the members, their messages, the pending queries, and the dead ones whose
//! clients are being taken out of presence.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{FutureExt as _, Shared};
use gorani_broker::BrokerError;
use parking_lot::Mutex;
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::Instant,
};

use super::{
    envelope::ClusterAnswer,
    membership::{MembershipView, NodeDescription},
};
use crate::{disconnect::ErrorCode, metrics::Metrics, tasks::Tasks};

/// Messages from other nodes that may wait to be read.
pub(super) const MAILBOX_MESSAGES: usize = 4096;
/// Bytes of them.
pub(super) const MAILBOX_BYTES: usize = 64 * 1024 * 1024;

/// Queries that may wait at a time.
const WAITING_MAX: usize = 4096;

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
    pub(super) fn description(&self, node: &str) -> NodeDescription {
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

/// Why the whole cluster could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The broker did not list the members, or did not carry the message.
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
    /// Too many queries wait or run already; nothing was done.
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

type PendingTable = Mutex<HashMap<u64, mpsc::Sender<(String, ClusterAnswer)>>>;

/// The queries that wait for answers, by number. Bounded.
#[derive(Debug, Default)]
pub(super) struct PendingQueries {
    next: AtomicU64,
    table: Arc<PendingTable>,
}

/// A query that waits; dropped, it waits no longer.
pub(super) struct PendingQuery {
    pub(super) id: u64,
    answers: mpsc::Receiver<(String, ClusterAnswer)>,
    table: Arc<PendingTable>,
}

impl PendingQueries {
    /// Begins to wait for the answers of so many nodes; `None` if too many queries wait.
    pub(super) fn begin(&self, nodes: usize) -> Option<PendingQuery> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::channel(nodes.max(1));
        let mut table = self.table.lock();
        if table.len() >= WAITING_MAX {
            return None;
        }
        table.insert(id, sender);
        Some(PendingQuery { id, answers, table: Arc::clone(&self.table) })
    }

    /// Hands an answer to its query, if that still waits.
    pub(super) fn resolve(&self, id: u64, from: String, answer: ClusterAnswer) {
        if let Some(sender) = self.table.lock().get(&id) {
            // More answers than nodes were asked: one of them repeats itself.
            let _ = sender.try_send((from, answer));
        }
    }
}

impl PendingQuery {
    /// The next answer. Pending while there is none.
    pub(super) async fn answer(&mut self) -> (String, ClusterAnswer) {
        match self.answers.recv().await {
            Some(answer) => answer,
            // The table holds the other end as long as this lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for PendingQuery {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

/// Clients of dead nodes are being taken out of a channel: reports when they are out, or why they are not.
pub(super) type Reaping = Shared<oneshot::Receiver<Result<(), BrokerError>>>;

/// A channel and a dead node; without a node, all dead ones.
pub(super) type ReapingKey = (Arc<str>, Option<String>);

/// The reaping that is under way: a second request for the same waits for it.
#[derive(Default)]
pub(super) struct ReapInProgress(Arc<Mutex<HashMap<ReapingKey, Reaping>>>);

impl ReapInProgress {
    /// Begins, unless the same is under way. It goes on where nobody waits for it.
    pub(super) fn begin(
        &self,
        tasks: &Tasks,
        key: ReapingKey,
        reap: impl Future<Output = Result<(), BrokerError>> + 'static,
    ) -> Reaping {
        let mut under_way = self.0.lock();
        if let Some(reaping) = under_way.get(&key) {
            return reaping.clone();
        }
        let (done, reaping) = oneshot::channel();
        let reaping = reaping.shared();
        under_way.insert(key.clone(), reaping.clone());
        let table = self.0.clone();
        tasks.spawn(async move {
            let are_out = reap.await;
            table.lock().remove(&key);
            // Nobody may wait for it.
            let _ = done.send(are_out);
        });
        reaping
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn answers_find_their_question_and_late_ones_nobody() {
        let waiting = PendingQueries::default();
        let (mut one, mut other) = (waiting.begin(1).unwrap(), waiting.begin(2).unwrap());
        waiting.resolve(other.id, "a".to_owned(), ClusterAnswer::Done);
        waiting.resolve(one.id, "b".to_owned(), ClusterAnswer::Done);
        waiting.resolve(one.id, "b".to_owned(), ClusterAnswer::Done);
        assert_eq!(other.answer().await.0, "a");
        assert_eq!(one.answer().await.0, "b");
        let late = one.id;
        drop(one);
        waiting.resolve(late, "b".to_owned(), ClusterAnswer::Done);
        assert_eq!(waiting.table.lock().len(), 1);
    }

    #[test]
    fn questions_are_bounded() {
        let waiting = PendingQueries::default();
        let questions: Vec<_> = (0..WAITING_MAX).map(|_| waiting.begin(1).unwrap()).collect();
        assert!(waiting.begin(1).is_none());
        drop(questions);
        assert!(waiting.begin(1).is_some());
    }
}
