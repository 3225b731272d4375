//! One shard of the memory broker: the channels whose names hash to it, and what is done to them under its lock.
//!
//! It also keeps the times at which a channel is looked at again because something in it expires.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    mem::size_of,
    sync::Arc,
};

use super::{
    channels::{ChannelEntry, ChannelStream, ChannelTable, LruList},
    clock::{Nanos, nanos},
    usage_budget::{EvictionKind, UsageBudget},
};
use crate::{BrokerError, HistoryPage, HistoryQuery, Idempotency, Position, Publication, Retention};

/// Expired things of each sort that one call clears away beside its own work. A call adds at most one of each, so two
/// are enough to catch up; what is not cleared away yet is never shown, and counts against the limits.
const SWEEP_STEPS: usize = 2;

/// One shard of the memory broker. Every change of what it holds goes into the usage budget at once.
#[derive(Debug, Default)]
pub(super) struct ChannelShard {
    pub(super) channels: ChannelTable,
    pub(super) answers: IdempotentAnswers,
    pub(super) histories_due: Deadlines,
    pub(super) presence_sets_due: Deadlines,
}

impl ChannelShard {
    /// The channel, if this node wants its events.
    pub(super) fn subscribed(&self, hash: u64, channel: &str) -> Option<&ChannelEntry> {
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
        usage: &UsageBudget,
    ) -> Result<(&ChannelEntry, Arc<Publication>), BrokerError> {
        let slot = self.use_stream(hash, name, now, usage);
        let stream = self.channels.stream_mut(slot).ok_or_else(lost)?;
        let before = stream.bytes();
        let publication = stream.append(publication, retention, usage.position_ttl, now);
        usage.history_bytes.change(before, stream.bytes());
        if stream.armed.is_none()
            && let Some(deadline) = stream.next_deadline()
        {
            stream.armed = Some(deadline);
            self.histories_due.arm(deadline, slot);
        }
        self.channels.touch(LruList::Histories, slot);
        Ok((self.channels.get(slot).ok_or_else(lost)?, publication))
    }

    /// Reads the channel's stream; starts its life if it has none.
    pub(super) fn read(
        &mut self,
        hash: u64,
        name: &str,
        query: &HistoryQuery,
        now: Nanos,
        usage: &UsageBudget,
    ) -> Result<HistoryPage, BrokerError> {
        let slot = self.use_stream(hash, name, now, usage);
        self.trim(slot, usage, |stream| stream.expire(now));
        let stream = self.channels.stream_mut(slot).ok_or_else(lost)?;
        let page = stream.page(query);
        if !stream.is_empty() {
            self.channels.touch(LruList::Histories, slot);
        }
        Ok(page)
    }

    pub(super) fn remove_history(&mut self, hash: u64, name: &str, usage: &UsageBudget) {
        if let Some(slot) = self.channels.find(hash, name) {
            self.trim(slot, usage, ChannelStream::forget_all);
        }
    }

    /// Bytes of the channel's publications whose time is not over.
    pub(super) fn history_bytes(&mut self, hash: u64, name: &str, now: Nanos, usage: &UsageBudget) -> usize {
        let Some(slot) = self.channels.find(hash, name) else { return 0 };
        self.trim(slot, usage, |stream| stream.expire(now));
        self.channels.stream_mut(slot).map_or(0, |stream| stream.bytes())
    }

    /// Clears away a little of what expired; see [`SWEEP_STEPS`].
    pub(super) fn sweep(&mut self, now: Nanos, usage: &UsageBudget) {
        for _ in 0..SWEEP_STEPS {
            self.sweep_history(now, usage);
            self.sweep_position(now, usage);
            self.answers.forget_expired(now, usage);
        }
    }

    /// Clears away all that expired.
    pub(super) fn sweep_all(&mut self, now: Nanos, usage: &UsageBudget) {
        while self.sweep_history(now, usage) {}
        while self.sweep_position(now, usage) {}
        while self.answers.forget_expired(now, usage) {}
    }

    /// Time of last use of the entry that would be evicted first.
    pub(super) fn oldest(&self, bound: EvictionKind) -> Option<Nanos> {
        let line = match bound {
            EvictionKind::Histories => LruList::Histories,
            EvictionKind::Positions => LruList::Positions,
            EvictionKind::Answers => return self.answers.oldest(),
        };
        let channel = self.channels.get(self.channels.oldest(line)?)?;
        channel.stream.as_ref().map(|stream| stream.last_used)
    }

    /// Evicts one publication, position or answer, of what was not used for the longest time.
    pub(super) fn evict_one(&mut self, bound: EvictionKind, usage: &UsageBudget) {
        match bound {
            EvictionKind::Histories => {
                if let Some(slot) = self.channels.oldest(LruList::Histories) {
                    self.trim(slot, usage, |stream| {
                        stream.forget_oldest();
                        stream.give_back_room();
                    });
                }
            }
            EvictionKind::Positions => {
                if let Some(slot) = self.channels.oldest(LruList::Positions) {
                    self.drop_stream(slot, usage);
                    self.channels.remove_if_idle(slot);
                }
            }
            EvictionKind::Answers => self.answers.forget_oldest(usage),
        }
    }

    /// The slot of the channel, with a living stream, marked as just used.
    fn use_stream(&mut self, hash: u64, name: &str, now: Nanos, usage: &UsageBudget) -> usize {
        let slot = self.channels.find_or_add(hash, name, || name.into());
        if self.is_position_over(slot, now, usage) {
            self.drop_stream(slot, usage);
        }
        if let Some(channel) = self.channels.get_mut(slot) {
            let stream = channel.stream.get_or_insert_with(|| {
                usage.positions.add(1);
                ChannelStream::new(now)
            });
            stream.last_used = now;
        }
        self.channels.touch(LruList::Positions, slot);
        slot
    }

    /// Lets `act` forget publications, and settles what follows.
    fn trim(&mut self, slot: usize, usage: &UsageBudget, act: impl FnOnce(&mut ChannelStream)) {
        let Some(stream) = self.channels.stream_mut(slot) else { return };
        let before = stream.bytes();
        act(stream);
        usage.history_bytes.change(before, stream.bytes());
        if stream.is_empty() {
            self.channels.unlink(LruList::Histories, slot);
        }
    }

    fn is_position_over(&self, slot: usize, now: Nanos, usage: &UsageBudget) -> bool {
        let stream = self.channels.get(slot).and_then(|channel| channel.stream.as_ref());
        stream.is_some_and(|stream| stream.last_used.saturating_add(usage.position_ttl) <= now)
    }

    fn drop_stream(&mut self, slot: usize, usage: &UsageBudget) {
        self.channels.unlink(LruList::Histories, slot);
        self.channels.unlink(LruList::Positions, slot);
        let stream = self.channels.get_mut(slot).and_then(|channel| channel.stream.take());
        if let Some(stream) = stream {
            usage.history_bytes.subtract(stream.bytes());
            usage.positions.subtract(1);
        }
    }

    /// Looks at the one channel whose history is due first; true if there was one.
    fn sweep_history(&mut self, now: Nanos, usage: &UsageBudget) -> bool {
        if self.histories_due.is_mostly_stale(self.channels.len()) {
            let armed = |channel: &ChannelEntry| channel.stream.as_ref().and_then(|stream| stream.armed);
            let valid = self.channels.iter().filter_map(|(slot, channel)| Some((armed(channel)?, slot)));
            self.histories_due.rebuild(valid);
        }
        let Some((deadline, slot)) = self.histories_due.pop_due(now) else { return false };
        let is_valid = |stream: &&mut ChannelStream| stream.armed == Some(deadline);
        if self.channels.stream_mut(slot).filter(is_valid).is_none() {
            return true;
        }
        self.trim(slot, usage, |stream| stream.expire(now));
        if let Some(stream) = self.channels.stream_mut(slot) {
            stream.armed = stream.next_deadline();
            if let Some(next) = stream.armed {
                self.histories_due.arm(next, slot);
            }
        }
        true
    }

    /// Forgets the position unused for the longest time, if its time is over; true if it was.
    fn sweep_position(&mut self, now: Nanos, usage: &UsageBudget) -> bool {
        let Some(slot) = self.channels.oldest(LruList::Positions) else { return false };
        let is_over = self.is_position_over(slot, now, usage);
        if is_over {
            self.drop_stream(slot, usage);
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

/// Stale entries tolerated before the heap is rebuilt, beside one per channel: small enough not to count.
const STALE_SLACK: usize = 64;

/// A heap with at most one valid entry per channel: the owner keeps the deadline that it armed, and an entry that
/// differs from it is stale. The deadline of a channel that lives on is not moved, only looked at when it comes, so
/// publishing does not touch the heap.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Nanos, usize)>>,
}

impl Deadlines {
    pub(super) fn arm(&mut self, at: Nanos, slot: usize) {
        self.heap.push(Reverse((at, slot)));
    }

    /// Takes the earliest entry, if its time has come.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<(Nanos, usize)> {
        let &Reverse((at, _)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// True if evicted channels left so many stale entries that a rebuild pays.
    pub(super) fn is_mostly_stale(&self, channels: usize) -> bool {
        self.heap.len() > 2 * channels + STALE_SLACK
    }

    /// Starts anew with the valid entries.
    pub(super) fn rebuild(&mut self, valid: impl Iterator<Item = (Nanos, usize)>) {
        self.heap = valid.map(Reverse).collect();
    }
}

/// Bytes of one remembered key beside its text: its entries in the table and in the line, both of which may be twice as
/// large as needed, and the counters of the shared text.
const ANSWER_BYTES: usize = 2
    * (size_of::<(Arc<str>, IdempotentAnswer)>() + size_of::<Arc<str>>() + 2 * size_of::<u64>())
    + 2 * size_of::<usize>();

#[derive(Debug)]
struct IdempotentAnswer {
    position: Position,
    deadline: Nanos,
    ticket: u64,
}

/// One shard's answers: a table by key, and the line in which they were given, oldest first.
#[derive(Debug, Default)]
pub(super) struct IdempotentAnswers {
    table: HashMap<Arc<str>, IdempotentAnswer>,
    line: VecDeque<Given>,
    next_ticket: u64,
}

/// An entry of the line. Its answer is gone when the table has another ticket under the key.
#[derive(Debug)]
struct Given {
    key: Arc<str>,
    ticket: u64,
    at: Nanos,
}

impl IdempotentAnswers {
    /// The answer given earlier, if it is still remembered.
    pub(super) fn find(&self, key: &str, now: Nanos) -> Option<Position> {
        let answer = self.table.get(key)?;
        (answer.deadline > now).then(|| answer.position.clone())
    }

    /// Remembers an answer.
    pub(super) fn remember(
        &mut self,
        key: String,
        position: Position,
        ttl: Nanos,
        now: Nanos,
        usage: &UsageBudget,
    ) {
        let key: Arc<str> = key.into();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        usage.answers.add(1);
        usage.answer_bytes.add(ANSWER_BYTES + key.len());
        self.line.push_back(Given { key: Arc::clone(&key), ticket, at: now });
        self.table.insert(key, IdempotentAnswer { position, deadline: now.saturating_add(ttl), ticket });
    }

    /// Time at which the oldest answer was given.
    pub(super) fn oldest(&self) -> Option<Nanos> {
        self.line.front().map(|given| given.at)
    }

    /// Forgets the oldest one.
    pub(super) fn forget_oldest(&mut self, usage: &UsageBudget) {
        let Some(given) = self.line.pop_front() else { return };
        usage.answers.subtract(1);
        usage.answer_bytes.subtract(ANSWER_BYTES + given.key.len());
        if self.table.get(&given.key).is_some_and(|answer| answer.ticket == given.ticket) {
            self.table.remove(&given.key);
        }
        if self.line.capacity() / 4 > self.line.len() {
            self.line.shrink_to(2 * self.line.len());
            self.table.shrink_to(2 * self.table.len());
        }
    }

    /// Forgets the oldest one if its time is over; true if it was. One behind a longer-lived one waits for it.
    pub(super) fn forget_expired(&mut self, now: Nanos, usage: &UsageBudget) -> bool {
        let Some(given) = self.line.front() else { return false };
        let lives = (self.table.get(&given.key))
            .is_some_and(|answer| answer.ticket == given.ticket && answer.deadline > now);
        if !lives {
            self.forget_oldest(usage);
        }
        !lives
    }
}

/// The key under which the answer to a publication is remembered. The channel's length keeps apart what two different
/// pairs would otherwise spell alike.
pub(super) fn answer_key(channel: &str, idempotency: &Idempotency) -> String {
    format!("{} {channel}{}", channel.len(), idempotency.key)
}

/// Time for which an answer is remembered.
pub(super) fn answer_ttl(idempotency: &Idempotency) -> Nanos {
    nanos(idempotency.ttl)
}
