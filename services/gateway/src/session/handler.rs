//! An embedder's view of a connection: [`WebSocketHandler`], one trait to write, and [`SessionHandle`], to speak with
//! the client from anywhere.
//!
//! The transport calls a [`HandlerSession`] as it calls every session; that calls the handler, contains what fails in
//! it, and turns what the handler sent into actions. It does no IO and knows no transport, so a handler serves every
//! transport unchanged. `docs/protocols/websocket.md` §3, §14.
//!
//! - [`adapter`]: from the trait to [`crate::session::Session`].
//! - [`handle`]: the session as the embedder holds it, and a guard's decision to admit it.
//! - `outgoing_queue`: what waits between the two.

pub mod adapter;
pub mod handle;
mod outgoing_queue;
#[cfg(test)]
mod tests;

use std::error::Error;

pub use self::{
    adapter::HandlerSession,
    handle::{Admission, Attributes, Refusal, SessionHandle},
    outgoing_queue::SendError,
};
use crate::{
    disconnect::Disconnect,
    session::{Handshake, MessageKind},
};

/// Why a callback failed: any error, or a text (`Err("no such room".into())`). It is logged, and the client sees only
/// code 1011.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The result of a callback.
pub type HandlerResult = Result<(), HandlerError>;

/// A part of a message, for handlers that want partial messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The kind of the message. The parts of a text are cut between characters: each is valid UTF-8.
    pub kind: MessageKind,
    /// The next bytes; empty only in the last part.
    pub data: &'a [u8],
    /// True if the message ends with this part.
    pub last: bool,
}

/// An application's handler of a connection: one value per connection, made when the client is admitted.
///
/// ```
/// use gorani::{Disconnect, HandlerResult, SessionHandle, WebSocketHandler};
///
/// /// Greets, answers in capitals, and leaves on request.
/// #[derive(Default)]
/// struct Shout {
///     lines: u32,
/// }
///
/// impl WebSocketHandler for Shout {
///     fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
///         session.send_text("hello")?;
///         Ok(())
///     }
///
///     fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
///         self.lines += 1;
///         match text {
///             "bye" => session.close(1000, "bye")?,
///             text => session.send_text(text.to_uppercase())?,
///         }
///         Ok(())
///     }
///
///     fn closed(&mut self, _session: &SessionHandle, status: &Disconnect) {
///         println!("{} lines, then {} {}", self.lines, status.code, status.reason);
///     }
/// }
///
/// let node = gorani::Gorani::new(gorani::settings::Settings::default()).handler("/shout", Shout::default);
/// # drop(node);
/// ```
///
/// # Order
/// First [`handshake`](Self::handshake), then the factory makes the handler, then [`opened`](Self::opened), then the
/// messages in the order in which the client sent them, at most one [`error`](Self::error), and at the very end
/// [`closed`](Self::closed): exactly once if `opened` was called, also if that failed, and never otherwise.
///
/// # Threads and blocking
/// All callbacks of a connection come one after the other, on the worker thread that accepted it, so the handler needs
/// no locks and need not be `Send`. That thread serves thousands of other connections: a callback must not block.
/// Start longer work elsewhere with a clone of the [`SessionHandle`], and send the result through it.
///
/// # Failure
/// An `Err` or a panic in a callback ends this one session with 1011, and is logged; what the callback had sent before
/// still goes out. No callback but `closed` follows. Other sessions are not affected. A panic in `closed`, or
/// when the handler is dropped, is logged and ends there.
///
/// # Transports
/// Registered with `.sockjs(…)`, the same handler serves clients that fall back to HTTP. It sees the path that it was
/// registered on, and text; what it sends as binary reaches such a client as base64. Its session outlives the requests that
/// carry it: a client that does not come back within `sockjs.disconnect_delay` is lost (1006).
///
/// # Heartbeat
/// The client is pinged each `client.ping_interval` with WebSocket's own pings, which browsers answer by themselves. One
/// that gives no sign of life for `client.pong_timeout` is closed with 3012.
pub trait WebSocketHandler: 'static {
    /// Subprotocols that the handler speaks, the preferred first. A client that offers only others is refused with 400
    /// (or admitted without one, by `websocket.subprotocols`); one that offers none is admitted.
    fn subprotocols() -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }

    /// Origins that browsers may connect from: `https://app.example.com`, globs such as `https://*.example.com`, `*` for
    /// any. Empty, the default: pages of the same host and port only. Clients that are no browsers send none and are
    /// admitted. The registration can say otherwise.
    fn origins() -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }

    /// True if messages are handed on in the parts in which they arrive: to [`partial`](Self::partial).
    fn wants_partial_messages() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// Admits a client, or refuses it with an HTTP status and a sentence. It may give the session a principal and
    /// attributes. Called on the worker's thread when protocol, origin and subprotocol are agreed on; a panic
    /// refuses with 500. For a guard with a state of its own see the registration's `guarded`.
    fn handshake(_request: &Handshake, _admission: &mut Admission) -> Result<(), Refusal>
    where
        Self: Sized,
    {
        Ok(())
    }

    /// The connection is open. What is sent here is the first that the client receives.
    fn opened(&mut self, _session: &SessionHandle) -> HandlerResult {
        Ok(())
    }

    /// A text message. Without this method, text ends the session with 1003.
    fn text(&mut self, session: &SessionHandle, _text: &str) -> HandlerResult {
        session.close(NOT_ACCEPTABLE, "text is not accepted here")?;
        Ok(())
    }

    /// A binary message. Without this method, binary data ends the session with 1003.
    fn binary(&mut self, session: &SessionHandle, _data: &[u8]) -> HandlerResult {
        session.close(NOT_ACCEPTABLE, "binary is not accepted here")?;
        Ok(())
    }

    /// A part of a message that did not arrive in one piece; only if
    /// [`wants_partial_messages`](Self::wants_partial_messages). Messages that did arrive in one piece, and compressed
    /// ones, still come whole. The limit of a message's size holds for its parts together.
    fn partial(&mut self, session: &SessionHandle, _part: Part<'_>) -> HandlerResult {
        session.close(NOT_ACCEPTABLE, "partial messages are not accepted here")?;
        Ok(())
    }

    /// The transport failed: reading, writing, or what the client sent breaks the protocol. The session is over, sending is
    /// an error, and [`closed`](Self::closed) follows.
    fn error(&mut self, _session: &SessionHandle, _error: &(dyn Error + 'static)) {}

    /// The session is over, exactly once and as the last call. The status is the peer's if it closed (1005: without a
    /// code), ours if we did, 1006 if the connection was lost.
    fn closed(&mut self, _session: &SessionHandle, _status: &Disconnect) {}
}

/// WebSocket: data of a kind that is not accepted.
const NOT_ACCEPTABLE: u16 = 1003;
