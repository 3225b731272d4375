//! One shard's channels: found by name, and lined up by their last use.

use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

use super::{presence_set::PresenceSet, stream::ChannelStream};

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
