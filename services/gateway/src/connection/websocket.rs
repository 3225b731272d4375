//! A WebSocket connection: an actor that owns its raw socket.
//!
//! It lives on the worker that accepted it, decodes frames into its session, carries out what the session wants, and
//! writes what its outbox holds. One resident future does all reading and writing ([`drive`]). An idle connection holds
//! no buffer. `docs/architecture.md` §3.3; `docs/protocols/websocket.md`.
//!
//! - [`upgrade`]: from the HTTP request to the actor. - [`drive`]: reading and writing. - [`close message`]: the ways to end.

mod close;
mod task;

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;
use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    client::bare,
    sockjs,
    websocket::{self, Opcode, WebSocketDecoder},
};
use tokio::time::Instant;

use self::{close::ConnectionPhase, task::WebSocketTask};
use crate::{
    connection::state::{ConnectionActor, ConnectionState, Io, OpenedSession},
    disconnect::{Disconnect, Refused},
    format::encoding::Framing,
    hub::worker::Worker,
    node::Node,
    session::{Actions, Now, Signal},
};

/// One WebSocket connection.
pub struct WebSocketConnection<T: Io> {
    io: T,
    /// Bytes that were received and not decoded: they came with the handshake's packet, or the turn was over before them.
    unread: Bytes,
    decoder: WebSocketDecoder,
    state: ConnectionState,
    phase: ConnectionPhase,
    /// Payload of the newest ping that is not answered yet.
    pong: Option<Bytes>,
    /// The peer broke the framing: what still comes from it is thrown away.
    unreadable: bool,
    /// Whether something was written since the last flush of a buffering stream (TLS).
    needs_flush: bool,
}

impl<T: Io> WebSocketConnection<T> {
    /// Starts the actor of an upgraded connection on this worker. `early`: bytes that came with the handshake.
    pub(crate) fn start(
        node: &Arc<Node>,
        worker: &Rc<Worker>,
        opened: OpenedSession,
        io: T,
        decoder: WebSocketDecoder,
        early: &[u8],
    ) {
        Self::create(|ctx| Self {
            io,
            // An empty rest would still hold the whole read buffer of the HTTP connection.
            unread: Bytes::copy_from_slice(early),
            decoder,
            state: ConnectionState::register(node, worker, opened, ctx),
            phase: ConnectionPhase::Open,
            pong: None,
            unreadable: false,
            needs_flush: false,
        });
    }
}

impl<T: Io> Actor for WebSocketConnection<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.state.count_opened();
        let mut actions = Actions::default();
        self.state.session.opened(Now::read(), &mut actions);
        self.run_actions(&mut actions, ctx);
        self.reschedule();
        ctx.spawn(WebSocketTask);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.state.deregister(self.phase.reason());
    }
}

impl<T: Io> Handler<Signal> for WebSocketConnection<T> {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        let now = Now::read();
        if matches!(signal, Signal::Timer) {
            self.state.timer = None;
            self.check_close(now, ctx);
        }
        if self.phase.is_open() {
            let mut actions = Actions::default();
            self.state.session.signal(signal, now, &mut actions);
            self.run_actions(&mut actions, ctx);
        }
        self.reschedule();
    }
}

impl<T: Io> ConnectionActor for WebSocketConnection<T> {
    fn state(&mut self) -> &mut ConnectionState {
        &mut self.state
    }

    fn is_open(&self) -> bool {
        self.phase.is_open()
    }

    fn end(&mut self, reason: Disconnect) {
        self.close(reason);
    }

    fn input_bytes(&mut self) -> usize {
        self.decoder.held_bytes() + self.unread.len() + self.state.session.input_bytes()
    }

    fn ping(&mut self) {
        let mut out = BytesMut::new();
        websocket::encode::ping(b"", &mut out);
        let _ = self.state.outbox.push(out.freeze());
    }

    fn refuse(&mut self, refused: Refused) {
        if let Refused::Error(error) = &refused {
            let mut object = BytesMut::new();
            bare::error(error.code, error.message, error.temporary, &mut object);
            self.state.send_text(&object);
        }
        self.close(refused.disconnect());
    }

    fn transport_deadline(&self) -> Option<Instant> {
        self.phase.deadline()
    }
}

/// One text message of the transport's own, in a frame.
pub(crate) fn text_frame(text: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    websocket::encode::frame(Opcode::Text, text, false, &mut out);
    out.freeze()
}

/// The last words for a reason: the close frame, and where SockJS's frames are spoken, theirs before it.
fn close_frame(framing: Framing, disconnect: &Disconnect) -> Bytes {
    let mut out = BytesMut::new();
    if matches!(framing, Framing::SockJsWebSocket { .. }) {
        let close = sockjs::frame::close(disconnect.code, &disconnect.reason);
        websocket::encode::frame(Opcode::Text, &close, false, &mut out);
    }
    websocket::encode::close(disconnect.code, &disconnect.reason, &mut out);
    out.freeze()
}
