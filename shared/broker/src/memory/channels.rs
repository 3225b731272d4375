//! One shard's channels: found by name, and lined up by their last use; and the stream of each: its position and the publications
//! that it still remembers. `docs/architecture.md` §4.6, `docs/protocols/client.md` §6.1 and §6.11.

use std::{collections::VecDeque, mem::size_of, sync::Arc};

use hashbrown::HashTable;
use rand::distr::{Alphanumeric, SampleString as _};
use slab::Slab;

use super::{
    clock::{Nanos, nanos},
    presence_set::PresenceSet,
};
use crate::{ClientInfo, HistoryPage, HistoryQuery, Position, Publication, Retention, TraceContext};

/// "No channel" in a link.
const NOBODY: usize = usize::MAX;

/// The state of one channel. It is forgotten when there is nothing left to know.
#[derive(Debug)]
pub(super) struct ChannelEntry {
    pub(super) name: Arc<str>,
    hash: u64,
    /// True if this node is subscribed to its events.
    pub(super) subscribed: bool,
    pub(super) stream: Option<ChannelStream>,
    pub(super) presence_set: Option<Box<PresenceSet>>,
    in_positions: LruLink,
    in_histories: LruLink,
}

impl ChannelEntry {
    fn link(&mut self, line: LruList) -> &mut LruLink {
        match line {
            LruList::Positions => &mut self.in_positions,
            LruList::Histories => &mut self.in_histories,
        }
    }
}

/// The lines of channels, longest unused first.
#[derive(Debug, Clone, Copy)]
pub(super) enum LruList {
    /// Those with a stream.
    Positions,
    /// Those whose stream remembers publications.
    Histories,
}

/// A channel's links in an LRU list.
#[derive(Debug, Clone, Copy)]
struct LruLink {
    older: usize,
    newer: usize,
    linked: bool,
}

impl LruLink {
    const UNLINKED: Self = Self { older: NOBODY, newer: NOBODY, linked: false };
}

#[derive(Debug, Clone, Copy)]
struct LruEnds {
    oldest: usize,
    newest: usize,
}

impl LruEnds {
    const EMPTY: Self = Self { oldest: NOBODY, newest: NOBODY };
}

/// A table of slots, the slots, and the two lines through them. All steps are O(1).
#[derive(Debug)]
pub(super) struct ChannelTable {
    table: HashTable<usize>,
    slots: Slab<ChannelEntry>,
    positions: LruEnds,
    histories: LruEnds,
}

impl Default for ChannelTable {
    fn default() -> Self {
        Self {
            table: HashTable::new(),
            slots: Slab::new(),
            positions: LruEnds::EMPTY,
            histories: LruEnds::EMPTY,
        }
    }
}

impl ChannelTable {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &ChannelEntry)> {
        self.slots.iter()
    }

    pub(super) fn find(&self, hash: u64, name: &str) -> Option<usize> {
        let same = |slot: &usize| self.slots.get(*slot).is_some_and(|channel| &*channel.name == name);
        self.table.find(hash, same).copied()
    }

    /// Finds the channel or makes it, with nothing in it yet. `name` is only called to make it.
    pub(super) fn find_or_add(&mut self, hash: u64, name: &str, shared: impl FnOnce() -> Arc<str>) -> usize {
        if let Some(slot) = self.find(hash, name) {
            return slot;
        }
        let slot = self.slots.insert(ChannelEntry {
            name: shared(),
            hash,
            subscribed: false,
            stream: None,
            presence_set: None,
            in_positions: LruLink::UNLINKED,
            in_histories: LruLink::UNLINKED,
        });
        let slots = &self.slots;
        self.table.insert_unique(hash, slot, |slot| slots.get(*slot).map_or(0, |channel| channel.hash));
        slot
    }

    pub(super) fn get(&self, slot: usize) -> Option<&ChannelEntry> {
        self.slots.get(slot)
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut ChannelEntry> {
        self.slots.get_mut(slot)
    }

    pub(super) fn stream_mut(&mut self, slot: usize) -> Option<&mut ChannelStream> {
        self.slots.get_mut(slot)?.stream.as_mut()
    }

    /// Forgets a channel without subscription, stream and presence.
    pub(super) fn remove_if_idle(&mut self, slot: usize) {
        let Some(channel) = self.slots.get(slot) else { return };
        if channel.subscribed || channel.stream.is_some() || channel.presence_set.is_some() {
            return;
        }
        if let Ok(entry) = self.table.find_entry(channel.hash, |other| *other == slot) {
            entry.remove();
        }
        self.slots.try_remove(slot);
    }

    /// The channel of a line that was not used for the longest time.
    pub(super) fn oldest(&self, line: LruList) -> Option<usize> {
        let oldest = match line {
            LruList::Positions => self.positions.oldest,
            LruList::Histories => self.histories.oldest,
        };
        (oldest != NOBODY).then_some(oldest)
    }

    /// Moves a channel to the new end of a line, or enters it there.
    pub(super) fn touch(&mut self, line: LruList, slot: usize) {
        let newest = self.ends(line).newest;
        if newest == slot {
            return;
        }
        self.unlink(line, slot);
        self.set_link(line, slot, LruLink { older: newest, newer: NOBODY, linked: true });
        match self.slots.get_mut(newest) {
            Some(channel) => channel.link(line).newer = slot,
            None => self.ends(line).oldest = slot,
        }
        self.ends(line).newest = slot;
    }

    /// Takes a channel out of a line, if it is in it.
    pub(super) fn unlink(&mut self, line: LruList, slot: usize) {
        let Some(channel) = self.slots.get_mut(slot) else { return };
        let LruLink { older, newer, linked } = *channel.link(line);
        if !linked {
            return;
        }
        *channel.link(line) = LruLink::UNLINKED;
        match self.slots.get_mut(older) {
            Some(channel) => channel.link(line).newer = newer,
            None => self.ends(line).oldest = newer,
        }
        match self.slots.get_mut(newer) {
            Some(channel) => channel.link(line).older = older,
            None => self.ends(line).newest = older,
        }
    }

    fn ends(&mut self, line: LruList) -> &mut LruEnds {
        match line {
            LruList::Positions => &mut self.positions,
            LruList::Histories => &mut self.histories,
        }
    }

    fn set_link(&mut self, line: LruList, slot: usize, link: LruLink) {
        if let Some(channel) = self.slots.get_mut(slot) {
            *channel.link(line) = link;
        }
    }
}

/// Characters of an epoch. 62^8 values: that a new life of one channel gets the name of an earlier one is as good as
/// excluded.
const EPOCH_CHARS: usize = 8;

/// A ring with more room than this is made smaller when it is mostly empty.
const SMALL_RING: usize = 32;

/// Bytes of one remembered publication beside what it points to: the shared value with its two counters, and its slot
/// in the ring, which may be twice as large as needed.
const ENTRY_BYTES: usize = size_of::<Publication>() + 2 * size_of::<usize>() + 2 * size_of::<StreamEntry>();

#[derive(Debug)]
struct StreamEntry {
    publication: Arc<Publication>,
    accepted: Nanos,
    bytes: usize,
}

/// Offsets of the entries are consecutive and end at `top`: they leave only at the old end.
#[derive(Debug)]
pub(super) struct ChannelStream {
    epoch: Arc<str>,
    top: u64,
    entries: VecDeque<StreamEntry>,
    bytes: usize,
    ttl: Nanos,
    /// Time of the last write or read.
    pub(super) last_used: Nanos,
    /// The deadline under which the shard's heap knows it.
    pub(super) armed: Option<Nanos>,
}

impl ChannelStream {
    /// A new life of a stream, under a new epoch.
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            epoch: Alphanumeric.sample_string(&mut rand::rng(), EPOCH_CHARS).into(),
            top: 0,
            entries: VecDeque::new(),
            bytes: 0,
            ttl: 0,
            last_used: now,
            armed: None,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { offset: self.top, epoch: Arc::clone(&self.epoch) }
    }

    /// Bytes of the remembered publications.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the publication its position, remembers it, and forgets what `retention` no longer covers.
    pub(super) fn append(
        &mut self,
        mut publication: Publication,
        retention: Retention,
        longest_ttl: Nanos,
        now: Nanos,
    ) -> Arc<Publication> {
        self.ttl = nanos(retention.ttl).min(longest_ttl);
        self.expire(now);
        self.top += 1;
        publication.offset = self.top;
        publication.epoch = Arc::clone(&self.epoch);
        let publication = Arc::new(publication);
        let bytes = cost(&publication);
        self.bytes += bytes;
        self.entries.push_back(StreamEntry { publication: Arc::clone(&publication), accepted: now, bytes });
        let size = usize::try_from(retention.size).unwrap_or(usize::MAX);
        while self.entries.len() > size {
            self.forget_oldest();
        }
        publication
    }

    /// Forgets the publications whose time is over.
    pub(super) fn expire(&mut self, now: Nanos) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.forget_oldest();
        }
        self.give_back_room();
    }

    /// Time at which the oldest publication is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.entries.front().map(|entry| entry.accepted.saturating_add(self.ttl))
    }

    pub(super) fn forget_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    /// The ring's room is part of the accounted bytes only up to twice its entries.
    pub(super) fn give_back_room(&mut self) {
        if self.entries.capacity() > SMALL_RING && self.entries.capacity() / 4 > self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// A page as `query` asks. What expired must have been forgotten before.
    pub(super) fn page(&self, query: &HistoryQuery) -> HistoryPage {
        let count = self.entries.len();
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        // The number of remembered publications with an offset of at most `offset`.
        let up_to = |offset: u64| {
            let newer = usize::try_from(self.top.saturating_sub(offset)).unwrap_or(usize::MAX);
            count.saturating_sub(newer)
        };
        let mut budget = PageBudget::new(query.max_bytes);
        let publications: Vec<_> = if query.reverse {
            let end = match query.since {
                None => count,
                Some(0) => 0,
                Some(offset) => up_to(offset - 1),
            };
            let wanted = self.entries.range(..end).rev().take(limit);
            wanted.map_while(|entry| budget.take(&entry.publication)).collect()
        } else {
            let start = query.since.map_or(0, up_to);
            let wanted = self.entries.range(start..).take(limit);
            wanted.map_while(|entry| budget.take(&entry.publication)).collect()
        };
        HistoryPage { publications, top: self.position(), truncated: budget.is_spent, ancestors: Vec::new() }
    }
}

/// Bytes that a page may still take.
struct PageBudget {
    left_bytes: u64,
    is_first: bool,
    /// A publication did not fit.
    is_spent: bool,
}

impl PageBudget {
    fn new(max_bytes: Option<u64>) -> Self {
        Self { left_bytes: max_bytes.unwrap_or(u64::MAX), is_first: true, is_spent: false }
    }

    /// The publication, if it fits or is the first.
    fn take(&mut self, publication: &Arc<Publication>) -> Option<Arc<Publication>> {
        let bytes = publication.content_bytes();
        let is_first = std::mem::replace(&mut self.is_first, false);
        if bytes > self.left_bytes && !is_first {
            self.is_spent = true;
            return None;
        }
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        Some(Arc::clone(publication))
    }
}

/// Bytes that a remembered publication holds. A client's info is counted with each of its publications, although they
/// may share it: it lives as long as any of them.
pub(super) fn cost(publication: &Publication) -> usize {
    let tags: usize = publication.tags.iter().map(|(key, value)| key.capacity() + value.capacity()).sum();
    ENTRY_BYTES
        + publication.data.len()
        + publication.exclude_client.capacity()
        + publication.tags.capacity() * size_of::<(String, String)>()
        + tags
        + publication.info.as_deref().map_or(0, info_cost)
        + publication.trace.as_deref().map_or(0, TraceContext::held_bytes)
}

fn info_cost(info: &ClientInfo) -> usize {
    size_of::<ClientInfo>()
        + info.user.capacity()
        + info.client.capacity()
        + info.connection_info.len()
        + info.channel_info.len()
}
