//! One partition of what a node has: its sessions and occupancies as they are, what the store knows of each, and the changes that the
//! store is to get. A pure table, under a lock of its own.
//!
//! The node's side is always true, so a change is only what differs between the two. Memory is bounded by the sessions and channels of
//! the node: of what came and went before the store got it, nothing is left, however long the broker is away.

use std::{collections::VecDeque, mem::take, sync::Arc, time::Duration};

use gorani_broker::hook_store::{HookChange, HookEventDraft, OccupancyKey};
use indexmap::IndexMap;
use tokio::{sync::oneshot, time::Instant};

use super::{
    change_batch::{BatchEntry, ChangeBatch},
    event::HookDrafts,
    session_state::{SessionNote, SessionState},
};
use crate::clock::unix_ms;

/// Changes of a batch that may be publications, if others wait.
const PUBLICATIONS_SHARE: usize = 40;
/// Changes of a batch up to which occupancies come before sessions.
const KEYS_SHARE: usize = 60;
/// Publications that may wait for the store.
const PUBLICATIONS_MAX: usize = 1000;
/// Entries without a session or a key that a queue may have before it is cleared.
const STALE_MIN: usize = 64;
/// Sessions that may wait for the store before what came and went is left out, whatever the setting says.
const QUEUED_SESSIONS_MAX: usize = 10_000;
/// Ended sessions that wait for their user to come back; over it the oldest are told at once.
const GRACE_SESSIONS_MAX: usize = 10_000;

/// The settings of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrackerOptions {
    /// Time in which a return keeps the end of an occupancy from being told.
    pub(super) grace: Duration,
    /// Time in which a session of the same user replaces one that ended.
    pub(super) session_grace: Duration,
    /// Leaves out what came and went before the store got it.
    pub(super) collapse: bool,
}

/// An occupancy of the node.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Sessions of the node that have it.
    pub(super) sessions: u32,
    /// The store knows that the node has it.
    pub(super) is_stored: bool,
    /// The store lost it.
    pub(super) is_resumed: bool,
    pub(super) is_queued: bool,
    /// Unix milliseconds of its last change.
    changed_ms: u64,
}

/// A partition of a node.
#[derive(Debug, Default)]
pub(super) struct PartitionState {
    pub(super) sessions: IndexMap<Arc<str>, SessionState>,
    pub(super) keys: IndexMap<OccupancyKey, KeyState>,
    queued_sessions: VecDeque<Arc<str>>,
    queued_keys: VecDeque<OccupancyKey>,
    /// Entries of the two queues whose sessions and keys are gone, about.
    stale: usize,
    /// Entries of the store that are nobody's.
    pub(super) surplus: VecDeque<HookChange>,
    publications: VecDeque<(HookEventDraft, oneshot::Sender<bool>)>,
    /// Ended sessions that wait for their user, and until when.
    pub(super) ended: VecDeque<(Instant, Arc<str>)>,
    /// The store does not take changes at the moment.
    pub(super) is_failing: bool,
    pub(super) needs_repair: bool,
    /// A batch is under way.
    pub(super) is_flushing: bool,
    /// Sessions and subscriptions that were left out.
    pub(super) collapsed: u64,
}

impl PartitionState {
    /// A session has something for the store.
    pub(super) fn queue(&mut self, client: &Arc<str>) {
        if let Some(session) = self.sessions.get_mut(client)
            && !std::mem::replace(&mut session.is_queued, true)
        {
            self.queued_sessions.push_back(client.clone());
        }
    }

    /// A session has connected. One of its user that ended a moment ago is replaced by it.
    pub(super) fn connected(&mut self, client: &Arc<str>) {
        let Some(user) = self.sessions.get(client).map(|session| session.of.user.clone()) else { return };
        let is_of_user = |(_, ended): &(Instant, Arc<str>)| {
            self.sessions.get(ended).is_some_and(|session| !user.is_empty() && session.of.user == user)
        };
        let replaced = self.ended.iter().position(is_of_user).and_then(|index| self.ended.remove(index));
        let replaced = replaced.and_then(|(_, ended)| self.sessions.swap_remove(&ended));
        if let Some(session) = self.sessions.get_mut(client) {
            session.is_connected = true;
            session.replaces = replaced.map(Box::new);
        }
    }

    /// A session of the store has ended. It waits for its user, if it may.
    pub(super) fn end(&mut self, client: &Arc<str>, options: &TrackerOptions, now: Instant) {
        let collapse = self.collapses(options.collapse);
        let Some(session) = self.sessions.get_mut(client) else { return };
        if collapse && !session.is_stored && session.replaces.is_none() {
            // Whatever the store does: of what came and went nothing waits for it.
            self.stale += usize::from(session.is_queued);
            self.sessions.swap_remove(client);
            self.collapsed += 1;
            return self.forget_stale();
        }
        let grace = options.session_grace;
        if grace.is_zero() || session.of.user.is_empty() || !session.is_stored {
            return self.queue(client);
        }
        session.waits = true;
        self.ended.push_back((now + grace, client.clone()));
        if self.ended.len() > GRACE_SESSIONS_MAX
            && let Some((_, oldest)) = self.ended.pop_front()
        {
            self.stop_waiting(&oldest);
        }
    }

    /// Ends whose user has not come back; `None`: all of them.
    pub(super) fn end_due(&mut self, now: Option<Instant>) {
        while let Some((_, client)) =
            self.ended.pop_front_if(|(until, _)| now.is_none_or(|now| *until <= now))
        {
            self.stop_waiting(&client);
        }
    }

    fn stop_waiting(&mut self, client: &Arc<str>) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.waits = false;
            self.queue(client);
        }
    }

    /// The time at which [`PartitionState::end_due`] next has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.ended.front().map(|(until, _)| *until)
    }

    /// One more session of the node has a key.
    pub(super) fn enter(&mut self, key: OccupancyKey) {
        let state = self.keys.entry(key.clone()).or_default();
        state.sessions += 1;
        if state.sessions == 1 {
            state.changed_ms = unix_ms();
            self.queue_key(key);
        }
    }

    /// One session fewer has it.
    pub(super) fn leave(&mut self, key: OccupancyKey) {
        let Some(state) = self.keys.get_mut(&key) else { return };
        state.sessions = state.sessions.saturating_sub(1);
        if state.sessions == 0 && !state.is_stored {
            self.stale += usize::from(state.is_queued);
            self.keys.swap_remove(&key);
            self.forget_stale();
        } else if state.sessions == 0 {
            state.changed_ms = unix_ms();
            self.queue_key(key);
        }
    }

    /// Clears the queues of what is gone, once that is most of them.
    fn forget_stale(&mut self) {
        if self.stale < STALE_MIN || 2 * self.stale < self.queued_sessions.len() + self.queued_keys.len() {
            return;
        }
        self.stale = 0;
        self.queued_sessions.retain(|client| self.sessions.contains_key(client));
        // A key that came again meanwhile stands there twice: the second time there is nothing to do.
        self.queued_keys.retain(|key| self.keys.contains_key(key));
    }

    /// True if what came and went is left out. So it is always while the store fails, or is too slow.
    fn collapses(&self, setting: bool) -> bool {
        setting || self.is_failing || self.queued_sessions.len() > QUEUED_SESSIONS_MAX
    }

    pub(super) fn queue_key(&mut self, key: OccupancyKey) {
        if let Some(state) = self.keys.get_mut(&key)
            && !std::mem::replace(&mut state.is_queued, true)
        {
            self.queued_keys.push_back(key);
        }
    }

    /// A publication is to be told; false in the answer: it is not. Refused at once where too many wait.
    pub(super) fn publish(&mut self, event: HookEventDraft) -> Option<oneshot::Receiver<bool>> {
        if self.is_failing || self.publications.len() >= PUBLICATIONS_MAX {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.publications.push_back((event, answer));
        Some(answered)
    }

    /// The next changes for the store, in their order.
    pub(super) fn take_batch(&mut self, drafts: &HookDrafts, options: &TrackerOptions) -> ChangeBatch {
        let mut batch = ChangeBatch::default();
        while !batch.is_full()
            && let Some(change) = self.surplus.pop_front()
        {
            batch.push(BatchEntry::Other, change);
        }
        // A share for each, so that none of them keeps the others waiting.
        while !batch.is_full()
            && batch.changes.len() < PUBLICATIONS_SHARE
            && let Some((event, answer)) = self.publications.pop_front()
        {
            batch.push(BatchEntry::Publication(Some(answer)), HookChange::Append { event });
        }
        while !batch.is_full()
            && batch.changes.len() < KEYS_SHARE
            && let Some(key) = self.queued_keys.pop_front()
        {
            self.write_key(key, drafts, options, &mut batch);
        }
        let collapse = self.collapses(options.collapse);
        let mut unfinished = Vec::new();
        while batch.has_room(SessionState::CHANGES)
            && let Some(client) = self.queued_sessions.pop_front()
        {
            let Some(session) = self.sessions.get_mut(&client) else { continue };
            session.is_queued = false;
            self.collapsed += session.write(drafts, collapse, &mut batch);
            if session.is_over() {
                self.sessions.swap_remove(&client);
            } else if session.has_more() {
                unfinished.push(client);
            }
        }
        unfinished.iter().for_each(|client| self.queue(client));
        self.is_flushing = !batch.changes.is_empty();
        batch
    }

    fn write_key(
        &mut self,
        key: OccupancyKey,
        drafts: &HookDrafts,
        options: &TrackerOptions,
        batch: &mut ChangeBatch,
    ) {
        let Some(state) = self.keys.get_mut(&key) else { return };
        state.is_queued = false;
        let is_wanted = state.sessions > 0;
        let was_stored = std::mem::replace(&mut state.is_stored, is_wanted);
        let is_resumed = take(&mut state.is_resumed);
        let time_ms = if is_resumed { unix_ms() } else { state.changed_ms };
        if !is_wanted {
            self.keys.swap_remove(&key);
        }
        match (is_wanted, was_stored) {
            (true, false) => {
                let event = HookEventDraft { time_ms, ..drafts.began(&key, is_resumed) };
                batch.push(BatchEntry::Other, HookChange::Enter { key, event });
            }
            (false, true) => {
                let event = HookEventDraft { time_ms, ..drafts.ended(&key) };
                batch.push(BatchEntry::Other, HookChange::Leave { key, grace: options.grace, event });
            }
            _ => {}
        }
    }

    /// The store has carried a batch out.
    pub(super) fn done(&mut self, entries: Vec<BatchEntry>, results: &[bool]) {
        self.is_flushing = false;
        for (entry, was_done) in entries.into_iter().zip(results.iter().copied()) {
            match entry {
                BatchEntry::Resume(client) => {
                    if let Some(session) = self.sessions.get_mut(&client) {
                        session.note_all_channels();
                        self.queue(&client);
                    }
                }
                BatchEntry::Note(client) if !was_done => {
                    // Others took this node for dead, and said that the session is lost.
                    self.needs_repair = true;
                    self.lose(&client);
                }
                BatchEntry::Publication(Some(answer)) => drop(answer.send(true)),
                _ => {}
            }
        }
    }

    /// Puts the publications of a batch back that was not carried out.
    pub(super) fn take_publications_back(&mut self, batch: ChangeBatch) {
        let entries = batch.entries.into_iter().zip(batch.changes).rev();
        for (entry, change) in entries {
            if let (BatchEntry::Publication(Some(answer)), HookChange::Append { event }) = (entry, change) {
                self.publications.push_front((event, answer));
            }
        }
    }

    /// Publications that wait get the answer that they are not told.
    pub(super) fn give_publications_up(&mut self) {
        for (_, answer) in self.publications.drain(..) {
            // A client that has gone does not wait.
            let _ = answer.send(false);
        }
    }

    /// True if the store has everything.
    pub(super) fn is_idle(&self) -> bool {
        self.pending() == 0 && !self.needs_repair
    }

    /// Things that the store does not have yet.
    pub(super) fn pending(&self) -> usize {
        self.queued_sessions.len()
            + self.queued_keys.len()
            + self.surplus.len()
            + self.publications.len()
            + usize::from(self.is_flushing)
    }

    /// Adds something that happened to a session.
    pub(super) fn note(&mut self, client: &Arc<str>, note: SessionNote, collapse: bool) {
        let collapse = self.collapses(collapse);
        if let Some(session) = self.sessions.get_mut(client) {
            self.collapsed += u64::from(session.note(note, collapse));
            if session.is_connected {
                self.queue(client);
            }
        }
    }
}
