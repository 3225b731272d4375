//! A subscription of a STOMP session. `docs/protocols/stomp.md` §5.

use std::sync::Arc;

use tokio::time::Instant;

use super::queue_consumer::QueueConsumer;
use crate::{format::message_headers::SubscriptionHeaders, session::Ticket};

/// The source of a subscription's messages.
pub(super) enum SubscriptionSource {
    Channel(Arc<str>),
    Queue(QueueConsumer),
}

/// The mode of acknowledging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckMode {
    /// No acknowledgement: a message that is sent counts as handled.
    Auto,
    /// An ACK holds for the message and all before it.
    Client,
    /// An ACK holds for one message.
    Individual,
}

/// One subscription of the session.
pub(super) struct StompSubscription {
    pub(super) shown: SubscriptionHeaders,
    pub(super) source: SubscriptionSource,
    pub(super) ack_mode: AckMode,
    /// The ticket of the request to the node that is pending for it.
    pub(super) under_way: Option<Ticket>,
    pub(super) expires: Option<Instant>,
    pub(super) asked_recovery: bool,
}

impl StompSubscription {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The name that identifies it within its session: the id, or the destination if 1.0 gave none.
    pub(super) fn name(&self) -> &str {
        self.shown.id.as_deref().unwrap_or(&self.shown.destination)
    }

    pub(super) fn is_of(&self, channel: &str) -> bool {
        matches!(&self.source, SubscriptionSource::Channel(own) if **own == *channel)
    }
}
