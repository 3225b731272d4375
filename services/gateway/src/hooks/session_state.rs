//! A session as the tracker knows it: the truth of the node, what the store has of it, and what is to follow.

use std::sync::Arc;

use gorani_broker::hook_store::{HookChange, HookEventDraft, MAX_CHANGES};

use super::{
    change_batch::{BatchEntry, ChangeBatch},
    event::{HookDrafts, TrackedClient},
};
use crate::clock::unix_ms;

/// Notes of a session that wait, at most, where nothing is left out.
const NOTES_MAX: usize = 64;

/// Something that happened to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SessionNote {
    /// It subscribed to a channel.
    Subscribed { time_ms: u64, channel: Arc<str>, is_server_side: bool, is_resumed: bool },
    /// It left one.
    Unsubscribed { time_ms: u64, channel: Arc<str>, code: u32, reason: Arc<str> },
}

/// A channel of a session.
#[derive(Debug)]
pub(super) struct TrackedSubscription {
    pub(super) channel: Arc<str>,
    pub(super) is_server_side: bool,
    /// It stands in the channel's presence.
    pub(super) is_present: bool,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrackedEnd {
    pub(super) time_ms: u64,
    pub(super) code: u32,
    pub(super) reason: Arc<str>,
}

/// A session.
#[derive(Debug)]
pub(super) struct SessionState {
    pub(super) of: Arc<TrackedClient>,
    /// Its client has connected: before that the store gets nothing of it.
    pub(super) is_connected: bool,
    /// The store has it.
    pub(super) is_stored: bool,
    /// The store lost it.
    is_resumed: bool,
    pub(super) end: Option<TrackedEnd>,
    /// Its end waits for another session of its user.
    pub(super) waits: bool,
    /// Unix milliseconds.
    pub(super) connected_ms: u64,
    /// The session of the same user that it takes the place of.
    pub(super) replaces: Option<Box<Self>>,
    pub(super) channels: Vec<TrackedSubscription>,
    notes: Vec<SessionNote>,
    pub(super) is_queued: bool,
}

impl SessionState {
    /// Changes of one step of [`SessionState::write`] beside its notes, at most: the end of the session that it replaces, and both
    /// ends of its own.
    pub(super) const CHANGES: usize = 4;

    pub(super) fn new(of: TrackedClient) -> Self {
        Self {
            of: Arc::new(of),
            is_connected: false,
            is_stored: false,
            is_resumed: false,
            end: None,
            waits: false,
            connected_ms: 0,
            replaces: None,
            channels: Vec::new(),
            notes: Vec::new(),
            is_queued: false,
        }
    }

    /// The client whose session it replaces, until the store has that.
    pub(super) fn replaced(&self) -> Option<Arc<str>> {
        self.replaces.as_ref().map(|replaced| replaced.of.client.clone())
    }

    /// Adds a note; true if it and an earlier one were left out, since together they change nothing.
    pub(super) fn note(&mut self, note: SessionNote, collapse: bool) -> bool {
        if collapse || self.notes.len() >= NOTES_MAX {
            let opposite = |known: &SessionNote| match (&note, known) {
                (
                    SessionNote::Subscribed { channel, .. },
                    SessionNote::Unsubscribed { channel: known, .. },
                )
                | (
                    SessionNote::Unsubscribed { channel, .. },
                    SessionNote::Subscribed { channel: known, .. },
                ) => channel == known,
                _ => false,
            };
            if let Some(index) = self.notes.iter().rposition(opposite) {
                self.notes.remove(index);
                return true;
            }
        }
        self.notes.push(note);
        false
    }

    /// The store has just taken it anew: all its channels follow.
    pub(super) fn note_all_channels(&mut self) {
        let subscribed = |known: &TrackedSubscription| SessionNote::Subscribed {
            time_ms: unix_ms(),
            channel: known.channel.clone(),
            is_server_side: known.is_server_side,
            is_resumed: true,
        };
        self.notes = self.channels.iter().map(subscribed).collect();
    }

    /// The store does not have it any more.
    pub(super) fn lose(&mut self) {
        self.is_resumed |= self.is_stored;
        self.is_stored = false;
        self.replaces = None;
        if self.is_resumed {
            self.notes = Vec::new();
        }
    }

    /// True if nothing is left to do for it.
    pub(super) fn is_over(&self) -> bool {
        self.end.is_some() && !self.is_stored && self.replaces.is_none()
    }

    /// True if it has more for the store.
    pub(super) fn has_more(&self) -> bool {
        let is_ending = self.end.is_some() && !self.waits;
        self.is_stored && !self.is_resumed && (is_ending || !self.notes.is_empty())
    }

    /// Writes its next changes. Returns how many things were left out.
    pub(super) fn write(&mut self, drafts: &HookDrafts, collapse: bool, batch: &mut ChangeBatch) -> u64 {
        if !self.is_connected {
            return 0;
        }
        let mut collapsed = 0;
        if self.end.is_some() && !self.is_stored && (collapse || self.is_resumed) {
            // Its own end is that of the session which it would have replaced.
            if let (Some(replaced), Some(end)) = (self.replaces.take(), &self.end) {
                let event = ended(drafts, &replaced.of, end);
                batch.push(BatchEntry::Other, HookChange::Disconnect { event, keep_sequence: false });
            }
            return 1;
        }
        // A call that is repeated would connect it again after its end: that comes with the next call.
        let is_new = !self.is_stored;
        if is_new {
            let replaced = self.replaces.take();
            if let Some(replaced) = &replaced {
                let mut event = drafts.disconnected(&replaced.of, 0, "");
                event.endpoints = Arc::default();
                batch.push(BatchEntry::Other, HookChange::Disconnect { event, keep_sequence: false });
            }
            let client = replaced.as_ref().map(|replaced| &*replaced.of.client);
            let mut event = drafts.connected(&self.of, self.is_resumed, client);
            if !self.is_resumed {
                event.time_ms = self.connected_ms;
            }
            self.is_stored = true;
            if std::mem::take(&mut self.is_resumed) {
                // What it had follows once the store says that it did not have it.
                batch.push(BatchEntry::Resume(self.of.client.clone()), HookChange::Connect { event });
                return 0;
            }
            batch.push(BatchEntry::Other, HookChange::Connect { event });
        }
        if self.end.is_some() && collapse {
            let is_end = |note: &SessionNote| matches!(note, SessionNote::Unsubscribed { .. });
            let before = self.notes.len();
            self.notes.retain(is_end);
            collapsed += (before - self.notes.len()) as u64;
        }
        self.write_notes(drafts, batch);
        if let Some(end) = self.end.as_ref().filter(|_| self.notes.is_empty() && !self.waits && !is_new) {
            let event = ended(drafts, &self.of, end);
            self.is_stored = false;
            batch.push(BatchEntry::Other, HookChange::Disconnect { event, keep_sequence: false });
        }
        collapsed
    }

    /// Writes as many notes as have room, with one more change after them.
    fn write_notes(&mut self, drafts: &HookDrafts, batch: &mut ChangeBatch) {
        let room = (MAX_CHANGES - 1).saturating_sub(batch.changes.len());
        let count = room.min(self.notes.len());
        for note in self.notes.drain(..count) {
            let event = match &note {
                SessionNote::Subscribed { time_ms, channel, is_server_side, is_resumed } => {
                    let event = drafts.subscribed(&self.of, channel, *is_server_side, *is_resumed);
                    HookEventDraft { time_ms: *time_ms, ..event }
                }
                SessionNote::Unsubscribed { time_ms, channel, code, reason } => {
                    let event = drafts.unsubscribed(&self.of, channel, *code, reason);
                    HookEventDraft { time_ms: *time_ms, ..event }
                }
            };
            if !event.endpoints.is_empty() {
                let entry = BatchEntry::Note(self.of.client.clone());
                batch.push(entry, HookChange::Note { event });
            }
        }
    }
}

fn ended(drafts: &HookDrafts, of: &TrackedClient, end: &TrackedEnd) -> HookEventDraft {
    HookEventDraft { time_ms: end.time_ms, ..drafts.disconnected(of, end.code, &end.reason) }
}
