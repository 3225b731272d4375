//! The changes that a partition has to bring again: all of it where the store began anew, and what differs where the node and the store were
//! compared.

use std::{collections::HashSet, sync::Arc, time::Duration};

use gorani_broker::hook_store::{HookChange, OccupancyKey};

use super::{event::HookDrafts, session_state::SessionState, state::PartitionState};

impl PartitionState {
    /// The store does not have a session any more: it comes again, unless it has ended.
    pub(super) fn lose(&mut self, client: &Arc<str>) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        session.lose();
        if session.is_over() {
            self.sessions.swap_remove(client);
        } else {
            self.queue(client);
        }
    }

    /// The store has nothing of this partition any more: all of it is to come again.
    pub(super) fn lose_all(&mut self) {
        self.is_flushing = false;
        self.ended.clear();
        self.surplus.clear();
        let clients: Vec<Arc<str>> = self.sessions.keys().cloned().collect();
        for client in clients {
            self.lose(&client);
        }
        self.lose_keys(|_| true);
    }

    fn lose_keys(&mut self, is_lost: impl Fn(&OccupancyKey) -> bool) {
        let mut lost = Vec::new();
        self.keys.retain(|key, state| {
            if state.is_stored && is_lost(key) {
                state.is_stored = false;
                state.is_resumed = true;
                lost.push(key.clone());
            }
            state.sessions > 0 || state.is_queued
        });
        for key in lost {
            self.queue_key(key);
        }
    }

    /// Compares with what the store has of this node: what is missing there comes again, what is nobody's goes.
    pub(super) fn compare(
        &mut self,
        sessions: Vec<(Arc<str>, Arc<str>)>,
        keys: Vec<OccupancyKey>,
        drafts: &HookDrafts,
        grace: Duration,
    ) {
        let known: HashSet<Arc<str>> = sessions.iter().map(|(client, _)| client.clone()).collect();
        let is_missing =
            |(client, session): &(&Arc<str>, &SessionState)| session.is_stored && !known.contains(*client);
        let missing: Vec<Arc<str>> =
            self.sessions.iter().filter(is_missing).map(|(client, _)| client.clone()).collect();
        for client in missing {
            self.lose(&client);
        }
        // A session that ended while it waits for its user is in the table still, as one that replaces it is.
        let replaced: HashSet<Arc<str>> = self.sessions.values().filter_map(SessionState::replaced).collect();
        for (client, user) in sessions {
            if !self.sessions.contains_key(&client) && !replaced.contains(&client) {
                let event = drafts.lost(&client, &user);
                self.surplus.push_back(HookChange::Disconnect { event, keep_sequence: false });
            }
        }
        let known: HashSet<&OccupancyKey> = keys.iter().collect();
        self.lose_keys(|key| !known.contains(key));
        for key in keys {
            if !self.keys.contains_key(&key) {
                let event = drafts.ended(&key);
                self.surplus.push_back(HookChange::Leave { key, grace, event });
            }
        }
    }
}
