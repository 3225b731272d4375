//! The partitions of the store of hooks in memory: sessions, occupancies, and the queues of the events that their changes cause.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::hook_queue::{EventPosition, HookQueue};
use crate::{
    hook_entry::HookEntry,
    hook_store::{
        HookChange, HookEvent, HookEventDraft, HookNodeEntries, HookStorePlan, OccupancyKey, Partition,
    },
};

/// Ended sessions whose time is looked at for each one that ends: they are forgotten faster than new ones come.
const FORGOTTEN_PER_END: usize = 2;

/// A session that is there, or that ended and may come back.
#[derive(Debug)]
struct HookSession {
    /// `None`: it ended.
    node: Option<Arc<str>>,
    user: Arc<str>,
    /// The number of its last event.
    sequence: u64,
    /// Of one that ended: when its number is forgotten.
    kept_until_ms: u64,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct HookPartition {
    pub(super) run: Option<Arc<str>>,
    sessions: HashMap<Arc<str>, HookSession>,
    /// The times at which to forget sessions that ended, in order: the time is the same for all.
    ended: VecDeque<(u64, Arc<str>)>,
    /// Sessions of each user.
    users: HashMap<Arc<str>, u64>,
    nodes: BTreeMap<Arc<str>, BTreeSet<HookEntry>>,
    /// Number of nodes that have each key.
    occupancies: HashMap<OccupancyKey, u32>,
    /// Keys that no node has and whose end was not told yet, with the time at which it is due.
    ending: HashMap<OccupancyKey, u64>,
    due: BTreeSet<(u64, OccupancyKey)>,
    queues: BTreeMap<Arc<str>, SeenQueue>,
    last: EventPosition,
}

/// The queue of an endpoint, and when a plan had the endpoint last.
#[derive(Debug, Default)]
struct SeenQueue {
    queue: HookQueue,
    seen_ms: u64,
}

/// The store of hooks in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryHooks {
    /// Made when the store is first opened.
    pub(super) partitions: OnceLock<Vec<Mutex<HookPartition>>>,
    pub(super) plan: RwLock<Option<Arc<HookStorePlan>>>,
}

/// Plan, number and time of a call.
#[derive(Clone, Copy)]
pub(super) struct HookCall<'a> {
    pub(super) plan: &'a HookStorePlan,
    pub(super) partition: Partition,
    pub(super) now_ms: u64,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

impl HookPartition {
    /// Forgets everything but the queues, and tells `event` to all endpoints.
    pub(super) fn begin(&mut self, call: HookCall<'_>, run: Arc<str>, mut event: HookEventDraft) {
        let (queues, last) = (std::mem::take(&mut self.queues), self.last);
        *self = Self { run: Some(run), queues, last, ..Self::default() };
        event.endpoints = (0..).take(call.plan.endpoints.len()).collect();
        self.push(call, event, 0, 0);
    }

    /// Makes a change; true if it told its event.
    pub(super) fn apply(&mut self, call: HookCall<'_>, change: HookChange) -> bool {
        match change {
            HookChange::Connect { event } => self.connect(call, event),
            HookChange::Disconnect { event, keep_sequence } => self.disconnect(call, event, keep_sequence),
            HookChange::Note { event } => self.note(call, event),
            HookChange::Enter { key, event } => self.enter(call, key, event),
            HookChange::Leave { key, grace, event } => self.leave(call, key, grace, event),
            HookChange::EndDue { key, event } => self.end_due(call, &key, event),
            HookChange::Append { event } => {
                self.push(call, event, 0, 0);
                true
            }
        }
    }

    fn connect(&mut self, call: HookCall<'_>, event: HookEventDraft) -> bool {
        let (client, user) = (&event.client, &event.user);
        let session = self.sessions.entry(Arc::clone(client)).or_insert_with(|| HookSession {
            node: None,
            user: Arc::clone(user),
            sequence: 0,
            kept_until_ms: 0,
        });
        if session.node.is_some() {
            return false;
        }
        if session.kept_until_ms <= call.now_ms {
            session.sequence = 0;
        }
        session.node = Some(Arc::clone(&event.node));
        session.user = Arc::clone(user);
        session.sequence += 1;
        let sequence = session.sequence;
        self.node(&event.node).insert(HookEntry::Session(Arc::clone(client)));
        let user_sessions = self.count(user, 1);
        self.push(call, event, sequence, user_sessions);
        true
    }

    fn disconnect(&mut self, call: HookCall<'_>, event: HookEventDraft, keep_sequence: bool) -> bool {
        let Some(session) = self.sessions.get_mut(&event.client) else { return false };
        if session.node.as_ref() != Some(&event.node) {
            return false;
        }
        session.node = None;
        session.sequence += 1;
        let (sequence, user) = (session.sequence, Arc::clone(&session.user));
        if keep_sequence {
            session.kept_until_ms = call.now_ms.saturating_add(millis(call.plan.sequence_ttl));
            self.ended.push_back((session.kept_until_ms, Arc::clone(&event.client)));
        } else {
            self.sessions.remove(&event.client);
        }
        self.forget_ended(call.now_ms);
        self.remove_entry(&event.node, &HookEntry::Session(Arc::clone(&event.client)));
        let user_sessions = self.count(&user, -1);
        self.push(call, event, sequence, user_sessions);
        true
    }

    fn forget_ended(&mut self, now_ms: u64) {
        for _ in 0..FORGOTTEN_PER_END {
            let Some((until, _)) = self.ended.front() else { return };
            if *until > now_ms {
                return;
            }
            if let Some((_, client)) = self.ended.pop_front()
                && self
                    .sessions
                    .get(&client)
                    .is_some_and(|session| session.node.is_none() && session.kept_until_ms <= now_ms)
            {
                self.sessions.remove(&client);
            }
        }
    }

    fn note(&mut self, call: HookCall<'_>, event: HookEventDraft) -> bool {
        let Some(session) = self.sessions.get_mut(&event.client) else { return false };
        if session.node.is_none() {
            return false;
        }
        session.sequence += 1;
        let sequence = session.sequence;
        let user_sessions = self.users.get(&session.user).copied().unwrap_or(0);
        self.push(call, event, sequence, user_sessions);
        true
    }

    fn enter(&mut self, call: HookCall<'_>, key: OccupancyKey, event: HookEventDraft) -> bool {
        if !self.node(&event.node).insert(HookEntry::Occupancy(key.clone())) {
            return false;
        }
        let nodes = self.occupancies.entry(key.clone()).or_default();
        *nodes += 1;
        let is_first = *nodes == 1;
        if !is_first || self.forget_due(&key) {
            return false;
        }
        self.push(call, event, 0, 0);
        true
    }

    fn leave(
        &mut self,
        call: HookCall<'_>,
        key: OccupancyKey,
        grace: Duration,
        event: HookEventDraft,
    ) -> bool {
        if !self.remove_entry(&event.node, &HookEntry::Occupancy(key.clone())) {
            return false;
        }
        if let Some(nodes) = self.occupancies.get_mut(&key) {
            *nodes -= 1;
            if *nodes > 0 {
                return false;
            }
        }
        self.occupancies.remove(&key);
        if grace.is_zero() {
            self.push(call, event, 0, 0);
            return true;
        }
        let due = call.now_ms.saturating_add(millis(grace));
        self.ending.insert(key.clone(), due);
        self.due.insert((due, key));
        false
    }

    fn end_due(&mut self, call: HookCall<'_>, key: &OccupancyKey, event: HookEventDraft) -> bool {
        if self.ending.get(key).is_none_or(|due| *due > call.now_ms) {
            return false;
        }
        self.forget_due(key);
        self.push(call, event, 0, 0);
        true
    }

    /// True if the end of the key was still to be told.
    fn forget_due(&mut self, key: &OccupancyKey) -> bool {
        let Some(due) = self.ending.remove(key) else { return false };
        self.due.remove(&(due, key.clone()))
    }

    /// Keys whose end is due, the earliest first.
    pub(super) fn due(&self, now_ms: u64, limit: u32) -> Vec<OccupancyKey> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now_ms);
        due.take(limit as usize).map(|(_, key)| key.clone()).collect()
    }

    fn node(&mut self, node: &Arc<str>) -> &mut BTreeSet<HookEntry> {
        self.nodes.entry(Arc::clone(node)).or_default()
    }

    fn remove_entry(&mut self, node: &Arc<str>, entry: &HookEntry) -> bool {
        let Some(entries) = self.nodes.get_mut(node) else { return false };
        let was_there = entries.remove(entry);
        if entries.is_empty() {
            self.nodes.remove(node);
        }
        was_there
    }

    /// Sessions of the user after this change; of an anonymous one 0.
    fn count(&mut self, user: &Arc<str>, change: i64) -> u64 {
        if user.is_empty() {
            return 0;
        }
        let sessions = self.users.entry(Arc::clone(user)).or_default();
        *sessions = sessions.saturating_add_signed(change);
        let sessions = *sessions;
        if sessions == 0 {
            self.users.remove(user);
        }
        sessions
    }

    /// Names of nodes that have anything.
    pub(super) fn node_names(&self) -> Vec<String> {
        self.nodes.keys().map(|node| node.to_string()).collect()
    }

    /// A page of what a node has.
    pub(super) fn entries(&self, node: &str, from: Option<HookEntry>, limit: u32) -> HookNodeEntries {
        let mut page = HookNodeEntries::default();
        let Some(entries) = self.nodes.get(node) else { return page };
        let from = from.map_or(Bound::Unbounded, Bound::Included);
        let mut entries = entries.range((from, Bound::Unbounded));
        for entry in entries.by_ref().take(limit.max(1) as usize) {
            match entry {
                HookEntry::Session(client) => {
                    let user = self.sessions.get(client).map(|session| Arc::clone(&session.user));
                    page.sessions.push((Arc::clone(client), user.unwrap_or_default()));
                }
                HookEntry::Occupancy(key) => page.occupancies.push(key.clone()),
            }
        }
        page.cursor = entries.next().map(HookEntry::encode);
        page
    }

    /// A new position, the same for all queues.
    fn next_position(&mut self, now_ms: u64) -> EventPosition {
        self.last = if now_ms > self.last.0 { (now_ms, 0) } else { (self.last.0, self.last.1 + 1) };
        self.last
    }

    fn push(&mut self, call: HookCall<'_>, mut draft: HookEventDraft, sequence: u64, user_sessions: u64) {
        let position = self.next_position(call.now_ms);
        let id = format!("{}-{}-{}", call.partition, position.0, position.1);
        let endpoints = std::mem::take(&mut draft.endpoints);
        let event = HookEvent { id, draft, sequence, user_sessions, replayed: false };
        for endpoint in endpoints.iter() {
            let Some(plan) = call.plan.endpoints.get(usize::from(*endpoint)) else { continue };
            self.queue(call, &plan.name).push(position, event.clone(), plan);
        }
    }

    /// The queue of an endpoint of the plan.
    pub(super) fn queue(&mut self, call: HookCall<'_>, endpoint: &str) -> &mut HookQueue {
        let seen = self.queues.entry(endpoint.into()).or_default();
        seen.seen_ms = call.now_ms;
        &mut seen.queue
    }

    /// The queue of an endpoint, if it has one.
    pub(super) fn known_queue(&self, endpoint: &str) -> Option<&HookQueue> {
        self.queues.get(endpoint).map(|seen| &seen.queue)
    }

    /// Takes dead letters out of the queue of an endpoint.
    pub(super) fn take_dead_letters(
        &mut self,
        call: HookCall<'_>,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> u64 {
        let plan = call.plan.endpoints.iter().find(|plan| *plan.name == *endpoint);
        let mut taken = 0;
        for id in ids {
            let Some(seen) = self.queues.get_mut(endpoint) else { break };
            let Some(event) = seen.queue.take_dead_letter(id) else { continue };
            taken += 1;
            if replay && let Some(plan) = plan {
                let position = self.next_position(call.now_ms);
                self.queue(call, endpoint).push_again(position, event, plan);
            }
        }
        taken
    }

    /// Deletes queues whose endpoints no plan has had for `kept`.
    pub(super) fn forget_endpoints(&mut self, call: HookCall<'_>, kept: Duration) -> Vec<String> {
        for plan in &call.plan.endpoints {
            if let Some(seen) = self.queues.get_mut(&plan.name) {
                seen.seen_ms = call.now_ms;
            }
        }
        let mut forgotten = Vec::new();
        self.queues.retain(|name, seen| {
            let unseen_ms = call.now_ms.saturating_sub(seen.seen_ms);
            let is_kept =
                unseen_ms < millis(kept) || call.plan.endpoints.iter().any(|plan| plan.name == *name);
            if !is_kept {
                forgotten.push(name.to_string());
            }
            is_kept
        });
        forgotten
    }
}
