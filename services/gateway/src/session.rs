//! A session: a protocol as a pure state machine: input in, actions out.
//!
//! A session gets messages, signals, outcomes and the time; it answers with [`Actions`]. It does no IO and knows no
//! transport, so the same session serves WebSocket and every HTTP transport, and is tested without a runtime. The
//! connection carries the actions out and brings the outcomes back. `docs/architecture.md` §3.9.
//!
//! - [`action`], [`Actions`]: what it answers with, and the outcomes that come back.
//! - [`client`]: the JSON client protocol.
//! - [`stomp`]: the session of STOMP clients.
//! - [`handler`]: an embedder's `WebSocketHandler`.
//! - [`uni`]: receivers without commands; [`receiver`]: what they ask for.
//! - [`shared`]: the rules that hold for several of them, each written once.
//! - [`handshake`]: the request that opened a connection.

pub mod action;
mod actions;
pub mod client;
#[cfg(test)]
mod fixture;
pub mod handler;
pub mod handshake;
pub mod receiver;
pub mod shared;
pub mod stomp;
pub mod uni;

use std::{sync::Arc, task::Context};

use tokio::time::Instant;

pub use self::{
    action::{Action, Outcome, SubscribeParams, Subscribed, Ticket},
    actions::Actions,
};
pub use crate::format::message_headers::MessageKind;
#[cfg(test)]
use crate::session_command::{ServerSubscribe, SessionTarget};
use crate::{clock, disconnect::Disconnect, session_command::SessionCommand};

/// The time as a session sees it, read once for everything that happens in one turn.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The monotonic time, for timers.
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
        /// True if the message is text; then every part is valid UTF-8.
        text: bool,
        /// The bytes of this part.
        data: &'a [u8],
        /// True for the last part.
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

    /// True if the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message of the node to one session, sent to its actor.
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
    /// The disconnect, if this signal ends the session.
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

/// A protocol's side of one connection. All calls come from the connection's actor, one at a time. Methods that a session
/// has no use for, or hands on to one inside it, are written by `shared::delegate`.
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

    /// The time at which the session next wants [`Signal::Timer`].
    fn deadline(&self) -> Option<Instant>;

    /// True if it cannot take more messages for now: the transport stops reading.
    fn is_blocked(&self) -> bool;

    /// True once the client has connected: its identity is known, or may stay unknown. Asked until then.
    fn has_connected(&self) -> bool;

    /// True if it holds back input only because a step is bounded. The transport calls
    /// [`Session::resume`] before it brings anything else; if the connection's turn is over, in the next turn.
    fn has_more(&self) -> bool;

    /// Runs the next step of the input that is held back.
    fn resume(&mut self, now: Now, actions: &mut Actions);

    /// Bytes of input that it keeps: what cannot run yet, frames that are not complete, transactions. They draw on the node's
    /// memory budget.
    fn input_bytes(&self) -> usize;

    /// The client's identity, if the request that opened the session named one. Later requests for the session must
    /// come from the same client.
    fn principal(&self) -> Option<Arc<str>>;

    /// The transport begins to close, for any reason: nothing more is taken from the session.
    fn ending(&mut self);

    /// True if the client ended the session as its protocol prescribes: then its going is no failure.
    fn has_left(&self) -> bool;

    /// The transport failed with this error. Called before [`Session::closed`].
    fn failed(&mut self, error: &(dyn std::error::Error + 'static));

    /// The session has ended, for this reason. Called once; no other call follows it.
    fn closed(&mut self, disconnect: &Disconnect);
}
