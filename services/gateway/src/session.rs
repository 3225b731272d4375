//! A session: what a protocol does with what arrives, as a pure state machine.
//!
//! A session gets messages, signals, outcomes and the time; it answers with [`Actions`]. It does no IO and knows no
//! transport, so the same session serves WebSocket and every HTTP transport, and is tested without a runtime. The
//! transport's shell carries the actions out and brings the outcomes back. `docs/architecture.md` §3.9.
//!
//! - [`Actions`]: what it answers with.
//! - [`client`]: the JSON client protocol.
//! - [`stomp`]: the session of STOMP clients.
//! - [`handler`]: an embedder's `WebSocketHandler`.
//! - [`uni`]: receivers without commands.
//! - [`shared`]: the rules that hold for several of them, each written once.
//! - [`handshake`]: the request that opened a connection.

mod actions;
pub mod client;
#[cfg(test)]
mod fixture;
pub mod handler;
pub mod handshake;
pub mod shared;
pub mod stomp;
pub mod uni;

use std::{sync::Arc, task::Context};

use gorani_broker::{
    ClientInfo, HistoryPage, HistoryQuery, Position, Publication, PublishOptions, Published, Retention,
    queue::{DeliveryId, QueueDelivery},
};
use tokio::time::Instant;

pub use self::actions::Actions;
pub use crate::format::message_kind::MessageKind;
#[cfg(test)]
use crate::session_command::{ServerSubscribe, SessionTarget};
use crate::{
    clock,
    disconnect::{Disconnect, ErrorCode, Refused},
    format::encoding::SubscriptionFormat,
    memory::ReplyPermit,
    session_command::SessionCommand,
};

/// The time as a session sees it, read once for everything that happens in one turn.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For timers.
    pub instant: Instant,
    /// Milliseconds since the Unix epoch, for tokens and publications.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { instant: Instant::now(), unix_ms: clock::unix_ms() }
    }

    /// Seconds since the Unix epoch.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1000
    }
}

/// One message, or part of one, as the transport received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A part of a message, for sessions that asked for partial messages.
    Part {
        /// Whether the message is text; then every part is valid UTF-8.
        text: bool,
        /// The bytes of this part.
        data: &'a [u8],
        /// Whether it is the last part.
        last: bool,
    },
}

impl Incoming<'_> {
    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) | Self::Part { data, .. } => data.len(),
        }
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

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

/// What a session wants done. Bytes written to [`Actions`] are sent before the actions of the same turn.
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

/// What the node tells one session, through the mailbox of its actor.
#[derive(Debug, Clone, actix::Message)]
#[rtype(result = "()")]
pub enum Signal {
    /// The session's deadline has come.
    Timer,
    /// End: the node has a reason of its own.
    Disconnect(Disconnect),
    /// A backend's command for the sessions of a user, of which this is one.
    Command(Arc<SessionCommand>),
    /// The stream of a channel broke and could not be caught up.
    Insufficient(Arc<str>),
    /// The epoch of a channel ended, and nothing was lost: the session goes on in the next one.
    EpochEnded(Box<EndedEpoch>),
}

impl Signal {
    /// How it ends the session, if it does.
    pub fn disconnect(&self) -> Option<&Disconnect> {
        match self {
            Self::Disconnect(disconnect) => Some(disconnect),
            Self::Command(command) => match &**command {
                SessionCommand::Disconnect { disconnect, .. } => Some(disconnect),
                _ => None,
            },
            _ => None,
        }
    }
}

/// An epoch that ended at a failover of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedEpoch {
    /// The channel.
    pub channel: Arc<str>,
    /// The epoch that ended.
    pub epoch: Arc<str>,
    /// The one in which the stream goes on.
    pub next: Arc<str>,
}

/// Signals as commands make them.
#[cfg(test)]
impl Signal {
    pub(crate) fn unsubscribe(channel: &str) -> Self {
        Self::of(SessionCommand::Unsubscribe {
            target: SessionTarget::default(),
            channel: channel.to_owned(),
        })
    }

    pub(crate) fn subscribe(subscribe: ServerSubscribe) -> Self {
        Self::of(SessionCommand::Subscribe { target: SessionTarget::default(), subscribe })
    }

    pub(crate) fn refresh(expired: bool, expire_at: Option<u64>) -> Self {
        Self::of(SessionCommand::Refresh { target: SessionTarget::default(), expired, expire_at })
    }

    fn of(command: SessionCommand) -> Self {
        Self::Command(Arc::new(command))
    }
}

/// A protocol's side of one connection. All calls come from the connection's actor, one at a time. Methods that a session has no use
/// for, or hands on to one inside it, are written by `shared::delegate`.
pub trait Session {
    /// The transport is open.
    fn opened(&mut self, now: Now, actions: &mut Actions);

    /// A message arrived.
    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions);

    /// The node has something to say. [`Signal::Timer`] comes at or after [`Session::deadline`].
    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions);

    /// An action with a ticket ended.
    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions);

    /// The peer answered the transport's own ping.
    fn pong(&mut self, now: Now);

    /// Sessions with an outside handle take what came through it, and register the task for more.
    fn poll_outside(&mut self, task: &mut Context<'_>, actions: &mut Actions);

    /// When the session next wants [`Signal::Timer`].
    fn deadline(&self) -> Option<Instant>;

    /// Whether it cannot take more messages for now: the transport stops reading.
    fn is_blocked(&self) -> bool;

    /// Whether the client has connected: who it is, is known, or may stay unknown. Asked until it has.
    fn has_connected(&self) -> bool;

    /// Whether it holds back input that nothing but the length of a step keeps it from running. The transport calls
    /// [`Session::resume`] before it brings anything else, when the connection's turn is over in its next one.
    fn has_more(&self) -> bool;

    /// Runs the next step of the input that is held back.
    fn resume(&mut self, now: Now, actions: &mut Actions);

    /// Bytes of input that it keeps: what cannot run yet, frames that are not complete, transactions. They draw on the node's
    /// memory budget.
    fn input_bytes(&self) -> usize;

    /// Who the client is, where the request that opened the session said so. Requests that come for the session later must
    /// be the same client's.
    fn principal(&self) -> Option<Arc<str>>;

    /// The transport begins to say goodbye, for whatever reason: nothing more is taken from the session.
    fn ending(&mut self);

    /// Whether the client has said goodbye in the protocol's own words: then it is no failure that it goes.
    fn has_left(&self) -> bool;

    /// What the transport failed with, before [`Session::closed`].
    fn failed(&mut self, error: &(dyn std::error::Error + 'static));

    /// The session has ended, for this reason. Called once, and nothing is told after it.
    fn closed(&mut self, disconnect: &Disconnect);
}
