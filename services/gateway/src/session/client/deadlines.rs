//! A client session's times: the first command, heartbeats, and the expiry of its token and its subscriptions.
//! `docs/protocols/client.md` §4 and §10.12.

use std::time::Duration;

use tokio::time::Instant;

use super::{ended_epochs::Epochs, subscription::ClientSubscription};
use crate::session::shared::pings::Pings;

/// The times of a session.
pub(super) struct ClientDeadlines {
    /// The time by which the client must be connected; absent once it is.
    pub(super) connect_by: Option<Instant>,
    pub(super) pings: Pings,
    /// The time at which the connection ends unless refreshed, grace included.
    pub(super) expires: Option<Instant>,
    /// The time at which the earliest subscription ends unless refreshed, grace included.
    pub(super) subscription_expires: Option<Instant>,
    /// Epochs that ended, and the time at which the client is asked to subscribe anew.
    pub(super) epochs: Option<Box<Epochs>>,
}

impl ClientDeadlines {
    pub(super) fn new(connect_by: Instant) -> Self {
        Self {
            connect_by: Some(connect_by),
            pings: Pings::default(),
            expires: None,
            subscription_expires: None,
            epochs: None,
        }
    }

    /// The client is connected.
    pub(super) fn start(&mut self, interval: Duration, now: Instant) {
        self.connect_by = None;
        self.pings.start(interval, now);
    }

    pub(super) fn set_expiry(&mut self, expires: Option<Instant>) {
        self.expires = expires;
    }

    /// Looks for the earliest expiry among the subscriptions.
    pub(super) fn set_subscription_expiry(&mut self, subscriptions: &[ClientSubscription]) {
        self.subscription_expires =
            subscriptions.iter().filter_map(|subscription| subscription.expires).min();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let all = [self.connect_by, self.pings.deadline(), self.expires, self.subscription_expires];
        let of_epochs = self.epochs.as_ref().and_then(|epochs| epochs.by);
        all.into_iter().chain([of_epochs]).flatten().min()
    }
}
