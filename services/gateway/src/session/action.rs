//! Actions: what a session wants done, and the outcomes that come back under their tickets.

use std::sync::Arc;

use gorani_broker::{
    ClientInfo, HistoryPage, HistoryQuery, Position, Publication, PublishOptions, Published, Retention,
    queue::{DeliveryId, QueueDelivery},
};

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::encoding::SubscriptionFormat,
    memory::ReplyPermit,
};

/// Names a request to the node, so that its outcome finds the command it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// The parameters of a session's subscription to a channel.
#[derive(Debug, Clone)]
pub struct SubscribeParams {
    /// The channel.
    pub channel: Arc<str>,
    /// The subscribing client, as presence and joins show it.
    pub info: Arc<ClientInfo>,
    /// The channel's retention.
    pub retention: Retention,
    /// True if the position in the stream is tracked: the session is then notified of a gap, which is never hidden.
    pub positioned: bool,
    /// The last position that the client has seen, if it wants what came since.
    pub recover: Option<Position>,
    /// Bytes of publications that it can be brought at once; more is not recovered.
    pub recover_max_bytes: usize,
    /// True if the client appears in the channel's presence.
    pub presence: bool,
    /// True if its join and leave are published to others.
    pub announce: bool,
    /// True if it gets the joins and leaves of others.
    pub join_leave: bool,
    /// The format in which it shows the channel's messages.
    pub format: SubscriptionFormat,
}

/// A subscription in effect: everything published from now on reaches the session after [`Action::Release`].
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Top of the stream at the moment of the read; absent where the position is not tracked.
    pub top: Option<Position>,
    /// True if a recovery was asked for.
    pub was_recovering: bool,
    /// True if it succeeded; then `publications` are exactly those missed.
    pub recovered: bool,
    /// The publications missed, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// The permit for the reply that holds them, if it is large.
    pub permit: Option<ReplyPermit>,
}

/// An action of a session. Bytes written to [`super::Actions`] are sent before the actions of the same turn.
#[derive(Debug)]
pub enum Action {
    /// The session has a user and a client id: the hub can address it.
    Identify {
        /// User id; empty for anonymous.
        user: Arc<str>,
        /// Client id.
        client: Arc<str>,
    },
    /// Take one of the user's connection slots, which are limited. After [`Action::Identify`]; it is given back when the
    /// session ends.
    Enter(Ticket, u32),
    /// Join a channel; live events are held back until [`Action::Release`].
    Subscribe(Ticket, SubscribeParams),
    /// The reply of a subscribe is written: let held back events follow.
    Release(Arc<str>),
    /// Show the messages of a channel in this way from now on.
    SetFormat(Arc<str>, SubscriptionFormat),
    /// Send the session publications of a channel, with the permit for them if they are large, and let held back events follow.
    Replay(Arc<str>, Vec<Arc<Publication>>, Option<ReplyPermit>),
    /// Leave a channel.
    Unsubscribe(Arc<str>),
    /// Leave a channel that the client is to subscribe to again: it stays present for a while.
    Interrupt(Arc<str>),
    /// Publish.
    Publish(Ticket, Arc<str>, Publication, PublishOptions),
    /// Add a message to a work queue; its outcome is that of a publication.
    PushToQueue(Ticket, Arc<str>, Publication),
    /// Take so many messages of a work queue, or fewer, as soon as there are any.
    Fetch(Ticket, Arc<str>, u32),
    /// Stop waiting for the messages of this ticket.
    StopFetching(Ticket),
    /// These messages of a work queue were handled, or (false) are for others.
    Acknowledge(Ticket, Arc<str>, Vec<DeliveryId>, bool),
    /// Read history.
    History(Ticket, Arc<str>, HistoryQuery, Retention),
    /// Read presence.
    Presence(Ticket, Arc<str>),
    /// Count presence.
    PresenceStats(Ticket, Arc<str>),
    /// Send the transport's own ping, for protocols without one.
    Ping,
    /// The session does not begin, and ends: over HTTP this is the response's status. Nothing else is done after it.
    Refuse(Refused),
    /// End the session. Nothing else is done after it.
    Close(Disconnect),
}

/// The outcome of an action with a ticket.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Action::Enter`]; an error is the end of the session.
    Entered(Result<(), Disconnect>),
    /// Of [`Action::Subscribe`].
    Subscribed(Result<Subscribed, ErrorCode>),
    /// Of [`Action::Publish`].
    Published(Result<Published, ErrorCode>),
    /// Of [`Action::Fetch`]; nothing after [`Action::StopFetching`].
    Fetched(Result<Vec<QueueDelivery>, ErrorCode>),
    /// Of [`Action::Acknowledge`].
    Acknowledged(Result<(), ErrorCode>),
    /// Of [`Action::History`], with the permit for a large reply.
    History(Result<(HistoryPage, Option<ReplyPermit>), ErrorCode>),
    /// Of [`Action::Presence`], with the permit for a large reply.
    Presence(Result<(Vec<Arc<ClientInfo>>, Option<ReplyPermit>), ErrorCode>),
    /// Of [`Action::PresenceStats`]: clients and users.
    PresenceStats(Result<(u64, u64), ErrorCode>),
}

impl Outcome {
    /// True if its reply may have the full size of a reply, which also costs much to write.
    pub fn has_large_reply(&self) -> bool {
        matches!(self, Self::History(Ok(_)) | Self::Presence(Ok(_)))
    }

    /// True if writing its reply may take milliseconds.
    pub fn takes_long(&self) -> bool {
        match self {
            Self::History(Ok((_, permit))) => permit.is_some(),
            Self::Subscribed(Ok(subscribed)) => subscribed.permit.is_some(),
            Self::Presence(Ok(_)) => true,
            _ => false,
        }
    }
}
