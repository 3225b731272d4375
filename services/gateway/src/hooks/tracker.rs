//! The state of this node's clients, as its connections report it: who is connected, to which channels, and as which member. It is kept by
//! partition until the store has it ([`super::flush`]).
//!
//! Called by all workers; each call takes the lock of one partition for a moment, and never waits for the broker.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use gorani_broker::{
    DataKind, Published,
    hook_store::{HookChange, HookEventKind, OccupancyKey, Partition},
};
use parking_lot::{Mutex, MutexGuard};
use tokio::{sync::Notify, time::Instant};

use super::{
    event::{HookDrafts, TrackedClient},
    partition::{partition_of, partition_of_session},
    session_state::{SessionNote, SessionState, TrackedEnd, TrackedSubscription},
    state::{PartitionState, TrackerOptions},
};
use crate::{clock::unix_ms, settings::HookSettings};

/// A partition of a node, with the task that brings it to the store.
#[derive(Default)]
pub(super) struct TrackedPartition {
    state: Mutex<PartitionState>,
    /// There is something for the store.
    pub(super) changed: Notify,
    /// The run of the partition in the store, once it is known.
    pub(super) run: Mutex<Option<Arc<str>>>,
}

impl TrackedPartition {
    pub(super) fn state(&self) -> MutexGuard<'_, PartitionState> {
        self.state.lock()
    }
}

/// A function that is called with a partition.
pub type OnApplied = Box<dyn Fn(Partition) + Send + Sync>;

/// The node's side of hooks.
pub struct HookTracker {
    pub(super) drafts: HookDrafts,
    pub(super) options: TrackerOptions,
    pub(super) partitions: Vec<TrackedPartition>,
    wants_sessions: bool,
    /// Called after changes of a partition are in the store.
    applied: OnceLock<OnApplied>,
    /// Sessions of dead nodes whose end this node told.
    pub(super) reaped: AtomicU64,
    /// Events that this node has written, by kind.
    written: [AtomicU64; HookEventKind::ALL.len()],
}

impl HookTracker {
    /// A tracker; `None` where no endpoint wants anything that would have to be tracked.
    pub fn new(node: Arc<str>, settings: &HookSettings) -> Option<Arc<Self>> {
        if settings.endpoints.is_empty() {
            return None;
        }
        let drafts = HookDrafts::new(node, &settings.endpoints);
        Some(Arc::new(Self {
            wants_sessions: drafts.wants_sessions(),
            drafts,
            options: TrackerOptions {
                grace: settings.grace,
                session_grace: settings.session_grace,
                collapse: settings.collapse,
            },
            partitions: (0..settings.partitions).map(|_| TrackedPartition::default()).collect(),
            applied: OnceLock::new(),
            reaped: AtomicU64::new(0),
            written: Default::default(),
        }))
    }

    /// From now on `wake` is called whenever changes of a partition are in the store; the first one counts.
    pub fn on_applied(&self, wake: OnApplied) {
        let _ = self.applied.set(wake);
    }

    /// Changes of a partition are in the store.
    pub(super) fn applied(&self, partition: Partition) {
        if let Some(wake) = self.applied.get() {
            wake(partition);
        }
    }

    /// Counts the events of changes that the store made, by what it says of each.
    pub(super) fn count_written(&self, changes: &[HookChange], results: &[bool]) {
        for (change, _) in changes.iter().zip(results).filter(|(_, is_written)| **is_written) {
            let index = HookEventKind::ALL.iter().position(|kind| *kind == change.event().kind);
            if let Some(counter) = index.and_then(|index| self.written.get(index)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Events that this node has written, by kind.
    pub fn written(&self) -> impl Iterator<Item = (HookEventKind, u64)> {
        HookEventKind::ALL
            .into_iter()
            .zip(&self.written)
            .map(|(kind, count)| (kind, count.load(Ordering::Relaxed)))
    }

    /// Number of partitions.
    pub fn count(&self) -> Partition {
        Partition::try_from(self.partitions.len()).unwrap_or(Partition::MAX)
    }

    /// Changes a partition, and wakes its task.
    fn change<T>(&self, partition: Partition, change: impl FnOnce(&mut PartitionState) -> T) -> Option<T> {
        let partition = self.partitions.get(usize::from(partition))?;
        let mut state = partition.state.lock();
        let result = change(&mut state);
        let has_more = state.pending() > 0 || state.next_due().is_some();
        drop(state);
        if has_more {
            partition.changed.notify_one();
        }
        Some(result)
    }

    fn change_session<T>(
        &self,
        of: (&str, &str),
        change: impl FnOnce(&mut PartitionState) -> T,
    ) -> Option<T> {
        self.change(partition_of_session(of.0, of.1, self.count()), change)
    }

    /// A client has connected, and its reply is queued.
    pub fn connected(&self, of: TrackedClient) {
        if of.client.is_empty() {
            return;
        }
        let client = of.client.clone();
        let keys = self.change_session((&of.user.clone(), &of.client.clone()), |state| {
            let session = state.sessions.entry(client.clone()).or_insert_with(|| SessionState::new(of));
            if session.is_connected || session.end.is_some() {
                return Vec::new();
            }
            session.connected_ms = unix_ms();
            let keys: Vec<OccupancyKey> =
                session.channels.iter().flat_map(|known| self.keys(&session.of, known)).collect();
            state.connected(&client);
            if self.wants_sessions {
                state.queue(&client);
            }
            keys
        });
        self.enter(keys.unwrap_or_default());
    }

    /// The backend keeps something else with a connection: the client's events say so from now on.
    pub fn keep_meta(&self, of: TrackedClient) {
        self.change_session((&of.user.clone(), &of.client.clone()), |state| {
            if let Some(session) = state.sessions.get_mut(&*of.client) {
                session.of = Arc::new(of);
            }
        });
    }

    /// A session has ended. Once it was reported, later reports count for nothing.
    pub fn disconnected(&self, user: &str, client: &str, code: u32, reason: &str) {
        let keys = self.change_session((user, client), |state| {
            let session = state.sessions.get_mut(client).filter(|session| session.end.is_none())?;
            let client = session.of.client.clone();
            let channels = std::mem::take(&mut session.channels);
            let keys: Vec<OccupancyKey> =
                channels.iter().flat_map(|known| self.keys(&session.of, known)).collect();
            let was_connected = session.is_connected;
            session.end = Some(TrackedEnd { time_ms: unix_ms(), code, reason: reason.into() });
            if was_connected && self.wants_sessions {
                state.end(&client, &self.options, Instant::now());
            } else {
                state.sessions.swap_remove(&client);
            }
            Some(if was_connected { keys } else { Vec::new() })
        });
        self.leave(keys.flatten().unwrap_or_default());
    }

    /// A session is subscribed to a channel, and its reply is queued. `is_present`: it stands in the channel's presence.
    pub fn subscribed(&self, of: TrackedClient, channel: &Arc<str>, is_server_side: bool, is_present: bool) {
        if of.client.is_empty() || !self.drafts.wants_subscriptions(channel) {
            return;
        }
        let client = of.client.clone();
        let keys = self.change_session((&of.user.clone(), &of.client.clone()), |state| {
            let session = state.sessions.entry(client.clone()).or_insert_with(|| SessionState::new(of));
            if session.end.is_some() || session.channels.iter().any(|known| known.channel == *channel) {
                return Vec::new();
            }
            let subscription = TrackedSubscription { channel: channel.clone(), is_server_side, is_present };
            let keys = if session.is_connected { self.keys(&session.of, &subscription) } else { Vec::new() };
            if session.channels.is_empty() {
                session.channels.reserve_exact(1);
            }
            session.channels.push(subscription);
            if self.wants_notes(channel) {
                let channel = channel.clone();
                let note = SessionNote::Subscribed {
                    time_ms: unix_ms(),
                    channel,
                    is_server_side,
                    is_resumed: false,
                };
                state.note(&client, note, self.options.collapse);
            }
            keys
        });
        self.enter(keys.unwrap_or_default());
    }

    /// A session has left a channel, and stays.
    pub fn unsubscribed(&self, user: &str, client: &str, channel: &Arc<str>, code: u32, reason: &str) {
        if !self.drafts.wants_subscriptions(channel) {
            return;
        }
        let keys = self.change_session((user, client), |state| {
            let session = state.sessions.get_mut(client).filter(|session| session.end.is_none())?;
            let client = session.of.client.clone();
            let index = session.channels.iter().position(|known| known.channel == *channel)?;
            let left = session.channels.swap_remove(index);
            let keys = if session.is_connected { self.keys(&session.of, &left) } else { Vec::new() };
            if self.wants_notes(channel) {
                let (channel, reason) = (channel.clone(), reason.into());
                let note = SessionNote::Unsubscribed { time_ms: unix_ms(), channel, code, reason };
                state.note(&client, note, self.options.collapse);
            }
            Some(keys)
        });
        self.leave(keys.flatten().unwrap_or_default());
    }

    fn wants_notes(&self, channel: &str) -> bool {
        self.drafts.wants(HookEventKind::Subscribed, Some(channel))
            || self.drafts.wants(HookEventKind::Unsubscribed, Some(channel))
    }

    /// The occupancies that a subscription has part in.
    fn keys(&self, of: &TrackedClient, subscription: &TrackedSubscription) -> Vec<OccupancyKey> {
        let channel = &subscription.channel;
        let wants =
            |kinds: [HookEventKind; 2]| kinds.into_iter().any(|kind| self.drafts.wants(kind, Some(channel)));
        let mut keys = Vec::new();
        if wants([HookEventKind::Occupied, HookEventKind::Vacated]) {
            keys.push(OccupancyKey { channel: channel.clone(), user: None });
        }
        if subscription.is_present
            && !of.user.is_empty()
            && wants([HookEventKind::MemberAdded, HookEventKind::MemberRemoved])
        {
            keys.push(OccupancyKey { channel: channel.clone(), user: Some(of.user.clone()) });
        }
        keys
    }

    fn enter(&self, keys: Vec<OccupancyKey>) {
        for key in keys {
            self.change(partition_of(&key.channel, self.count()), |state| state.enter(key));
        }
    }

    fn leave(&self, keys: Vec<OccupancyKey>) {
        for key in keys {
            self.change(partition_of(&key.channel, self.count()), |state| state.leave(key));
        }
    }

    /// True if publications of clients in a channel are to be told.
    pub fn wants_publication(&self, channel: &str) -> bool {
        self.drafts.wants(HookEventKind::Publication, Some(channel))
    }

    /// Tells a client's publication. False in the end: the store did not take it, or nobody knows.
    pub fn publication(
        &self,
        of: &TrackedClient,
        channel: &Arc<str>,
        payload: (&Bytes, DataKind),
        published: &Published,
    ) -> BoxFuture<'static, bool> {
        let event = self.drafts.publication(of, channel, payload, published);
        let answered = self.change(partition_of(channel, self.count()), |state| state.publish(event));
        Box::pin(async move {
            match answered.flatten() {
                Some(answered) => answered.await.unwrap_or(false),
                None => false,
            }
        })
    }

    /// Each partition is compared with what the store has of this node: its lease had ended, or the broker was away.
    pub fn request_repair(&self) {
        for partition in &self.partitions {
            partition.state.lock().needs_repair = true;
            partition.changed.notify_one();
        }
    }

    /// Changes that the store does not have yet.
    pub fn pending(&self) -> usize {
        self.partitions.iter().map(|partition| partition.state.lock().pending()).sum()
    }

    /// Sessions and subscriptions that were left out, since they came and went before the store got them.
    pub fn collapsed(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.state.lock().collapsed).sum()
    }

    /// Sessions of dead nodes whose end this node told.
    pub fn reaped_sessions(&self) -> u64 {
        self.reaped.load(Ordering::Relaxed)
    }

    /// Nobody is waited for any more: the node goes down.
    pub(super) fn end_waits(&self) {
        for partition in &self.partitions {
            partition.state.lock().end_due(None);
            partition.changed.notify_one();
        }
    }
}
