//! Epochs that ended while the client stayed connected: the stream of a channel goes on in another one, the client was
//! given everything, and knows it by the epoch of its subscribe still. Its protocol has no word for a new one but to
//! subscribe anew. So it is asked to, a while later, and recovers at once; otherwise it would learn that something is
//! missing when it next comes back, although nothing is. Record 34.

use std::{sync::Arc, time::Duration};

use gorani_broker::Position;
use rand::RngExt;

use super::{ClientSession, OutputFormat};
use crate::{
    disconnect::Unsubscribed,
    session::{Actions, EndedEpoch, Now, shared::expiry::is_due},
};

/// Between these times after a failover clients are asked to subscribe anew, so that they do not all come at once.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(100);

impl ClientSession {
    /// The epoch of a channel ended, and its client goes on in the next one.
    pub(super) fn epoch_ended(&mut self, ended: EndedEpoch, now: Now) {
        // Receivers get the epoch with each publication; only a new connection could renew a server-side subscription.
        let is_concerned =
            self.subscription(&ended.channel).is_some_and(|known| known.recoverable && !known.server_side);
        if self.traits.format != OutputFormat::Commands || !is_concerned {
            return;
        }
        let epochs = self.clock.epochs.get_or_insert_default();
        match epochs.stale.iter_mut().find(|known| known.channel == ended.channel) {
            // Its client knows the first of them.
            Some(known) => known.next = ended.next,
            None => epochs.stale.push(ended),
        }
        let pause = crate::random::rng().random_range(SOONEST..LATEST);
        epochs.by.get_or_insert(now.instant + pause);
    }

    /// Asks the client to subscribe anew, if it is time.
    pub(super) fn look_at_epochs(&mut self, now: Now, actions: &mut Actions) {
        let Some(epochs) = self.clock.epochs.as_mut().filter(|epochs| is_due(epochs.by, now)) else {
            return;
        };
        epochs.by = None;
        epochs.told = Vec::new();
        let channels: Vec<Arc<str>> = epochs.stale.iter().map(|ended| ended.channel.clone()).collect();
        for channel in channels {
            self.server_unsubscribe(&channel, Unsubscribed::INSUFFICIENT_STATE, actions);
        }
    }

    /// A subscription has ended. `comes_back`: its client is to subscribe again from its position.
    pub(super) fn forget_epoch(&mut self, channel: &str, comes_back: bool) {
        let Some(epochs) = &mut self.clock.epochs else { return };
        epochs.told.retain(|ended| *ended.channel != *channel);
        if let Some(index) = epochs.stale.iter().position(|ended| *ended.channel == *channel) {
            let ended = epochs.stale.swap_remove(index);
            if comes_back {
                epochs.told.push(ended);
            }
        }
        if epochs.stale.is_empty() && epochs.told.is_empty() {
            self.clock.epochs = None;
        }
    }

    /// Moves the position from which a client recovers into the current epoch, in which it went on without knowing.
    pub(super) fn renew_epoch(&mut self, channel: &str, from: Option<&mut Position>) {
        let told = self
            .clock
            .epochs
            .as_ref()
            .and_then(|epochs| epochs.told.iter().find(|ended| *ended.channel == *channel));
        if let (Some(ended), Some(from)) = (told, from)
            && from.epoch == ended.epoch
        {
            from.epoch = ended.next.clone();
        }
        self.forget_epoch(channel, false);
    }
}
