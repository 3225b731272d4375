//! One session's subscription of a channel: what it has seen, what is held back for it, and whether an event fits on that.
//! `docs/protocols/client.md` §6.
//!
//! Fan-out: a channel's run of events goes into the outboxes of its subscribers, encoded once for each distinct encoding.
//!
//! Between a channel's events and the outboxes. `docs/architecture.md` §3.4.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, ClientInfo, Position, Publication};

use crate::{
    event_log::trace::TraceOutcome,
    format::{
        encoder::{Encoder, EncodingId},
        encoding::SubscriptionFormat,
    },
    outbox::Outbox,
    session::SubscribeParams,
};

/// Events held back for one subscription, or during one gap, at most. More than this while one history read is under
/// way means that the read hangs: the position in the stream is given up, and the subscriber is notified.
pub(super) const HELD_BACK_EVENTS: usize = 4096;

/// A session's subscription of a channel.
pub(super) struct Subscription {
    outbox: Outbox,
    encoding: EncodingId,
    info: Arc<ClientInfo>,
    /// Live events wait here until the reply of the subscribe is written.
    held_back: Option<Vec<ChannelEvent>>,
    /// Position up to which the client has everything; absent where it is not tracked.
    seen: Option<Position>,
    join_leave: bool,
    /// It lost its position and was notified: nothing more is delivered until it comes back.
    broken: bool,
}

/// The position of a subscription in the stream is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PositionLost;

/// Receives the outcome of the delivery of a run to a subscription.
pub(super) trait RunObserver {
    /// The run was delivered to a subscription with this outcome, and so many bytes were put into its outbox.
    fn delivered(&mut self, outcome: TraceOutcome, bytes: usize);
}

/// Nobody follows the run: the calls are nothing, and the loop over the subscribers is as it would be without them.
pub(super) struct Unobserved;

impl RunObserver for Unobserved {
    #[inline]
    fn delivered(&mut self, _: TraceOutcome, _: usize) {}
}

/// The relation of a run of events to what the client has seen.
enum Fit {
    Whole,
    Nothing,
    Part,
}

impl Subscription {
    pub(super) fn new(outbox: Outbox, encoding: EncodingId, request: &SubscribeParams) -> Self {
        Self {
            outbox,
            encoding,
            info: request.info.clone(),
            held_back: Some(Vec::new()),
            seen: request.positioned.then(Position::default),
            join_leave: request.join_leave,
            broken: false,
        }
    }

    /// Changes how messages are shown from now on.
    pub(super) fn set_format(&mut self, format: &SubscriptionFormat, encoder: &mut Encoder) {
        self.encoding = encoder.change_format(self.encoding, format);
    }

    /// The outbox in which its bytes wait for the client.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The client that it is of.
    pub(super) fn info(&self) -> &ClientInfo {
        &self.info
    }

    /// True if events wait for the reply of its subscribe.
    pub(super) fn has_waiting(&self) -> bool {
        self.held_back.as_ref().is_some_and(|held_back| !held_back.is_empty())
    }

    /// Its encoding, which is released with it.
    pub(super) fn encoding(&self) -> EncodingId {
        self.encoding
    }

    /// True if it receives the joins and leaves of others.
    pub(super) fn receives_join_leave(&self) -> bool {
        self.join_leave
    }

    pub(super) fn is_positioned(&self) -> bool {
        self.seen.is_some()
    }

    /// The subscription's position. It counts from the read that its reply reports; it need not have what came before that read.
    pub(super) fn last_delivered(&self) -> Option<&Position> {
        self.seen.as_ref().filter(|seen| !self.broken && !seen.epoch.is_empty())
    }

    /// The position up to which everything was put into the outbox, or was not for this client.
    pub(super) fn seen(&self) -> Option<&Position> {
        self.seen.as_ref().filter(|seen| !seen.epoch.is_empty())
    }

    /// True if it lost its position, and its client was told.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn set_seen(&mut self, top: Position) {
        self.seen = Some(top);
    }

    /// The epoch `old` ended: up to the offset `shared` the stream is that of `epoch`. Whether its client goes over to that.
    pub(super) fn change_epoch(
        &mut self,
        old: &Arc<str>,
        epoch: &Arc<str>,
        shared: u64,
    ) -> Result<bool, PositionLost> {
        let is_of_it = |seen: &&mut Position| !self.broken && is_same_epoch(&seen.epoch, old);
        let Some(seen) = self.seen.as_mut().filter(is_of_it) else { return Ok(false) };
        if seen.offset > shared {
            return Err(PositionLost);
        }
        seen.epoch = epoch.clone();
        Ok(true)
    }

    /// Nothing more is delivered. False if that was so already.
    pub(super) fn end(&mut self) -> bool {
        self.held_back = None;
        !std::mem::replace(&mut self.broken, true)
    }

    /// Ends the holding back and delivers what was held back and is new.
    pub(super) fn release(&mut self, channel: &str, encoder: &mut Encoder) -> Result<(), PositionLost> {
        for event in self.held_back.take().into_iter().flatten() {
            encoder.begin();
            self.take_one(channel, &event, encoder)?;
        }
        Ok(())
    }

    /// Takes a run of events that follow each other (see [`EventBatch`]), and tells the observer what became of publications.
    pub(super) fn take_run<O: RunObserver>(
        &mut self,
        channel: &str,
        run: &[ChannelEvent],
        batch: &EventBatch<'_>,
        encoder: &mut Encoder,
        observer: &mut O,
    ) -> Result<(), PositionLost> {
        if self.broken || (batch.is_presence && !self.join_leave) {
            if self.broken {
                observer.delivered(TraceOutcome::Broken, 0);
            }
            return Ok(());
        }
        if let Some(held_back) = &mut self.held_back {
            held_back.extend(run.iter().cloned());
            observer.delivered(TraceOutcome::HeldBack, 0);
            return if held_back.len() > HELD_BACK_EVENTS { Err(PositionLost) } else { Ok(()) };
        }
        match self.fit(batch)? {
            Fit::Whole if !self.is_excluded(batch.excluded) => {
                match deliver(encoder, self.encoding, channel, run, &self.outbox) {
                    Some(bytes) => observer.delivered(TraceOutcome::Whole, bytes),
                    None => observer.delivered(TraceOutcome::Overflow, 0),
                }
            }
            Fit::Whole => observer.delivered(TraceOutcome::Excluded, 0),
            Fit::Nothing => observer.delivered(TraceOutcome::Duplicate, 0),
            Fit::Part => {
                let mut all = Some(0);
                for event in run {
                    let queued = self.take_one(channel, event, encoder)?;
                    all = all.zip(queued).map(|(all, queued)| all + queued);
                }
                encoder.begin();
                match all {
                    Some(bytes) => observer.delivered(TraceOutcome::Part, bytes),
                    None => observer.delivered(TraceOutcome::Overflow, 0),
                }
            }
        }
        Ok(())
    }

    /// Returns the bytes that were put into the outbox; `None` if it overflowed.
    fn take_one(
        &mut self,
        channel: &str,
        event: &ChannelEvent,
        encoder: &mut Encoder,
    ) -> Result<Option<usize>, PositionLost> {
        let run = std::slice::from_ref(event);
        let batch = EventBatch::of(run);
        if batch.is_presence && !self.join_leave {
            return Ok(Some(0));
        }
        if matches!(self.fit(&batch)?, Fit::Whole) && !self.is_excluded(batch.excluded) {
            encoder.begin();
            return Ok(deliver(encoder, self.encoding, channel, run, &self.outbox));
        }
        Ok(Some(0))
    }

    fn is_excluded(&self, excluded: &str) -> bool {
        !excluded.is_empty() && excluded == self.info.client
    }

    fn fit(&mut self, batch: &EventBatch<'_>) -> Result<Fit, PositionLost> {
        let (Some(seen), Some((first, last, epoch))) = (&mut self.seen, batch.offsets) else {
            return Ok(Fit::Whole);
        };
        if !is_same_epoch(&seen.epoch, epoch) {
            return Err(PositionLost);
        }
        if seen.offset + 1 == first {
            seen.offset = last;
            Ok(Fit::Whole)
        } else if seen.offset >= last {
            Ok(Fit::Nothing)
        } else if seen.offset >= first {
            Ok(Fit::Part)
        } else {
            Err(PositionLost)
        }
    }
}

#[cfg(test)]
mod tests;

/// A run of events that belong together: publications that follow each other without a gap and exclude nobody, one
/// publication that excludes somebody, or joins and leaves.
pub(super) struct EventBatch<'a> {
    /// Offsets of the first and the last publication and their epoch; absent where there are no offsets.
    pub(super) offsets: Option<(u64, u64, &'a Arc<str>)>,
    /// Client that must not get it; empty for nobody.
    pub(super) excluded: &'a str,
    /// True for joins and leaves.
    pub(super) is_presence: bool,
}

impl<'a> EventBatch<'a> {
    /// Describes a run, as cut by [`EventBatch::length`].
    pub(super) fn of(run: &'a [ChannelEvent]) -> Self {
        match (run.first(), run.last()) {
            (Some(ChannelEvent::Publication(first)), Some(ChannelEvent::Publication(last))) => Self {
                offsets: (first.offset > 0).then_some((first.offset, last.offset, &first.epoch)),
                excluded: &first.exclude_client,
                is_presence: false,
            },
            _ => Self { offsets: None, excluded: "", is_presence: true },
        }
    }

    /// Length of the run at the head of `events`, at least 1.
    pub(super) fn length(events: &[ChannelEvent]) -> usize {
        let joined = |pair: &[ChannelEvent]| match pair {
            [ChannelEvent::Publication(one), ChannelEvent::Publication(two)] => {
                one.exclude_client.is_empty() && two.exclude_client.is_empty() && follows(one, two)
            }
            [ChannelEvent::Publication(_), _] | [_, ChannelEvent::Publication(_)] => false,
            _ => true,
        };
        1 + events.windows(2).take_while(|pair| joined(pair)).count()
    }
}

/// Puts the current run into an outbox; its bytes in this encoding are made on first use. An overflow wakes the connection's
/// actor, which ends it as a slow consumer. Returns the bytes that were put there; `None` after an overflow.
#[inline]
pub(super) fn deliver(
    encoder: &mut Encoder,
    id: EncodingId,
    channel: &str,
    run: &[ChannelEvent],
    outbox: &Outbox,
) -> Option<usize> {
    if let Some(bytes) = encoder.ready(id) {
        let length = bytes.len();
        return outbox.push(bytes.clone()).ok().map(|()| length);
    }
    let mut queued = Some(0);
    encoder.encode_run(id, channel, run, |head, rest| {
        let length = head.len() + rest.len();
        let is_queued = outbox.push_pair(head, rest).is_ok();
        queued = queued.filter(|_| is_queued).map(|all| all + length);
        is_queued
    });
    queued
}

/// Epochs are mostly the same allocation, so that the text is rarely looked at.
pub(super) fn is_same_epoch(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// True if a publication stands directly after another one in the stream.
pub(super) fn follows(before: &Publication, after: &Publication) -> bool {
    match before.offset {
        0 => after.offset == 0,
        offset => after.offset == offset + 1 && is_same_epoch(&before.epoch, &after.epoch),
    }
}
