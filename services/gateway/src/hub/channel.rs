//! One channel as one worker sees it: its subscriptions, and how far it has come in the stream.
//!
//! Order and completeness are decided here: an event that is older than the channel's position is a duplicate, one
//! that skips ahead opens a gap that must be read from history before anything newer is delivered.
//! `docs/protocols/client.md` §6.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use gorani_broker::{ChannelEvent, Position, Publication, Retention};

use crate::{
    event_log::trace::TraceOutcome,
    format::{
        encoder::{Encoder, EncodingId},
        encoding::SubscriptionFormat,
    },
    hub::{
        registry::{SessionKey, SessionMap},
        subscription::{EventBatch, HELD_BACK_EVENTS, PositionLost, Subscription, Unobserved, is_same_epoch},
    },
    metrics::namespaces::NamespaceIndex,
    outbox::Outbox,
    session::SubscribeParams,
};

mod gap;
mod stream;
pub(super) mod trace;

use self::trace::watch::{FanOutObserver, TraceWatch};

pub(super) use self::stream::{CatchUpResult, EpochChange, Fingerprint, MissingRange};

/// A channel with at least one subscription on this worker.
pub(super) struct Channel {
    name: Arc<str>,
    retention: Retention,
    pub(super) subscriptions: SessionMap<Subscription>,
    /// The newest publication delivered; absent until it is known.
    position: Option<Position>,
    /// The fingerprint of what was delivered at that position; absent where the position is only known from a read.
    fingerprint: Option<Fingerprint>,
    /// A read of history that newer events wait for.
    catching_up: Option<CatchingUp>,
    /// Number of gaps so far.
    gaps: u64,
    /// Events before this mark in the worker's inbox are ignored: they are of an earlier subscription, with a hole behind them.
    begins_at: Option<InboxMark>,
    /// Sessions that lost their position and must be notified.
    lost: Vec<SessionKey>,
    /// Sessions that went over to another epoch and must be notified.
    moved: Option<Box<EpochChange>>,
    /// Publications times subscribers since the hub last took the number.
    delivered: u32,
    /// The counters of its deliveries.
    namespace: NamespaceIndex,
    /// The traces that concern it, if there are any.
    pub(super) watch: Option<Box<TraceWatch>>,
}

/// A point in the worker's inbox, from which on a channel's events count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InboxMark(u64);

/// A read of missed events from history that is under way.
struct CatchingUp {
    /// Names the read: the end of an earlier one, which was given up, is not the end of this one.
    read: u64,
    /// The position that it begins after.
    after: Position,
    /// Number of gaps before the read began: what a later one lost may not be in it.
    gaps: u64,
    /// Events that came meanwhile.
    waiting: Vec<ChannelEvent>,
}

/// The number of the next read or mark, of the whole process: a channel may be left and joined again meanwhile.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The relation of a publication to the channel's position.
enum OffsetOrder {
    Next,
    Old,
    NewEpoch,
    Skips(Position),
}

impl Channel {
    pub(super) fn new(name: Arc<str>, retention: Retention, namespace: NamespaceIndex) -> Self {
        Self {
            name,
            retention,
            subscriptions: SessionMap::default(),
            position: None,
            fingerprint: None,
            catching_up: None,
            gaps: 0,
            begins_at: None,
            lost: Vec::new(),
            moved: None,
            delivered: 0,
            namespace,
            watch: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn retention(&self) -> Retention {
        self.retention
    }

    /// The fingerprint of what was delivered at a position, if the channel stands there.
    pub(super) fn fingerprint(&self, position: &Position) -> Option<Fingerprint> {
        self.fingerprint.filter(|_| self.position.as_ref() == Some(position))
    }

    /// Number of gaps so far. A reader of history that has no position yet compares it.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Enters a subscription of a session that has none here.
    pub(super) fn join(
        &mut self,
        key: SessionKey,
        outbox: Outbox,
        encoding: EncodingId,
        request: &SubscribeParams,
    ) {
        self.retention = request.retention;
        self.subscriptions.insert(key, Subscription::new(outbox, encoding, request));
    }

    pub(super) fn set_format(&mut self, key: SessionKey, format: &SubscriptionFormat, encoder: &mut Encoder) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.set_format(format, encoder);
        }
    }

    /// Takes a subscription out; with the position that it had.
    pub(super) fn leave(&mut self, key: SessionKey, encoder: &mut Encoder) -> Option<Position> {
        let subscription = self.subscriptions.swap_remove(&key)?;
        encoder.release(subscription.encoding());
        if let Some(watch) = &mut self.watch
            && !watch.forget(key)
        {
            self.watch = None;
        }
        subscription.seen().cloned()
    }

    /// Sessions that lost their position since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.lost)
    }

    /// Publications times subscribers since the last call, and where they are counted.
    pub(super) fn take_delivered(&mut self) -> (NamespaceIndex, u32) {
        (self.namespace, std::mem::take(&mut self.delivered))
    }

    /// The subscription at this place, whichever it is, with where its bytes wait.
    pub(super) fn nth_outbox(&self, number: usize) -> Option<(SessionKey, &Outbox)> {
        let (key, subscription) =
            self.subscriptions.get_index(number.checked_rem(self.subscriptions.len())?)?;
        Some((*key, subscription.outbox()))
    }

    /// Sessions that went over to another epoch since the last call.
    pub(super) fn take_moved(&mut self) -> Option<EpochChange> {
        self.moved.take().map(|moved| *moved)
    }

    /// The top that the subscription's reply reports; publications up to it are not delivered to it again.
    pub(super) fn set_seen(&mut self, key: SessionKey, top: &Position) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.set_seen(top.clone());
        }
        // Alone in the channel, nobody else waits for what the read covered.
        if self.position.is_none() && self.subscriptions.len() == 1 {
            self.position = Some(top.clone());
        }
    }

    /// Ends the holding back of a subscription.
    pub(super) fn release(&mut self, key: SessionKey, encoder: &mut Encoder) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        let has_waited = subscription.has_waiting();
        let is_lost = subscription.release(&self.name, encoder) == Err(PositionLost) && subscription.end();
        if is_lost {
            self.lost.push(key);
        }
        if let Some(watch) = self.watch.as_ref().filter(|_| has_waited) {
            let offset = subscription.seen().map_or(0, |seen| seen.offset);
            watch.note_released(key, subscription.info(), offset, is_lost);
        }
    }

    /// If this is the channel's first subscription: from now on events count only after the mark that is returned.
    pub(super) fn await_mark(&mut self) -> Option<InboxMark> {
        (self.subscriptions.len() == 1)
            .then(|| *self.begins_at.insert(InboxMark(NEXT.fetch_add(1, Ordering::Relaxed))))
    }

    /// A mark has come: what follows it counts, if it is this channel's.
    pub(super) fn pass_mark(&mut self, mark: InboxMark) {
        if self.begins_at == Some(mark) {
            self.begins_at = None;
        }
    }

    /// Delivers events in order. Returns what must be read from history, if there is a gap; what comes after the gap waits for
    /// [`Channel::caught_up`].
    pub(super) fn deliver(
        &mut self,
        events: Vec<ChannelEvent>,
        encoder: &mut Encoder,
    ) -> Option<MissingRange> {
        if self.begins_at.is_some() {
            return None;
        }
        if let Some(catching_up) = &mut self.catching_up {
            if let Some(watch) = &self.watch {
                watch.note_all(TraceOutcome::Gap, &events);
            }
            catching_up.waiting.extend(events);
            let (read, hangs) = (catching_up.read, catching_up.waiting.len() > HELD_BACK_EVENTS);
            return if hangs { self.caught_up(read, None, encoder) } else { None };
        }
        self.deliver_in_order(events, encoder, self.retention.keeps_history())
    }

    /// `asks`: history is asked what became of the stream where a publication has another epoch; else it is taken as a new one.
    fn deliver_in_order(
        &mut self,
        events: Vec<ChannelEvent>,
        encoder: &mut Encoder,
        asks: bool,
    ) -> Option<MissingRange> {
        let mut ready: Vec<ChannelEvent> = Vec::with_capacity(events.len());
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            let order = match &event {
                ChannelEvent::Publication(publication) => self.offset_order(publication, asks),
                ChannelEvent::Join(_) | ChannelEvent::Leave(_) => OffsetOrder::Next,
            };
            match order {
                OffsetOrder::Next => ready.push(event),
                OffsetOrder::Old => {
                    if let Some(watch) = &self.watch {
                        watch.note_all(TraceOutcome::Duplicate, std::slice::from_ref(&event));
                    }
                }
                OffsetOrder::NewEpoch => {
                    self.fan_out(&ready, encoder);
                    ready = vec![event];
                    self.lose(Subscription::is_positioned);
                }
                OffsetOrder::Skips(position) => {
                    self.fan_out(&ready, encoder);
                    return Some(
                        self.begin_catching_up(position, std::iter::once(event).chain(events).collect()),
                    );
                }
            }
        }
        self.fan_out(&ready, encoder);
        None
    }

    /// Counts a run of publications, all its subscribers at once. One that is ended or that waits for its reply is counted too.
    fn count_deliveries(&mut self, publications: usize, batch: &EventBatch<'_>) {
        if !batch.is_presence {
            let takers = self.subscriptions.len().saturating_sub(usize::from(!batch.excluded.is_empty()));
            let deliveries = u32::try_from(publications.saturating_mul(takers)).unwrap_or(u32::MAX);
            self.delivered = self.delivered.saturating_add(deliveries);
        }
    }

    /// Delivers events that are in order, in runs that all subscriptions of an encoding share.
    fn fan_out(&mut self, events: &[ChannelEvent], encoder: &mut Encoder) {
        let mut rest = events;
        while !rest.is_empty() {
            let length = EventBatch::length(rest);
            let length = self.watch.as_ref().map_or(length, |watch| watch.cut(rest, length));
            let (run, others) = rest.split_at(length);
            rest = others;
            let batch = EventBatch::of(run);
            self.count_deliveries(run.len(), &batch);
            if self.watch.is_none() {
                self.deliver_run(run, &batch, encoder, &mut Unobserved);
            } else {
                self.deliver_observed(run, &batch, encoder);
            }
        }
    }

    /// Delivers a run to all subscriptions. There is one copy of it for runs that traces follow, and one for all others.
    fn deliver_run<O: FanOutObserver>(
        &mut self,
        run: &[ChannelEvent],
        batch: &EventBatch<'_>,
        encoder: &mut Encoder,
        observer: &mut O,
    ) {
        encoder.begin();
        for (key, subscription) in &mut self.subscriptions {
            let mut is_lost = false;
            if subscription.take_run(&self.name, run, batch, encoder, observer) == Err(PositionLost)
                && subscription.end()
            {
                self.lost.push(*key);
                is_lost = true;
            }
            observer.served(*key, subscription.info(), subscription.outbox(), is_lost);
        }
    }

    fn deliver_observed(&mut self, run: &[ChannelEvent], batch: &EventBatch<'_>, encoder: &mut Encoder) {
        let Some(watch) = self.watch.take() else { return };
        match watch.observe(run) {
            Some(mut observed) => {
                self.deliver_run(run, batch, encoder, &mut observed);
                observed.finish();
            }
            None => self.deliver_run(run, batch, encoder, &mut Unobserved),
        }
        self.watch = Some(watch);
    }

    /// Breaks off the subscriptions that `which` names.
    fn lose(&mut self, which: impl Fn(&Subscription) -> bool) {
        for (key, subscription) in &mut self.subscriptions {
            if which(subscription) && subscription.end() {
                self.lost.push(*key);
            }
        }
    }

    /// Compares a publication with the channel's position, which moves on if the publication is next.
    fn offset_order(&mut self, publication: &Publication, asks: bool) -> OffsetOrder {
        if publication.offset == 0 {
            return OffsetOrder::Next;
        }
        let order = match &self.position {
            None => OffsetOrder::Next,
            Some(position) if !is_same_epoch(&position.epoch, &publication.epoch) => {
                if asks {
                    return OffsetOrder::Skips(position.clone());
                }
                OffsetOrder::NewEpoch
            }
            Some(position) if publication.offset <= position.offset => return OffsetOrder::Old,
            Some(position) if publication.offset == position.offset + 1 => OffsetOrder::Next,
            Some(position) => return OffsetOrder::Skips(position.clone()),
        };
        self.position = Some(Position { offset: publication.offset, epoch: publication.epoch.clone() });
        self.fingerprint = Some(Fingerprint::of(publication));
        order
    }
}
