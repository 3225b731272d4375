//! A worker's inbox, which any thread may fill without waiting. What does not fit marks its channel as gapped, and the worker
//! reads it from history. `docs/architecture.md` §5.4.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use gorani_broker::ChannelEvent;
use indexmap::IndexSet;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};

use crate::{
    hub::{channel::InboxMark, history_reads::ReadVersion, scan::ScanRequest},
    session_command::SessionCommand,
    telemetry::spans::DeliverySpan,
};

/// Entries an inbox holds before its channels are marked gapped.
pub(super) const INBOX_ENTRIES: usize = 64 * 1024;
/// Payload bytes an inbox holds before its channels are marked gapped.
const INBOX_BYTES: usize = 64 * 1024 * 1024;
/// One entry of a worker's inbox.
pub(super) enum InboxEntry {
    /// An event of a channel, with what is measured of its way.
    Event(Arc<str>, ChannelEvent, EventMeasures),
    Gap(Arc<str>, ReadVersion),
    /// From here on the events of a channel count.
    Mark(Arc<str>, InboxMark),
    Command(Arc<SessionCommand>),
    /// End all sessions, spread over so long.
    Drain(Duration),
    Question(ScanRequest),
    /// Answered as soon as its turn comes.
    Ping(oneshot::Sender<()>),
}

/// The measures of an event's way through the node; of most events there are none.
#[derive(Clone, Default)]
pub struct EventMeasures {
    /// The time at which it came to the node.
    pub arrived: Option<Instant>,
    /// Its delivery, where its publication is sampled.
    pub span: Option<Arc<DeliverySpan>>,
}

/// The result of one channel's turn.
#[derive(Default)]
pub(super) struct ChannelTurn {
    pub(super) events: Vec<ChannelEvent>,
    /// The time at which the first event came to the node that is timed.
    pub(super) arrived: Option<Instant>,
    /// The deliveries of sampled publications among them.
    pub(super) spans: Vec<Arc<DeliverySpan>>,
}

impl ChannelTurn {
    /// One event more.
    pub(super) fn add(&mut self, event: ChannelEvent, measures: EventMeasures) {
        self.events.push(event);
        self.arrived = self.arrived.or(measures.arrived);
        self.spans.extend(measures.span);
    }
}

/// The end of an inbox that other threads hold.
pub struct Inbox {
    sender: mpsc::Sender<InboxEntry>,
    load: Arc<InboxLoad>,
}

/// State that both ends of an inbox share.
#[derive(Default)]
pub(super) struct InboxLoad {
    pub(super) bytes: AtomicUsize,
    /// Channels of which an event did not fit.
    pub(super) gapped: Mutex<IndexSet<Arc<str>>>,
    /// Notified for each of them: the inbox may be empty again by then, and nothing else would wake the worker.
    pub(super) overflowed: Notify,
    /// The node's lease had ended: what stood in the broker for its sessions may be gone.
    pub(super) lapsed: Notify,
}

impl InboxLoad {
    pub(super) fn mark_gapped(&self, channel: &Arc<str>) {
        self.gapped.lock().insert(channel.clone());
        self.overflowed.notify_one();
    }
}

/// The worker's hold on its own inbox; it does not keep the inbox open.
pub(super) struct OwnInbox {
    sender: mpsc::WeakSender<InboxEntry>,
    pub(super) load: Arc<InboxLoad>,
}

impl OwnInbox {
    /// Puts a mark of a channel behind all that is there already. False if it does not fit; then the channel is gapped.
    pub(super) fn mark(&self, channel: &Arc<str>, mark: InboxMark) -> bool {
        let Some(sender) = self.sender.upgrade() else { return false };
        let fits = sender.try_send(InboxEntry::Mark(channel.clone(), mark)).is_ok();
        if !fits {
            self.load.mark_gapped(channel);
        }
        fits
    }
}

/// The worker is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker is gone")]
pub struct WorkerGone;

/// Why a query was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryRejected {
    /// The worker does not keep up.
    #[error("the worker's inbox is full")]
    Full,
    /// The worker is gone.
    #[error("the worker is gone")]
    Gone,
}

impl Inbox {
    /// An empty inbox: the end for other threads, and the worker's.
    pub(super) fn new() -> (Self, mpsc::Receiver<InboxEntry>) {
        let (sender, receiver) = mpsc::channel(INBOX_ENTRIES);
        (Self { sender, load: Arc::default() }, receiver)
    }

    /// The same for the worker itself, which must not keep it open.
    pub(super) fn of_worker(&self) -> OwnInbox {
        OwnInbox { sender: self.sender.downgrade(), load: self.load.clone() }
    }

    /// Hands over an event without waiting. An event that does not fit marks its channel as gapped, and the worker
    /// reads it from history.
    pub fn event(&self, channel: &Arc<str>, event: ChannelEvent, measures: EventMeasures) {
        let size = size_of_event(&event);
        let span = measures.span.clone();
        if self.load.bytes.fetch_add(size, Ordering::Relaxed) > INBOX_BYTES
            || self.sender.try_send(InboxEntry::Event(channel.clone(), event, measures)).is_err()
        {
            self.load.bytes.fetch_sub(size, Ordering::Relaxed);
            self.load.mark_gapped(channel);
            if let Some(span) = span {
                span.overflowed();
            }
        }
    }

    /// Entries that wait for the worker.
    pub fn entries(&self) -> usize {
        INBOX_ENTRIES.saturating_sub(self.sender.capacity())
    }

    /// Notes that events of a channel may be missing that were published before `moment`.
    pub fn gap(&self, channel: &Arc<str>, moment: ReadVersion) {
        if self.sender.try_send(InboxEntry::Gap(channel.clone(), moment)).is_err() {
            self.load.mark_gapped(channel);
        }
    }

    /// Makes the worker enter its sessions into presence again.
    pub fn restore(&self) {
        self.load.lapsed.notify_one();
    }

    /// Hands over a command for sessions, waiting for room.
    pub async fn dispatch_command(&self, command: Arc<SessionCommand>) -> Result<(), WorkerGone> {
        self.sender.send(InboxEntry::Command(command)).await.map_err(|_| WorkerGone)
    }

    /// Has all sessions ended, spread over so long, waiting for room.
    pub async fn drain(&self, over: Duration) -> Result<(), WorkerGone> {
        self.sender.send(InboxEntry::Drain(over)).await.map_err(|_| WorkerGone)
    }

    /// Resolves when the worker has come to what was in its inbox by now, or is gone. False if it is gone.
    pub async fn ping(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.sender.send(InboxEntry::Ping(answer)).await.is_ok() && answered.await.is_ok()
    }

    /// Entries that wait for the worker.
    pub fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// Hands over a query without waiting.
    pub fn ask(&self, question: ScanRequest) -> Result<(), QueryRejected> {
        self.sender.try_send(InboxEntry::Question(question)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => QueryRejected::Full,
            mpsc::error::TrySendError::Closed(_) => QueryRejected::Gone,
        })
    }
}

/// Payload bytes of an event.
pub(super) fn size_of_event(event: &ChannelEvent) -> usize {
    match event {
        ChannelEvent::Publication(publication) => publication.data.len(),
        ChannelEvent::Join(_) | ChannelEvent::Leave(_) => 0,
    }
}
