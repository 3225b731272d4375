//! One session's place in a channel: what it has seen, what is held back for it, and whether an event fits on that.
//! `docs/protocols/client.md` §6.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, ClientInfo, Position};

use crate::{
    format::{
        encoder::{Encoder, EncodingId},
        encoding::SubscriptionFormat,
    },
    hub::fanout::{self, EventBatch, is_same_epoch},
    outbox::Outbox,
    session::SubscribeParams,
};

/// Events held back for one subscription, or during one gap, at most. More than this while one history read is under
/// way means that the read hangs: the place in the stream is given up, and the subscriber is told.
pub(super) const HELD_BACK_EVENTS: usize = 4096;

/// A session's place in a channel.
pub(super) struct Subscription {
    outbox: Outbox,
    encoding: EncodingId,
    info: Arc<ClientInfo>,
    /// Live events wait here until the reply of the subscribe is written.
    held_back: Option<Vec<ChannelEvent>>,
    /// Position up to which the client has everything; absent where it is not tracked.
    seen: Option<Position>,
    join_leave: bool,
    /// It lost its place and was told: nothing more is delivered until it comes back.
    broken: bool,
}

/// The place of a subscription in the stream is lost.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PositionLost;

/// How a run of events fits on what the client has seen.
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

    /// Its encoding, which is released with it.
    pub(super) fn encoding(&self) -> EncodingId {
        self.encoding
    }

    /// Whether it is told of others that join and leave.
    pub(super) fn receives_join_leave(&self) -> bool {
        self.join_leave
    }

    pub(super) fn is_positioned(&self) -> bool {
        self.seen.is_some()
    }

    /// Where this subscription stands, from the read on that its reply tells; what comes before that read it need not have.
    pub(super) fn last_delivered(&self) -> Option<&Position> {
        self.seen.as_ref().filter(|seen| !self.broken && !seen.epoch.is_empty())
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

    /// Takes a run of events that follow each other (see [`EventBatch`]).
    pub(super) fn take_run(
        &mut self,
        channel: &str,
        run: &[ChannelEvent],
        batch: &EventBatch<'_>,
        encoder: &mut Encoder,
    ) -> Result<(), PositionLost> {
        if self.broken || (batch.is_presence && !self.join_leave) {
            return Ok(());
        }
        if let Some(held_back) = &mut self.held_back {
            held_back.extend(run.iter().cloned());
            return if held_back.len() > HELD_BACK_EVENTS { Err(PositionLost) } else { Ok(()) };
        }
        match self.fit(batch)? {
            Fit::Whole if !self.is_excluded(batch.excluded) => {
                fanout::deliver(encoder, self.encoding, channel, run, &self.outbox);
            }
            Fit::Whole | Fit::Nothing => {}
            Fit::Part => {
                for event in run {
                    self.take_one(channel, event, encoder)?;
                }
                encoder.begin();
            }
        }
        Ok(())
    }

    fn take_one(
        &mut self,
        channel: &str,
        event: &ChannelEvent,
        encoder: &mut Encoder,
    ) -> Result<(), PositionLost> {
        let run = std::slice::from_ref(event);
        let batch = EventBatch::of(run);
        if batch.is_presence && !self.join_leave {
            return Ok(());
        }
        if matches!(self.fit(&batch)?, Fit::Whole) && !self.is_excluded(batch.excluded) {
            encoder.begin();
            fanout::deliver(encoder, self.encoding, channel, run, &self.outbox);
        }
        Ok(())
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
