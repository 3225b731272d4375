//! How much may wait in the mailbox of a connection's actor.
//!
//! The actor takes out all that waits in each of its turns, so only what comes between two of them has to fit. A session whose
//! mailbox is full is ended as slow by [`crate::hub::registry::SessionEntry::signal`]; a request for it is told that it is busy.

use crate::settings::Settings;

/// Signals and requests besides those that concern single subscriptions.
const MESSAGES: usize = 256;
/// Signals of each subscription: its end by an order, and a gap.
const SIGNALS_PER_SUBSCRIPTION: usize = 2;

/// Messages that fit into an actor's mailbox. An empty one takes no memory for them.
pub(crate) fn capacity(settings: &Settings) -> usize {
    MESSAGES + SIGNALS_PER_SUBSCRIPTION * settings.client.max_subscriptions
}
