//! Presence, as one shard keeps it. `docs/architecture.md` §4.8, `docs/protocols/client.md` §8.

use std::sync::Arc;

use super::{
    channels::ChannelEntry,
    clock::Nanos,
    presence_set::{AddedClient, PresenceSet},
    shard::ChannelShard,
    usage_budget::UsageBudget,
};
use crate::{ChannelEvent, ClientInfo, Sink};

/// A presence set is not swept again sooner than after this time (a second, in nanoseconds), so that clients whose times end one
/// after the other are forgotten together. Reads do not wait for it.
const ROSTER_SWEEP_PAUSE: Nanos = 1_000_000_000;

/// The result of a request to enter a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnterResult {
    Done,
    /// It would be one too many.
    Full,
}

/// A client that is to be entered.
pub(super) struct Entering {
    pub(super) info: Arc<ClientInfo>,
    /// True if its join and leave are published.
    pub(super) announce: bool,
    pub(super) deadline: Nanos,
    pub(super) now: Nanos,
}

/// Hands an event of a channel to the node, if there is one and it wants the channel.
fn tell(channel: &ChannelEntry, sink: Option<&dyn Sink>, event: ChannelEvent) {
    if let Some(sink) = sink.filter(|_| channel.subscribed) {
        sink.on_event(&channel.name, event);
    }
}

impl ChannelShard {
    /// Enters a client or refreshes it.
    pub(super) fn enter(
        &mut self,
        hash: u64,
        name: &str,
        Entering { info, announce, deadline, now }: Entering,
        usage: &UsageBudget,
        sink: Option<&dyn Sink>,
    ) -> EnterResult {
        let known =
            self.presence_set(hash, name).is_some_and(|presence_set| presence_set.contains(&info.client));
        if !known && !usage.presence.try_add_one() {
            return EnterResult::Full;
        }
        let slot = self.channels.find_or_add(hash, name, || name.into());
        if let Some(channel) = self.channels.get_mut(slot) {
            let presence_set = channel.presence_set.get_or_insert_default();
            let AddedClient { left, joined } = presence_set.add(Arc::clone(&info), deadline, announce, now);
            if presence_set.armed.is_none() {
                presence_set.armed = Some(deadline);
                self.presence_sets_due.arm(deadline, slot);
            }
            if let Some(left) = left {
                tell(channel, sink, ChannelEvent::Leave(left));
            }
            if joined {
                tell(channel, sink, ChannelEvent::Join(info));
            }
        }
        EnterResult::Done
    }

    pub(super) fn leave(
        &mut self,
        hash: u64,
        name: &str,
        client: &str,
        usage: &UsageBudget,
        sink: Option<&dyn Sink>,
    ) {
        let Some(slot) = self.channels.find(hash, name) else { return };
        let Some(channel) = self.channels.get_mut(slot) else { return };
        let Some(presence_set) = &mut channel.presence_set else { return };
        if let Some(left) = presence_set.remove(client) {
            usage.presence.subtract(1);
            let is_empty = presence_set.len() == 0;
            if let Some(left) = left {
                tell(channel, sink, ChannelEvent::Leave(left));
            }
            if is_empty {
                channel.presence_set = None;
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
        usage: &UsageBudget,
        sink: Option<&dyn Sink>,
    ) -> Vec<Arc<ClientInfo>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let Some(presence_set) = self.presence_set(hash, name) else { return Vec::new() };
        let reaped: Vec<_> = presence_set.of_node(node, now).take(limit).map(Arc::clone).collect();
        for info in &reaped {
            self.leave(hash, name, &info.client, usage, sink);
        }
        reaped
    }

    /// Numbers of clients and of distinct users, once those whose time is over are forgotten.
    pub(super) fn presence_stats(
        &mut self,
        hash: u64,
        name: &str,
        now: Nanos,
        usage: &UsageBudget,
        sink: Option<&dyn Sink>,
    ) -> (u64, u64) {
        let Some(slot) = self.channels.find(hash, name) else { return (0, 0) };
        let Some(channel) = self.channels.get_mut(slot) else { return (0, 0) };
        let Some(presence_set) = &mut channel.presence_set else { return (0, 0) };
        let before = presence_set.len();
        let left = presence_set.expire(now);
        usage.presence.change(before, presence_set.len());
        let stats = presence_set.stats();
        for info in left {
            tell(channel, sink, ChannelEvent::Leave(info));
        }
        if stats.0 == 0 {
            channel.presence_set = None;
            self.channels.remove_if_idle(slot);
        }
        stats
    }

    pub(super) fn presence_set(&self, hash: u64, name: &str) -> Option<&PresenceSet> {
        let slot = self.channels.find(hash, name)?;
        self.channels.get(slot)?.presence_set.as_deref()
    }

    /// Looks at the one presence set that is due first; true if there was one.
    pub(super) fn sweep_presence_set(
        &mut self,
        now: Nanos,
        usage: &UsageBudget,
        sink: Option<&dyn Sink>,
    ) -> bool {
        if self.presence_sets_due.is_mostly_stale(self.channels.len()) {
            let armed = |channel: &ChannelEntry| {
                channel.presence_set.as_ref().and_then(|presence_set| presence_set.armed)
            };
            let valid = self.channels.iter().filter_map(|(slot, channel)| Some((armed(channel)?, slot)));
            self.presence_sets_due.rebuild(valid);
        }
        let Some((deadline, slot)) = self.presence_sets_due.pop_due(now) else { return false };
        let Some(channel) = self.channels.get_mut(slot) else { return true };
        let Some(presence_set) =
            channel.presence_set.as_mut().filter(|presence_set| presence_set.armed == Some(deadline))
        else {
            return true;
        };
        let before = presence_set.len();
        let left = presence_set.expire(now);
        usage.presence.change(before, presence_set.len());
        let next = presence_set.next_deadline().map(|next| next.max(now.saturating_add(ROSTER_SWEEP_PAUSE)));
        presence_set.armed = next;
        for info in left {
            tell(channel, sink, ChannelEvent::Leave(info));
        }
        match next {
            Some(next) => self.presence_sets_due.arm(next, slot),
            None => {
                channel.presence_set = None;
                self.channels.remove_if_idle(slot);
            }
        }
        true
    }
}
