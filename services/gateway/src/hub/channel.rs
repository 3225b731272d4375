//! One channel as one worker sees it: its subscriptions, and how far it has come in the stream.
//!
//! Order and completeness are decided here: an event that is older than the channel's position is a duplicate, one
//! that skips ahead opens a gap that must be read from history before anything newer is delivered.
//! `specs/client-protocol.md`, "Recovery".

use std::sync::Arc;

use gorani_broker::{Event, Position, Publication, Retention};
use indexmap::IndexMap;

use crate::{
    hub::{
        fanout::{Encoder, EncodingId, Span},
        roster::SessionKey,
        subscription::{HELD_BACK_EVENTS, Lost, Subscription, is_same_epoch},
    },
    outbox::Outbox,
    session::{SubscribeRequest, stomp::view::View},
};

/// A channel with at least one subscription on this worker.
pub(super) struct Channel {
    name: Arc<str>,
    retention: Retention,
    subscriptions: IndexMap<SessionKey, Subscription>,
    /// The newest publication delivered; absent until it is known.
    position: Option<Position>,
    /// What was delivered at that position; absent where the position is only known from a read.
    mark: Option<Mark>,
    /// Events that wait for a history read to end.
    waiting: Option<Vec<Event>>,
    /// Gaps that were told so far.
    gaps: u64,
    /// Sessions that lost their place and must be told.
    lost: Vec<SessionKey>,
}

/// By what a publication is known again. One that took the place of another, after a failover that forgot the first, was
/// accepted at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    time_ms: u64,
    bytes: usize,
}

impl Mark {
    pub(super) fn of(publication: &Publication) -> Self {
        Self { time_ms: publication.time_ms, bytes: publication.data.len() }
    }
}

/// Where a publication stands against the channel's position.
enum Place {
    Next,
    Old,
    NewEpoch,
    Skips(Position),
}

impl Channel {
    pub(super) fn new(name: Arc<str>, retention: Retention) -> Self {
        Self {
            name,
            retention,
            subscriptions: IndexMap::new(),
            position: None,
            mark: None,
            waiting: None,
            gaps: 0,
            lost: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn retention(&self) -> Retention {
        self.retention
    }

    /// What was delivered at a position, if the channel stands there.
    pub(super) fn mark(&self, position: &Position) -> Option<Mark> {
        self.mark.filter(|_| self.position.as_ref() == Some(position))
    }

    /// Gaps that were told so far: who reads history before it has a place compares.
    pub(super) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Enters a subscription of a session that has none here.
    pub(super) fn join(
        &mut self,
        key: SessionKey,
        outbox: Outbox,
        encoding: EncodingId,
        request: &SubscribeRequest,
    ) {
        self.retention = request.retention;
        self.subscriptions.insert(key, Subscription::new(outbox, encoding, request));
    }

    pub(super) fn show(&mut self, key: SessionKey, view: &Arc<View>, encoder: &mut Encoder) {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.show(view, encoder);
        }
    }

    pub(super) fn leave(&mut self, key: SessionKey, encoder: &mut Encoder) {
        if let Some(subscription) = self.subscriptions.swap_remove(&key) {
            encoder.release(subscription.encoding());
        }
    }

    /// Sessions that lost their place since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.lost)
    }

    /// The top that the subscription's reply tells; publications up to it are not delivered to it again.
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
        if subscription.release(&self.name, encoder) == Err(Lost) && subscription.break_off() {
            self.lost.push(key);
        }
    }

    /// Delivers events in order. Returns the position after which history must be read, if there is a gap; what
    /// comes after the gap waits for [`Channel::caught_up`].
    pub(super) fn deliver(&mut self, events: Vec<Event>, encoder: &mut Encoder) -> Option<Position> {
        if let Some(waiting) = &mut self.waiting {
            waiting.extend(events);
            let hangs = waiting.len() > HELD_BACK_EVENTS;
            return if hangs { self.caught_up(None, encoder) } else { None };
        }
        let mut ready: Vec<Event> = Vec::with_capacity(events.len());
        let mut events = events.into_iter();
        while let Some(event) = events.next() {
            let place = match &event {
                Event::Publication(publication) => self.place(publication),
                Event::Join(_) | Event::Leave(_) => Place::Next,
            };
            match place {
                Place::Next => ready.push(event),
                Place::Old => {}
                Place::NewEpoch => {
                    self.fan_out(&ready, encoder);
                    ready = vec![event];
                    self.lose(Subscription::is_positioned);
                }
                Place::Skips(position) => {
                    self.fan_out(&ready, encoder);
                    self.waiting = Some(std::iter::once(event).chain(events).collect());
                    return Some(position);
                }
            }
        }
        self.fan_out(&ready, encoder);
        None
    }

    /// Something may be missing from here on. Returns the position after which history must be read.
    pub(super) fn gap(&mut self) -> Option<Position> {
        self.gaps += 1;
        if self.waiting.is_some() {
            return None;
        }
        if !self.retention.keeps_history() {
            self.lose(|_| true);
            return None;
        }
        let oldest =
            self.subscriptions.values().filter_map(Subscription::told).min_by_key(|told| told.offset);
        let position = self.position.as_ref().or(oldest)?.clone();
        self.waiting = Some(Vec::new());
        Some(position)
    }

    /// Ends a gap. `missed` are the publications after the position, from history, without a hole; `None` if they
    /// could not be had: those who track their position are told, the others go on with what there is.
    pub(super) fn caught_up(
        &mut self,
        missed: Option<Vec<Event>>,
        encoder: &mut Encoder,
    ) -> Option<Position> {
        let waiting = self.waiting.take()?;
        let gap = match missed {
            Some(missed) => self.deliver(missed, encoder),
            None => {
                self.lose(Subscription::is_positioned);
                (self.position, self.mark) = (None, None);
                None
            }
        };
        match (gap, &mut self.waiting) {
            (Some(position), Some(still_waiting)) => {
                still_waiting.extend(waiting);
                Some(position)
            }
            _ => self.deliver(waiting, encoder),
        }
    }

    /// Breaks off the subscriptions that `which` names.
    fn lose(&mut self, which: impl Fn(&Subscription) -> bool) {
        for (key, subscription) in &mut self.subscriptions {
            if which(subscription) && subscription.break_off() {
                self.lost.push(*key);
            }
        }
    }

    /// Where a publication stands; the channel's position moves on with it if it is next.
    fn place(&mut self, publication: &Publication) -> Place {
        if publication.offset == 0 {
            return Place::Next;
        }
        let place = match &self.position {
            None => Place::Next,
            Some(position) if !is_same_epoch(&position.epoch, &publication.epoch) => Place::NewEpoch,
            Some(position) if publication.offset <= position.offset => return Place::Old,
            Some(position) if publication.offset == position.offset + 1 => Place::Next,
            Some(position) => return Place::Skips(position.clone()),
        };
        self.position = Some(Position { offset: publication.offset, epoch: publication.epoch.clone() });
        self.mark = Some(Mark::of(publication));
        place
    }

    /// Delivers events that are in order, in runs that all subscriptions of an encoding share.
    fn fan_out(&mut self, events: &[Event], encoder: &mut Encoder) {
        let mut rest = events;
        while !rest.is_empty() {
            let (run, others) = rest.split_at(Span::length(rest));
            rest = others;
            let span = Span::of(run);
            encoder.begin();
            for (key, subscription) in &mut self.subscriptions {
                if subscription.take_run(&self.name, run, &span, encoder) == Err(Lost)
                    && subscription.break_off()
                {
                    self.lost.push(*key);
                }
            }
        }
    }
}
