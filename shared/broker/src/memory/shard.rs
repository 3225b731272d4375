//! One shard of the memory broker: the channels whose names hash to it, and what is done to them under its lock.

use std::sync::Arc;

use super::{
    answers::Answers,
    channels::{Channel, Channels, Line},
    clock::Nanos,
    deadlines::Deadlines,
    ledger::{Bound, Ledger},
    stream::Stream,
};
use crate::{BrokerError, HistoryPage, HistoryQuery, Publication, Retention};

/// Expired things of each sort that one call clears away beside its own work. A call adds at most one of each, so two
/// are enough to catch up; what nobody cleared away yet is never shown, and counts against the limits.
const SWEEP_STEPS: usize = 2;

/// See the module's head. Every change of what is held goes into the ledger at once.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) channels: Channels,
    pub(super) answers: Answers,
    pub(super) histories_due: Deadlines,
    pub(super) rosters_due: Deadlines,
}

impl Shard {
    /// The channel, if this node wants its events.
    pub(super) fn subscribed(&self, hash: u64, channel: &str) -> Option<&Channel> {
        let slot = self.channels.find(hash, channel)?;
        self.channels.get(slot).filter(|channel| channel.subscribed)
    }

    pub(super) fn subscribe(&mut self, hash: u64, name: &Arc<str>) {
        let slot = self.channels.find_or_add(hash, name, || Arc::clone(name));
        if let Some(channel) = self.channels.get_mut(slot) {
            channel.subscribed = true;
            // The subscriber's own copy of the name is the one it gets back with each event.
            channel.name = Arc::clone(name);
        }
    }

    pub(super) fn unsubscribe(&mut self, hash: u64, name: &str) {
        let Some(slot) = self.channels.find(hash, name) else { return };
        if let Some(channel) = self.channels.get_mut(slot) {
            channel.subscribed = false;
        }
        self.channels.remove_if_idle(slot);
    }

    /// Appends to the channel's stream. Gives back the channel too, for the delivery.
    pub(super) fn append(
        &mut self,
        hash: u64,
        name: &str,
        publication: Publication,
        retention: Retention,
        now: Nanos,
        ledger: &Ledger,
    ) -> Result<(&Channel, Arc<Publication>), BrokerError> {
        let slot = self.use_stream(hash, name, now, ledger);
        let stream = self.channels.stream_mut(slot).ok_or_else(lost)?;
        let before = stream.bytes();
        let publication = stream.append(publication, retention, ledger.position_ttl, now);
        ledger.history_bytes.change(before, stream.bytes());
        if stream.armed.is_none()
            && let Some(deadline) = stream.next_deadline()
        {
            stream.armed = Some(deadline);
            self.histories_due.arm(deadline, slot);
        }
        self.channels.touch(Line::Histories, slot);
        Ok((self.channels.get(slot).ok_or_else(lost)?, publication))
    }

    /// Reads the channel's stream; starts its life if it has none.
    pub(super) fn read(
        &mut self,
        hash: u64,
        name: &str,
        query: &HistoryQuery,
        now: Nanos,
        ledger: &Ledger,
    ) -> Result<HistoryPage, BrokerError> {
        let slot = self.use_stream(hash, name, now, ledger);
        self.trim(slot, ledger, |stream| stream.expire(now));
        let stream = self.channels.stream_mut(slot).ok_or_else(lost)?;
        let page = stream.page(query);
        if !stream.is_empty() {
            self.channels.touch(Line::Histories, slot);
        }
        Ok(page)
    }

    pub(super) fn remove_history(&mut self, hash: u64, name: &str, ledger: &Ledger) {
        if let Some(slot) = self.channels.find(hash, name) {
            self.trim(slot, ledger, Stream::forget_all);
        }
    }

    /// Clears away a little of what expired; see [`SWEEP_STEPS`].
    pub(super) fn sweep(&mut self, now: Nanos, ledger: &Ledger) {
        for _ in 0..SWEEP_STEPS {
            self.sweep_history(now, ledger);
            self.sweep_position(now, ledger);
            self.answers.forget_expired(now, ledger);
        }
    }

    /// Clears away all that expired.
    pub(super) fn sweep_all(&mut self, now: Nanos, ledger: &Ledger) {
        while self.sweep_history(now, ledger) {}
        while self.sweep_position(now, ledger) {}
        while self.answers.forget_expired(now, ledger) {}
    }

    /// When what would be evicted first was last used.
    pub(super) fn oldest(&self, bound: Bound) -> Option<Nanos> {
        let line = match bound {
            Bound::Histories => Line::Histories,
            Bound::Positions => Line::Positions,
            Bound::Answers => return self.answers.oldest(),
        };
        let channel = self.channels.get(self.channels.oldest(line)?)?;
        channel.stream.as_ref().map(|stream| stream.last_used)
    }

    /// Evicts one publication, position or answer, of what was not used for the longest time.
    pub(super) fn evict_one(&mut self, bound: Bound, ledger: &Ledger) {
        match bound {
            Bound::Histories => {
                if let Some(slot) = self.channels.oldest(Line::Histories) {
                    self.trim(slot, ledger, |stream| {
                        stream.forget_oldest();
                        stream.give_back_room();
                    });
                }
            }
            Bound::Positions => {
                if let Some(slot) = self.channels.oldest(Line::Positions) {
                    self.drop_stream(slot, ledger);
                    self.channels.remove_if_idle(slot);
                }
            }
            Bound::Answers => self.answers.forget_oldest(ledger),
        }
    }

    /// The slot of the channel, with a living stream, marked as just used.
    fn use_stream(&mut self, hash: u64, name: &str, now: Nanos, ledger: &Ledger) -> usize {
        let slot = self.channels.find_or_add(hash, name, || name.into());
        if self.is_position_over(slot, now, ledger) {
            self.drop_stream(slot, ledger);
        }
        if let Some(channel) = self.channels.get_mut(slot) {
            let stream = channel.stream.get_or_insert_with(|| {
                ledger.positions.add(1);
                Stream::new(now)
            });
            stream.last_used = now;
        }
        self.channels.touch(Line::Positions, slot);
        slot
    }

    /// Lets `act` forget publications, and settles what follows.
    fn trim(&mut self, slot: usize, ledger: &Ledger, act: impl FnOnce(&mut Stream)) {
        let Some(stream) = self.channels.stream_mut(slot) else { return };
        let before = stream.bytes();
        act(stream);
        ledger.history_bytes.change(before, stream.bytes());
        if stream.is_empty() {
            self.channels.unlink(Line::Histories, slot);
        }
    }

    fn is_position_over(&self, slot: usize, now: Nanos, ledger: &Ledger) -> bool {
        let stream = self.channels.get(slot).and_then(|channel| channel.stream.as_ref());
        stream.is_some_and(|stream| stream.last_used.saturating_add(ledger.position_ttl) <= now)
    }

    fn drop_stream(&mut self, slot: usize, ledger: &Ledger) {
        self.channels.unlink(Line::Histories, slot);
        self.channels.unlink(Line::Positions, slot);
        let stream = self.channels.get_mut(slot).and_then(|channel| channel.stream.take());
        if let Some(stream) = stream {
            ledger.history_bytes.subtract(stream.bytes());
            ledger.positions.subtract(1);
        }
    }

    /// Looks at the one channel whose history is due first; tells whether there was one.
    fn sweep_history(&mut self, now: Nanos, ledger: &Ledger) -> bool {
        if self.histories_due.is_mostly_stale(self.channels.len()) {
            let armed = |channel: &Channel| channel.stream.as_ref().and_then(|stream| stream.armed);
            let valid = self.channels.iter().filter_map(|(slot, channel)| Some((armed(channel)?, slot)));
            self.histories_due.rebuild(valid);
        }
        let Some((deadline, slot)) = self.histories_due.pop_due(now) else { return false };
        let is_valid = |stream: &&mut Stream| stream.armed == Some(deadline);
        if self.channels.stream_mut(slot).filter(is_valid).is_none() {
            return true;
        }
        self.trim(slot, ledger, |stream| stream.expire(now));
        if let Some(stream) = self.channels.stream_mut(slot) {
            stream.armed = stream.next_deadline();
            if let Some(next) = stream.armed {
                self.histories_due.arm(next, slot);
            }
        }
        true
    }

    /// Forgets the position unused for the longest time, if its time is over; tells whether it was.
    fn sweep_position(&mut self, now: Nanos, ledger: &Ledger) -> bool {
        let Some(slot) = self.channels.oldest(Line::Positions) else { return false };
        let is_over = self.is_position_over(slot, now, ledger);
        if is_over {
            self.drop_stream(slot, ledger);
            self.channels.remove_if_idle(slot);
        }
        is_over
    }
}

/// The answer where a slot that was just made is not there: never, but a wrong answer to one call is better than a
/// broken node.
fn lost() -> BrokerError {
    BrokerError::Unavailable("the channel's slot is lost".to_owned())
}
