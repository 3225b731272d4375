//! Changes of one partition for one call of the store, with what is to be done at its answer.

use std::sync::Arc;

use gorani_broker::hook_store::{HookChange, HookEventDraft, MAX_CHANGES};
use tokio::sync::oneshot;

/// Bytes of the events of a batch, about.
const BATCH_BYTES: u64 = 256 * 1024;

/// A change of a batch, for its answer.
#[derive(Debug)]
pub(super) enum BatchEntry {
    /// A session that comes again after the store had lost it: the rest of it follows.
    Resume(Arc<str>),
    /// Something that happened to a session.
    Note(Arc<str>),
    /// Nothing to do after it.
    Other,
    /// A publication whose client waits.
    Publication(Option<oneshot::Sender<bool>>),
}

/// Changes for one call.
#[derive(Debug, Default)]
pub(super) struct ChangeBatch {
    pub(super) changes: Vec<HookChange>,
    pub(super) entries: Vec<BatchEntry>,
    bytes: u64,
}

impl ChangeBatch {
    pub(super) fn push(&mut self, entry: BatchEntry, change: HookChange) {
        self.bytes += event_of(&change).content_bytes();
        self.changes.push(change);
        self.entries.push(entry);
    }

    pub(super) fn is_full(&self) -> bool {
        self.changes.len() >= MAX_CHANGES || self.bytes >= BATCH_BYTES
    }

    /// Room for a whole session that began and ended: its two ends.
    pub(super) fn has_room(&self, changes: usize) -> bool {
        self.changes.len() + changes <= MAX_CHANGES && (self.changes.is_empty() || self.bytes < BATCH_BYTES)
    }

    /// Its publications are not waited for any more, and are not tried again.
    pub(super) fn give_publications_up(&mut self) {
        let is_publication = |entry: &BatchEntry| matches!(entry, BatchEntry::Publication(_));
        let mut kept =
            self.entries.iter().map(|entry| !is_publication(entry)).collect::<Vec<_>>().into_iter();
        self.changes.retain(|_| kept.next().unwrap_or(true));
        for entry in self.entries.extract_if(.., |entry| is_publication(entry)) {
            if let BatchEntry::Publication(Some(answer)) = entry {
                // A client that has gone does not wait.
                let _ = answer.send(false);
            }
        }
    }
}

fn event_of(change: &HookChange) -> &HookEventDraft {
    match change {
        HookChange::Connect { event }
        | HookChange::Disconnect { event, .. }
        | HookChange::Note { event }
        | HookChange::Enter { event, .. }
        | HookChange::Leave { event, .. }
        | HookChange::EndDue { event, .. }
        | HookChange::Append { event } => event,
    }
}
