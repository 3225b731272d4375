//! Presence, as one shard keeps it. Design §4, specs/client-protocol.md (presence, presence_stats).

use std::sync::Arc;

use super::{
    channels::Channel,
    clock::Nanos,
    ledger::Ledger,
    roster::{Added, Roster},
    shard::Shard,
};
use crate::{ClientInfo, Event, Sink};

/// A roster is not swept again sooner than after this time (a second, in nanoseconds), so that clients whose times end one
/// after the other are forgotten together. Reads do not wait for it.
const ROSTER_SWEEP_PAUSE: Nanos = 1_000_000_000;

/// What became of a request to enter a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Done,
    /// It would be one too many.
    Full,
}

/// A client that is to be entered.
pub(super) struct Entering {
    pub(super) info: Arc<ClientInfo>,
    /// Whether others are told.
    pub(super) announce: bool,
    pub(super) deadline: Nanos,
    pub(super) now: Nanos,
}

/// Hands an event of a channel to the node, if there is one and it wants the channel.
fn tell(channel: &Channel, sink: Option<&dyn Sink>, event: Event) {
    if let Some(sink) = sink.filter(|_| channel.subscribed) {
        sink.on_event(&channel.name, event);
    }
}

impl Shard {
    /// Enters a client or refreshes it.
    pub(super) fn enter(
        &mut self,
        hash: u64,
        name: &str,
        Entering { info, announce, deadline, now }: Entering,
        ledger: &Ledger,
        sink: Option<&dyn Sink>,
    ) -> Entry {
        let known = self.roster(hash, name).is_some_and(|roster| roster.contains(&info.client));
        if !known && !ledger.presence.try_add_one() {
            return Entry::Full;
        }
        let slot = self.channels.find_or_add(hash, name, || name.into());
        if let Some(channel) = self.channels.get_mut(slot) {
            let roster = channel.roster.get_or_insert_default();
            let Added { left, joined } = roster.add(Arc::clone(&info), deadline, announce, now);
            if roster.armed.is_none() {
                roster.armed = Some(deadline);
                self.rosters_due.arm(deadline, slot);
            }
            if let Some(left) = left {
                tell(channel, sink, Event::Leave(left));
            }
            if joined {
                tell(channel, sink, Event::Join(info));
            }
        }
        Entry::Done
    }

    pub(super) fn leave(
        &mut self,
        hash: u64,
        name: &str,
        client: &str,
        ledger: &Ledger,
        sink: Option<&dyn Sink>,
    ) {
        let Some(slot) = self.channels.find(hash, name) else { return };
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Some(roster) = &mut channel.roster else { return };
        if let Some(left) = roster.remove(client) {
            ledger.presence.subtract(1);
            let is_empty = roster.len() == 0;
            if let Some(left) = left {
                tell(channel, sink, Event::Leave(left));
            }
            if is_empty {
                channel.roster = None;
                self.channels.remove_if_idle(slot);
            }
        }
    }

    /// Takes clients of a node out, so many at most; those whose time is over are not among them.
    pub(super) fn reap(
        &mut self,
        hash: u64,
        name: &str,
        (node, limit): (&str, u32),
        now: Nanos,
        ledger: &Ledger,
        sink: Option<&dyn Sink>,
    ) -> Vec<Arc<ClientInfo>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let Some(roster) = self.roster(hash, name) else { return Vec::new() };
        let reaped: Vec<_> = roster.of_node(node, now).take(limit).map(Arc::clone).collect();
        for info in &reaped {
            self.leave(hash, name, &info.client, ledger, sink);
        }
        reaped
    }

    /// Numbers of clients and of distinct users, once those whose time is over are forgotten.
    pub(super) fn presence_stats(
        &mut self,
        hash: u64,
        name: &str,
        now: Nanos,
        ledger: &Ledger,
        sink: Option<&dyn Sink>,
    ) -> (u64, u64) {
        let Some(slot) = self.channels.find(hash, name) else { return (0, 0) };
        let Some(channel) = self.channels.get_mut(slot) else { return (0, 0) };
        let Some(roster) = &mut channel.roster else { return (0, 0) };
        let before = roster.len();
        let left = roster.expire(now);
        ledger.presence.change(before, roster.len());
        let stats = roster.stats();
        for info in left {
            tell(channel, sink, Event::Leave(info));
        }
        if stats.0 == 0 {
            channel.roster = None;
            self.channels.remove_if_idle(slot);
        }
        stats
    }

    pub(super) fn roster(&self, hash: u64, name: &str) -> Option<&Roster> {
        let slot = self.channels.find(hash, name)?;
        self.channels.get(slot)?.roster.as_deref()
    }

    /// Looks at the one roster that is due first; tells whether there was one.
    pub(super) fn sweep_roster(&mut self, now: Nanos, ledger: &Ledger, sink: Option<&dyn Sink>) -> bool {
        if self.rosters_due.is_mostly_stale(self.channels.len()) {
            let armed = |channel: &Channel| channel.roster.as_ref().and_then(|roster| roster.armed);
            let valid = self.channels.iter().filter_map(|(slot, channel)| Some((armed(channel)?, slot)));
            self.rosters_due.rebuild(valid);
        }
        let Some((deadline, slot)) = self.rosters_due.pop_due(now) else { return false };
        let Some(channel) = self.channels.get_mut(slot) else { return true };
        let Some(roster) = channel.roster.as_mut().filter(|roster| roster.armed == Some(deadline)) else {
            return true;
        };
        let before = roster.len();
        let left = roster.expire(now);
        ledger.presence.change(before, roster.len());
        let next = roster.next_deadline().map(|next| next.max(now.saturating_add(ROSTER_SWEEP_PAUSE)));
        roster.armed = next;
        for info in left {
            tell(channel, sink, Event::Leave(info));
        }
        match next {
            Some(next) => self.rosters_due.arm(next, slot),
            None => {
                channel.roster = None;
                self.channels.remove_if_idle(slot);
            }
        }
        true
    }
}
