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

/// How a session wants to be subscribed.
#[derive(Debug, Clone)]
pub struct SubscribeParams {
    /// The channel.
    pub channel: Arc<str>,
    /// Who subscribes, as presence and joins show it.
    pub info: Arc<ClientInfo>,
    /// The channel's retention.
    pub retention: Retention,
    /// Whether the position in the stream is tracked: a gap is then told to the session, never hidden.
    pub positioned: bool,
    /// The last position that the client has seen, if it wants what came since.
    pub recover: Option<Position>,
    /// Bytes of publications that it can be brought at once; more is not recovered.
    pub recover_max_bytes: usize,
    /// Whether the client appears in the channel's presence.
    pub presence: bool,
    /// Whether others are told that it joined and left.
    pub announce: bool,
    /// Whether it is told of others that join and leave.
    pub join_leave: bool,
    /// How it shows what comes.
    pub format: SubscriptionFormat,
}

/// A subscription in effect: everything published from now on reaches the session after [`Action::Release`].
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Top of the stream at the moment of the read; absent where the position is not tracked.
    pub top: Option<Position>,
    /// Whether a recovery was asked for.
    pub was_recovering: bool,
    /// Whether it succeeded; then `publications` are exactly those missed.
    pub recovered: bool,
    /// The publications missed, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// For the reply that holds them, if it is large.
    pub permit: Option<ReplyPermit>,
}

/// What a session wants done. Bytes written to [`super::Actions`] are sent before the actions of the same turn.
#[derive(Debug)]
pub enum Action {
    /// The session has a user and a client id: the hub can address it.
    Identify {
        /// User id; empty for anonymous.
        user: Arc<str>,
        /// Client id.
        client: Arc<str>,
    },
    /// Take a place among the connections of the user, who are limited. After [`Action::Identify`]; it is given back when the
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
    /// Leave a channel that the client was told to come back to: it stays present for a while.
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

/// How an action with a ticket ended.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Action::Enter`]; an error is how the session is to end.
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
    /// Whether its reply may be as large as replies are, and costs as much to write.
    pub fn has_large_reply(&self) -> bool {
        matches!(self, Self::History(Ok(_)) | Self::Presence(Ok(_)))
    }

    /// Whether writing its reply may take milliseconds.
    pub fn takes_long(&self) -> bool {
        match self {
            Self::History(Ok((_, permit))) => permit.is_some(),
            Self::Subscribed(Ok(subscribed)) => subscribed.permit.is_some(),
            Self::Presence(Ok(_)) => true,
            _ => false,
        }
    }
}
