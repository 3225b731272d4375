//! A session: a protocol as a pure state machine: input in, actions out.
//!
//! A session gets messages, signals, outcomes and the time; it answers with [`Actions`]. It does no IO and knows no
//! transport, so the same session serves WebSocket and every HTTP transport, and is tested without a runtime. The
//! connection carries the actions out and brings the outcomes back. `docs/architecture.md` §3.9.
//!
//! - [`action`]: what it answers with, and the outcomes that come back.
//! - [`client`]: the client protocol in both forms, and its receivers without commands.
//! - [`stomp`]: the session of STOMP clients.
//! - [`handler`]: an embedder's `WebSocketHandler`.
//! - [`shared`]: the rules that hold for several of them, each written once.

pub mod action;
pub mod client;
pub mod handler;
pub mod shared;
pub mod stomp;
#[cfg(test)]
pub(crate) mod tests;

use std::{net::SocketAddr, sync::Arc, task::Context, time::Duration};

use actix_http::header::HeaderMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};

pub use self::action::{Action, Actions, ClientDescription, Outcome, SubscribeParams, Subscribed, Ticket};
use self::shared::enforcement::PermissionCheck;
pub use crate::format::message_headers::MessageKind;
use crate::{
    clock,
    disconnect::Disconnect,
    session_command::{SessionCommand, pending_connects::MissedCommands},
};

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

/// The request that opened a connection.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Path, without the query.
    pub path: String,
    /// Query, without the `?`; empty for none.
    pub query: String,
    /// Headers, names in lower case.
    pub headers: HeaderMap,
    /// Address of the peer.
    pub peer: Option<SocketAddr>,
    /// Our address.
    pub local: Option<SocketAddr>,
    /// True if it came over TLS.
    pub is_secure: bool,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<&'static str>,
}

impl Handshake {
    /// The first value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
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
    /// Send a ping now: an operator waits for the time until the pong.
    Ping(SessionAnswer<Duration>),
    /// An operator looks at the session.
    Describe(SessionAnswer<SessionDetail>),
    /// A reload found that the settings do not permit a subscription: end it if that is still so.
    CheckPermission(Box<PermissionCheck>),
}

/// The way back to an operator who asks one session. Dropped without an answer, they learn that none comes.
#[derive(Debug)]
pub struct SessionAnswer<T>(Arc<Mutex<Option<oneshot::Sender<T>>>>);

impl<T> SessionAnswer<T> {
    /// Gives the answer to `sender`.
    pub fn new(sender: oneshot::Sender<T>) -> Self {
        Self(Arc::new(Mutex::new(Some(sender))))
    }

    /// The answer; one after it is not heard.
    pub fn give(&self, answer: T) {
        if let Some(sender) = self.0.lock().take() {
            // Whoever asked may have gone meanwhile.
            let _ = sender.send(answer);
        }
    }
}

impl<T> Clone for SessionAnswer<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The part that a session alone knows of itself, for operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionDetail {
    /// The last command of its client.
    pub last_command: String,
    /// The end of its token, in milliseconds since the Unix epoch; absent where it does not end.
    pub expires_at: Option<u64>,
    /// Id of its token (`jti`).
    #[serde(default)]
    pub token_id: Option<String>,
    /// Time of the last command, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_command_at: Option<u64>,
    /// Time of the last pong, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub last_pong_at: Option<u64>,
    /// Milliseconds from a ping to its pong, of the last one.
    #[serde(default)]
    pub rtt_ms: Option<f64>,
    /// Bytes of the messages that its client sent.
    #[serde(default)]
    pub bytes_in: Option<u64>,
}

impl Signal {
    /// Signals of what came while the backend was asked who the session's user is. One that does not know all of it ends.
    pub fn of_missed(missed: MissedCommands) -> impl Iterator<Item = Self> {
        let end = missed.are_incomplete.then_some(Self::Disconnect(Disconnect::INTERNAL));
        end.into_iter().chain(missed.commands.into_iter().map(Self::Command))
    }

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

/// A protocol's side of one connection. All calls come from the connection's actor, one at a time. Methods that a session
/// has no use for, or hands on to one inside it, are written by `session_methods!`. None has a default: one that is added is
/// missing in every session, those around another one too, until it is listed for each.
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

/// Writes methods of `Session` by their names: `to session: pong` hands them on to the field `session`, `none: pong` does
/// nothing.
#[rustfmt::skip] // A table: one method a line.
macro_rules! session_methods {
    (to $inner:ident: $($method:ident)*) => { $($crate::session::session_methods!(@to $inner $method);)* };
    (none: $($method:ident)*) => { $($crate::session::session_methods!(@none $method);)* };

    (@to $inner:ident opened) => { fn opened(&mut self, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.opened(now, actions); } };
    (@to $inner:ident outcome) => { fn outcome(&mut self, ticket: $crate::session::Ticket, outcome: $crate::session::Outcome, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.outcome(ticket, outcome, now, actions); } };
    (@to $inner:ident pong) => { fn pong(&mut self, now: $crate::session::Now) { self.$inner.pong(now); } };
    (@to $inner:ident poll_outside) => { fn poll_outside(&mut self, task: &mut std::task::Context<'_>, actions: &mut $crate::session::Actions) { self.$inner.poll_outside(task, actions); } };
    (@to $inner:ident deadline) => { fn deadline(&self) -> Option<tokio::time::Instant> { self.$inner.deadline() } };
    (@to $inner:ident is_blocked) => { fn is_blocked(&self) -> bool { self.$inner.is_blocked() } };
    (@to $inner:ident has_connected) => { fn has_connected(&self) -> bool { self.$inner.has_connected() } };
    (@to $inner:ident has_more) => { fn has_more(&self) -> bool { self.$inner.has_more() } };
    (@to $inner:ident resume) => { fn resume(&mut self, now: $crate::session::Now, actions: &mut $crate::session::Actions) { self.$inner.resume(now, actions); } };
    (@to $inner:ident input_bytes) => { fn input_bytes(&self) -> usize { self.$inner.input_bytes() } };
    (@to $inner:ident principal) => { fn principal(&self) -> Option<std::sync::Arc<str>> { self.$inner.principal() } };
    (@to $inner:ident ending) => { fn ending(&mut self) { self.$inner.ending(); } };
    (@to $inner:ident has_left) => { fn has_left(&self) -> bool { self.$inner.has_left() } };
    (@to $inner:ident failed) => { fn failed(&mut self, error: &(dyn std::error::Error + 'static)) { self.$inner.failed(error); } };
    (@to $inner:ident closed) => { fn closed(&mut self, disconnect: &$crate::disconnect::Disconnect) { self.$inner.closed(disconnect); } };

    (@none pong) => { fn pong(&mut self, _now: $crate::session::Now) {} };
    (@none poll_outside) => { fn poll_outside(&mut self, _task: &mut std::task::Context<'_>, _actions: &mut $crate::session::Actions) {} };
    (@none is_blocked) => { fn is_blocked(&self) -> bool { false } };
    (@none has_connected) => { fn has_connected(&self) -> bool { true } };
    (@none has_more) => { fn has_more(&self) -> bool { false } };
    (@none resume) => { fn resume(&mut self, _now: $crate::session::Now, _actions: &mut $crate::session::Actions) {} };
    (@none input_bytes) => { fn input_bytes(&self) -> usize { 0 } };
    (@none principal) => { fn principal(&self) -> Option<std::sync::Arc<str>> { None } };
    (@none ending) => { fn ending(&mut self) {} };
    (@none has_left) => { fn has_left(&self) -> bool { false } };
    (@none failed) => { fn failed(&mut self, _error: &(dyn std::error::Error + 'static)) {} };
}

pub(crate) use session_methods;
