//! A worker's inbox, which any thread may fill without waiting. What does not fit marks its channel as gapped, and the worker reads
//! it from history. Design §3.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use gorani_broker::Event;
use indexmap::IndexSet;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::hub::{channel::InboxMark, control::Control, reads::Moment, scan::Question};

/// Entries an inbox holds before its channels are marked gapped.
pub(super) const INBOX_ENTRIES: usize = 64 * 1024;
/// Payload bytes an inbox holds before its channels are marked gapped.
const INBOX_BYTES: usize = 64 * 1024 * 1024;
/// One thing that a worker is told.
pub(super) enum Entry {
    Event(Arc<str>, Event),
    Gap(Arc<str>, Moment),
    /// From here on the events of a channel count.
    Mark(Arc<str>, InboxMark),
    Control(Arc<Control>),
    Question(Question),
}

/// The end of an inbox that other threads hold.
pub struct Inbox {
    sender: mpsc::Sender<Entry>,
    load: Arc<Load>,
}

/// State that both ends of an inbox share.
#[derive(Default)]
pub(super) struct Load {
    pub(super) bytes: AtomicUsize,
    /// Channels of which an event did not fit.
    pub(super) gapped: Mutex<IndexSet<Arc<str>>>,
    /// Told of each of them: the inbox may be empty again by then, and nothing else would wake the worker.
    pub(super) overflowed: Notify,
    /// The node's lease had ended: what stood in the broker for its sessions may be gone.
    pub(super) lapsed: Notify,
}

impl Load {
    pub(super) fn mark_gapped(&self, channel: &Arc<str>) {
        self.gapped.lock().insert(channel.clone());
        self.overflowed.notify_one();
    }
}

/// The worker's hold on its own inbox; it does not keep the inbox open.
pub(super) struct OwnInbox {
    sender: mpsc::WeakSender<Entry>,
    pub(super) load: Arc<Load>,
}

impl OwnInbox {
    /// Puts a mark of a channel behind all that is there already. False if it does not fit; then the channel is gapped.
    pub(super) fn mark(&self, channel: &Arc<str>, mark: InboxMark) -> bool {
        let Some(sender) = self.sender.upgrade() else { return false };
        let fits = sender.try_send(Entry::Mark(channel.clone(), mark)).is_ok();
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

/// Why a question was not handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unasked {
    /// The worker does not keep up.
    #[error("the worker's inbox is full")]
    Full,
    /// The worker is gone.
    #[error("the worker is gone")]
    Gone,
}

impl Inbox {
    /// An empty inbox: the end for other threads, and the worker's.
    pub(super) fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (sender, receiver) = mpsc::channel(INBOX_ENTRIES);
        (Self { sender, load: Arc::default() }, receiver)
    }

    /// The same for the worker itself, which must not keep it open.
    pub(super) fn of_worker(&self) -> OwnInbox {
        OwnInbox { sender: self.sender.downgrade(), load: self.load.clone() }
    }

    /// Hands over an event without waiting. An event that does not fit marks its channel as gapped, and the worker
    /// reads it from history.
    pub fn event(&self, channel: &Arc<str>, event: Event) {
        let size = size_of_event(&event);
        if self.load.bytes.fetch_add(size, Ordering::Relaxed) > INBOX_BYTES
            || self.sender.try_send(Entry::Event(channel.clone(), event)).is_err()
        {
            self.load.bytes.fetch_sub(size, Ordering::Relaxed);
            self.load.mark_gapped(channel);
        }
    }

    /// Hands over the news that events of a channel may be missing that were published before `moment`.
    pub fn gap(&self, channel: &Arc<str>, moment: Moment) {
        if self.sender.try_send(Entry::Gap(channel.clone(), moment)).is_err() {
            self.load.mark_gapped(channel);
        }
    }

    /// Has the sessions entered anew into presence.
    pub fn restore(&self) {
        self.load.lapsed.notify_one();
    }

    /// Hands over an order, waiting for room.
    pub async fn control(&self, control: Arc<Control>) -> Result<(), WorkerGone> {
        self.sender.send(Entry::Control(control)).await.map_err(|_| WorkerGone)
    }

    /// Hands over a question without waiting.
    pub fn ask(&self, question: Question) -> Result<(), Unasked> {
        self.sender.try_send(Entry::Question(question)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unasked::Full,
            mpsc::error::TrySendError::Closed(_) => Unasked::Gone,
        })
    }
}

/// Payload bytes of an event.
pub(super) fn size_of_event(event: &Event) -> usize {
    match event {
        Event::Publication(publication) => publication.data.len(),
        Event::Join(_) | Event::Leave(_) => 0,
    }
}
