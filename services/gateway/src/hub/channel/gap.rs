//! Gaps of a channel: what may be missing is read from history, and newer events wait for it.

use std::sync::{Arc, atomic::Ordering};

use gorani_broker::{ChannelEvent, Position};

use super::{CatchUpResult, CatchingUp, Channel, MissingRange, NEXT};
use crate::{
    event_log::trace::TraceOutcome,
    format::encoder::Encoder,
    hub::subscription::{PositionLost, Subscription, is_same_epoch},
    session::EndedEpoch,
};

impl Channel {
    /// Something may be missing from here on. Returns what must be read from history.
    pub(in crate::hub) fn gap(&mut self) -> Option<MissingRange> {
        self.gaps += 1;
        if self.catching_up.is_some() {
            // The read under way may have been too early for this gap: when it ends there is another.
            return None;
        }
        if !self.retention.keeps_history() {
            self.lose(|_| true);
            return None;
        }
        let oldest = self
            .subscriptions
            .values()
            .filter_map(Subscription::last_delivered)
            .min_by_key(|position| position.offset);
        let position = self.position.as_ref().or(oldest)?.clone();
        Some(self.begin_catching_up(position, Vec::new()))
    }

    pub(super) fn begin_catching_up(&mut self, after: Position, waiting: Vec<ChannelEvent>) -> MissingRange {
        // Joins and leaves that were lost are in no history: the subscribers that receive them come back and read presence.
        self.lose(Subscription::receives_join_leave);
        if let Some(watch) = &self.watch {
            watch.note_all(TraceOutcome::Gap, &waiting);
        }
        let read = NEXT.fetch_add(1, Ordering::Relaxed);
        self.catching_up = Some(CatchingUp { read, after: after.clone(), gaps: self.gaps, waiting });
        MissingRange { after, read }
    }

    /// A read of history has ended. `missed` is what follows the position; `None` if it could not be had: subscribers that track
    /// their position are notified then, the others go on. Returns what must be read next, if there was another gap meanwhile.
    pub(in crate::hub) fn caught_up(
        &mut self,
        read: u64,
        missed: Option<CatchUpResult>,
        encoder: &mut Encoder,
    ) -> Option<MissingRange> {
        let CatchingUp { mut after, gaps, mut waiting, .. } =
            self.catching_up.take_if(|under_way| under_way.read == read)?;
        let Some(missed) = missed else {
            self.lose(Subscription::is_positioned);
            (self.position, self.fingerprint) = (None, None);
            return self.deliver_in_order(waiting, encoder, false);
        };
        if let Some(shared) = missed.shared_with(&after.epoch) {
            self.change_epoch(&after.epoch, &missed.epoch, shared);
            after.epoch = missed.epoch.clone();
        }
        // What came in an earlier epoch is forgotten, or among what was read.
        let is_old = |event: &ChannelEvent| matches!(event, ChannelEvent::Publication(of) if missed.shared_with(&of.epoch).is_some());
        waiting.retain(|event| !is_old(event));
        let missing = self.deliver(missed.events, encoder);
        if let (Some(missing), Some(catching_up)) = (missing, &mut self.catching_up) {
            catching_up.waiting.extend(waiting);
            return Some(missing);
        }
        if gaps != self.gaps {
            let after = self.position.clone().unwrap_or(after);
            return Some(self.begin_catching_up(after, waiting));
        }
        self.deliver_in_order(waiting, encoder, false)
    }

    /// The stream goes on in another epoch, which is the same up to an offset: so do those that have not come further.
    pub(super) fn change_epoch(&mut self, old: &Arc<str>, epoch: &Arc<str>, shared: u64) {
        if let Some(position) = self.position.as_mut().filter(|position| is_same_epoch(&position.epoch, old))
        {
            position.epoch = epoch.clone();
        }
        let mut moved = Vec::new();
        for (key, subscription) in &mut self.subscriptions {
            match subscription.change_epoch(old, epoch, shared) {
                Ok(true) => moved.push(*key),
                Err(PositionLost) if subscription.end() => self.lost.push(*key),
                _ => {}
            }
        }
        let ended = EndedEpoch { channel: self.name.clone(), epoch: old.clone(), next: epoch.clone() };
        self.moved = Some(Box::new((ended, moved)));
    }
}
