//! The hub of one worker thread: which of its sessions is subscribed to which channel, and the delivery to them.
//!
//! Between the node, which hands it events in the broker's order, and the outboxes of the worker's sessions. Nothing
//! here is shared with another thread. `docs/architecture.md` §3.4; recovery: `docs/protocols/client.md` §6.
//!
//! - [`channel`]: one channel's subscriptions and its position in the stream.
//! - [`subscription`]: one session's position in a channel.
//! - [`registry`]: the worker's sessions by id and user.
//! - [`worker`], [`inbox`]: the thread's loop, and what other threads hand it.
//! - [`subscribe`]: the steps of a subscription.
//! - [`catch_up`]: reads history after a gap.
//! - [`history_reads`]: one read for all who want it, and how many reads at a time.
//! - [`interest`]: which channels this node wants from the broker.
//! - [`removals`]: what sessions have in the broker: slots among their user's connections, and what is taken out at their end.
//! - [`timers`]: what a worker does from time to time: deadlines of sessions, presence, the memory budget, a drain.
//! - [`queue_consumers`]: consumers of work queues.
//! - [`scan`]: lists channels and connections in slices, and answers queries about what happened.

mod catch_up;
mod channel;
pub mod history_reads;
pub mod inbox;
pub mod interest;
pub mod queue_consumers;
pub mod registry;
pub mod removals;
pub mod scan;
pub mod subscribe;
mod subscription;
mod timers;
pub mod worker;

use std::{cell::RefCell, collections::BTreeSet, ops::Bound, rc::Rc, sync::Arc};

use bytes::BytesMut;
use gorani_broker::{ChannelEvent, ClientInfo, Position, Publication, Retention};
use indexmap::IndexMap;

use crate::{
    event_log::{EventLog, event::GapChange},
    format::{encoder::Encoder, encoding::SubscriptionFormat},
    hub::{
        channel::{CatchUpResult, Channel, Fingerprint, InboxMark, MissingRange, trace::log::TraceLog},
        registry::{ChannelMembership, Generation, SessionKey, SessionRegistry},
    },
    memory::{MemoryBudget, ReplyPermit},
    metrics::{TrafficCounters, clients::SessionCounts, namespaces::NamespaceIndex},
    outbox::Outbox,
    session::SubscribeParams,
    telemetry::{spans::DeliverySpan, trace::Tracer},
};

/// One worker's channels and sessions.
#[derive(Default)]
pub struct Hub {
    /// By hash, for deliveries. An index map grows without moving its channels.
    channels: IndexMap<Arc<str>, Channel>,
    /// The names of `channels` in order, for [`scan`].
    names: BTreeSet<Arc<str>>,
    registry: SessionRegistry,
    encoder: Encoder,
    /// The memory budget of large replies.
    pub memory: Arc<MemoryBudget>,
    counts: Arc<SessionCounts>,
    /// Counters of the worker.
    traffic: Rc<TrafficCounters>,
    /// The latest events of its sessions and channels.
    pub events: EventLog,
    /// The log of traces, while any is on.
    traces: Option<Rc<RefCell<TraceLog>>>,
    /// Takes spans, where there are traces.
    pub tracer: Option<Arc<Tracer>>,
}

/// An ended subscription, for presence and for those who watch the channel.
#[derive(Debug, Clone)]
pub struct RemovedSubscription {
    /// The channel.
    pub channel: Arc<str>,
    /// The client that left.
    pub info: Arc<ClientInfo>,
    /// True if it stood in presence.
    pub presence: bool,
    /// True if a leave is published.
    pub announce: bool,
    /// True if the broker was asked to enter it: only then there is something to take back.
    pub is_entered: bool,
    /// True if it was the worker's last subscription of the channel.
    pub last: bool,
    /// The position up to which its client had been brought everything; absent where it is not tracked.
    pub seen: Option<Position>,
}

impl RemovedSubscription {
    /// The removed subscription of a client that was asked to come back and did not.
    fn of_absent((channel, info): (Arc<str>, Arc<ClientInfo>)) -> Self {
        Self { channel, info, presence: true, announce: false, is_entered: true, last: false, seen: None }
    }
}

impl Hub {
    /// An empty hub; messages below the threshold are never deflated.
    pub fn new(deflate_threshold_bytes: usize) -> Self {
        Self::counting(deflate_threshold_bytes, Arc::default())
    }

    /// The same; it keeps the node's counts.
    pub fn counting(deflate_threshold_bytes: usize, counts: Arc<SessionCounts>) -> Self {
        Self {
            encoder: Encoder::new(deflate_threshold_bytes),
            registry: SessionRegistry::counting(counts.clone()),
            counts,
            ..Self::default()
        }
    }

    /// The worker's sessions.
    pub fn registry(&self) -> &SessionRegistry {
        &self.registry
    }

    /// The worker's sessions, to change.
    pub fn registry_mut(&mut self) -> &mut SessionRegistry {
        &mut self.registry
    }

    /// Channels with at least one subscription here.
    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    /// Names of those channels, in order.
    fn channel_names<'a>(&'a self, from: Bound<&str>) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.names.range::<str, _>((from, Bound::Unbounded))
    }

    /// Subscriptions of a channel; `None` if there are none.
    fn subscribers(&self, name: &str) -> Option<usize> {
        self.channels.get(name).map(Channel::len)
    }

    /// Enters a subscription that holds its events back until [`Hub::release`]. `None` if the session is gone or already in the
    /// channel.
    pub fn join(&mut self, key: SessionKey, request: &SubscribeParams) -> Option<Generation> {
        let generation = self.registry.join(key, request)?;
        let session = self.registry.get(key)?;
        let channel = self.channels.entry(request.channel.clone()).or_insert_with(|| {
            self.names.insert(request.channel.clone());
            let namespace = self.traffic.namespace_of(&request.channel);
            Channel::new(request.channel.clone(), request.retention, namespace)
        });
        let encoding = self.encoder.acquire(&session.encoding.with_format(&request.format));
        channel.join(key, session.outbox.clone(), encoding, request);
        self.counts.subscribed();
        self.watch_joined(key, &request.channel);
        Some(generation)
    }

    /// Lets a subscription's events through, first those held back.
    pub fn release(&mut self, key: SessionKey, name: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.release(key, &mut self.encoder);
            self.signal_lost(name);
        }
    }

    /// Changes how a session is shown the messages of a channel.
    pub fn set_format(&mut self, key: SessionKey, name: &str, format: &SubscriptionFormat) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.set_format(key, format, &mut self.encoder);
        }
    }

    /// Sends one session publications that it missed, as its encoding has them.
    pub fn replay(
        &mut self,
        key: SessionKey,
        name: &str,
        publications: Vec<Arc<Publication>>,
        permit: Option<ReplyPermit>,
    ) {
        let Some(session) = self.registry.get(key) else { return };
        let mut out = BytesMut::new();
        for publication in publications {
            if publication.is_for(&session.client) {
                let event = [ChannelEvent::Publication(publication)];
                out.extend_from_slice(&self.encoder.encode(&session.encoding, name, &event));
            }
        }
        // An overflow is seen by the session's actor, which ends it as slow.
        let _ = session.outbox.push_replay(self.memory.reply(out, permit));
    }

    /// Notes the top of the stream that a subscription's reply reports.
    pub fn set_seen(&mut self, key: SessionKey, name: &str, top: &Position) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.set_seen(key, top);
        }
    }

    /// True if this is still the subscription by which a session is in a channel.
    fn is_current(&self, key: SessionKey, name: &str, generation: Generation) -> bool {
        self.generation(key, name) == Some(generation)
    }

    /// The subscription by which a session is in a channel.
    fn generation(&self, key: SessionKey, name: &str) -> Option<Generation> {
        let membership = self.registry.get(key).and_then(|session| session.membership(name));
        membership.map(|membership| membership.generation)
    }

    /// True if the broker was asked to enter a session into a channel and the session is still there.
    fn is_entered(&self, key: SessionKey, name: &str) -> bool {
        let membership = self.registry.get(key).and_then(|session| session.membership(name));
        membership.is_some_and(|membership| membership.is_entered)
    }

    /// Takes a subscription out; `None` if there was none.
    pub fn leave(&mut self, key: SessionKey, name: &str) -> Option<RemovedSubscription> {
        let ChannelMembership { channel: name, info, presence, announce, is_entered, .. } =
            self.registry.get_mut(key)?.remove_channel(name)?;
        self.counts.unsubscribed();
        let (seen, last) = match self.channels.get_mut(&name) {
            Some(channel) => {
                let seen = channel.leave(key, &mut self.encoder);
                let is_last = channel.len() == 0;
                if is_last {
                    self.channels.swap_remove(&name);
                    self.names.remove(&name);
                }
                (seen, is_last)
            }
            None => (None, false),
        };
        Some(RemovedSubscription { channel: name, info, presence, announce, is_entered, last, seen })
    }

    /// Takes all subscriptions of a session out, those included in which it was expected back.
    pub fn leave_all(&mut self, key: SessionKey) -> Vec<RemovedSubscription> {
        let names = self.registry.get(key).map(|session| session.channel_names()).unwrap_or_default();
        let mut removed: Vec<_> = names.iter().filter_map(|name| self.leave(key, name)).collect();
        removed.extend(self.registry.absent.take_all(key).into_iter().map(RemovedSubscription::of_absent));
        removed
    }

    /// If a channel has just had its first subscription: the mark in the worker's inbox from which on its events count.
    fn await_mark(&mut self, name: &str) -> Option<InboxMark> {
        self.channels.get_mut(name)?.await_mark()
    }

    /// The mark of a channel has come.
    fn pass_mark(&mut self, name: &str, mark: InboxMark) {
        if let Some(channel) = self.channels.get_mut(name) {
            channel.pass_mark(mark);
        }
    }

    /// Delivers events of one channel, in their order. If there is a gap, returns what must be read from history, and the rest
    /// is held back until [`Hub::caught_up`].
    fn deliver(&mut self, name: &str, events: Vec<ChannelEvent>) -> Option<MissingRange> {
        let channel = self.channels.get_mut(name)?;
        tracing::debug!(channel = name, events = events.len(), subscribers = channel.len(), "delivering");
        let missing = channel.deliver(events, &mut self.encoder);
        let (namespace, deliveries) = channel.take_delivered();
        self.traffic.delivered(namespace, deliveries);
        self.signal_lost(name);
        missing
    }

    /// Tells the spans of publications what their delivery was.
    fn tell_delivered(&self, name: &str, spans: &[Arc<DeliverySpan>]) {
        if spans.is_empty() {
            return;
        }
        let subscribers = self.subscribers(name).unwrap_or_default();
        let (encodings, bytes) = self.encoder.run_size();
        spans.iter().for_each(|span| span.delivered(subscribers, encodings, bytes));
    }

    /// One of a channel's subscribers, chosen by a number: its namespace, its transport, its outbox.
    fn nth_subscriber(&self, name: &str, number: usize) -> Option<(NamespaceIndex, &'static str, Outbox)> {
        let (key, outbox) = self.channels.get(name)?.nth_outbox(number)?;
        Some((self.traffic.namespace_of(name), self.registry.get(key)?.transport, outbox.clone()))
    }

    /// The broker or the inbox may have missed events of this channel. Returns as [`Hub::deliver`].
    fn gap(&mut self, name: &str) -> Option<MissingRange> {
        let missing = self.channels.get_mut(name)?.gap();
        self.signal_lost(name);
        missing
    }

    /// Ends a read with the result from history, or `None` if it could not be had. Returns as [`Hub::deliver`].
    fn caught_up(&mut self, name: &str, read: u64, missed: Option<CatchUpResult>) -> Option<MissingRange> {
        let channel = self.channels.get_mut(name)?;
        let missing = channel.caught_up(read, missed, &mut self.encoder);
        if let Some((ended, moved)) = channel.take_moved() {
            self.registry.signal_epoch_ended(&ended, &moved);
            self.events.note_gap(&ended.channel, GapChange::EpochEnded { next: ended.next.clone() });
        }
        let (namespace, deliveries) = channel.take_delivered();
        self.traffic.delivered(namespace, deliveries);
        self.signal_lost(name);
        missing
    }

    /// Notes the end of a read of history after a gap.
    fn note_catch_up(&mut self, channel: &Arc<str>, after: Position, missed: Option<&CatchUpResult>) {
        let to = |missed: &CatchUpResult| match missed.events.last() {
            Some(ChannelEvent::Publication(last)) => last.offset,
            _ => after.offset,
        };
        let change = match missed.map(to) {
            Some(to) => GapChange::CaughtUp { after, to },
            None => GapChange::NotCaughtUp,
        };
        self.events.note_gap(channel, change);
    }

    /// Number of gaps of a channel so far.
    fn gaps(&self, name: &str) -> Option<u64> {
        self.channels.get(name).map(Channel::gaps)
    }

    /// The fingerprint of what was delivered at a channel's position.
    fn fingerprint(&self, name: &str, position: &Position) -> Option<Fingerprint> {
        self.channels.get(name)?.fingerprint(position)
    }

    /// A channel's retention, while it has subscriptions here.
    pub fn retention(&self, name: &str) -> Option<Retention> {
        self.channels.get(name).map(Channel::retention)
    }

    /// The encoder of this worker, for messages of single sessions.
    pub fn encoder_mut(&mut self) -> &mut Encoder {
        &mut self.encoder
    }

    fn signal_lost(&mut self, name: &str) {
        if let Some(channel) = self.channels.get_mut(name) {
            self.registry.signal_insufficient_state(name, &channel.take_lost());
        }
    }
}

#[cfg(test)]
mod tests;
