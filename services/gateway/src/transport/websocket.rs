//! A WebSocket connection: an actor that owns its raw socket.
//!
//! It lives on the worker that accepted it, decodes frames into its session, carries out what the session wants, and
//! writes what its outbox holds. One resident future does all reading and writing ([`drive`]). An idle connection holds
//! no buffer. Design §3; `specs/websocket.md`.
//!
//! - [`upgrade`]: from the HTTP request to the actor. - [`drive`]: reading and writing. - [`farewell`]: the ways to end.

mod drive;
mod farewell;
pub mod upgrade;

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use actix::prelude::*;
use bytes::{Bytes, BytesMut};
use gorani_protocol::websocket::{self, Decoder};
use tokio::io::{AsyncRead, AsyncWrite};

use self::{drive::Drive, farewell::Phase};
use crate::{
    disconnect::Disconnect,
    hub::fanout::Framing,
    metrics::TransportLabel,
    node::Place,
    outbox::Outbox,
    session::{Actions, MessageKind, Now, Outcome, Session, Signal, Ticket},
    transport::errand::{Errands, Step},
};

/// What a connection can live on: a TCP socket, or TLS on one.
pub trait Io: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Io for T {}

/// Label of the counters.
const TRANSPORT: TransportLabel = TransportLabel { transport: "websocket" };

/// One WebSocket connection.
pub struct Connection<T: Io> {
    io: T,
    /// Bytes that came with the handshake's packet.
    early: Bytes,
    decoder: Decoder,
    session: Box<dyn Session>,
    outbox: Outbox,
    framing: Framing,
    errands: Errands,
    /// Where the session's deadline stands among the worker's timers.
    timer: Option<u64>,
    phase: Phase,
    /// Payload of the newest ping that is not answered yet.
    pong: Option<Bytes>,
    /// The peer broke the framing: what still comes from it is thrown away.
    unreadable: bool,
    /// Whether something was written since the last flush of a buffering stream (TLS).
    needs_flush: bool,
    peer: Option<SocketAddr>,
    protocol: &'static str,
    opened_at: Instant,
    _place: Place,
}

impl<T: Io> Actor for Connection<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let metrics = &self.errands.node.metrics;
        metrics.connections.get_or_create(&TRANSPORT).inc();
        metrics.connections_opened.get_or_create(&TRANSPORT).inc();
        tracing::info!(
            transport = "websocket",
            protocol = self.protocol,
            peer = self.peer.map(tracing::field::display),
            "connection opened"
        );
        let mut actions = Actions::default();
        self.session.opened(Now::read(), &mut actions);
        self.carry_out(&mut actions, ctx);
        self.reschedule();
        ctx.spawn(Drive);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.errands.worker.deregister(self.errands.key, self.timer);
        let reason = self.phase.reason();
        self.session.closed(reason);
        let metrics = &self.errands.node.metrics;
        metrics.connections.get_or_create(&TRANSPORT).dec();
        metrics.count_disconnect(reason.code);
        tracing::info!(
            transport = "websocket",
            protocol = self.protocol,
            peer = self.peer.map(tracing::field::display),
            code = reason.code,
            reason = %reason.reason,
            seconds = self.opened_at.elapsed().as_secs(),
            "connection closed"
        );
    }
}

impl<T: Io> Handler<Signal> for Connection<T> {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        let now = Now::read();
        if matches!(signal, Signal::Timer) {
            self.timer = None;
            self.check_farewell(now, ctx);
        }
        if self.phase.is_open() {
            let mut actions = Actions::default();
            self.session.signal(signal, now, &mut actions);
            self.carry_out(&mut actions, ctx);
        }
        self.reschedule();
    }
}

impl<T: Io> Connection<T> {
    /// Sends what the session wrote and carries out what it wants, until it wants nothing more.
    fn carry_out(&mut self, actions: &mut Actions, ctx: &mut Context<Self>) {
        let mut outcomes: VecDeque<(Ticket, Outcome)> = VecDeque::new();
        loop {
            self.send_messages(actions);
            for action in actions.take_list() {
                match self.errands.begin(action) {
                    Step::Done => {}
                    Step::Ping => self.send_ping(),
                    Step::Close(disconnect) => self.end(disconnect),
                    Step::Errand(ticket, mut errand) => {
                        // Mostly the outcome is there at once; only what is not becomes a task of the actor.
                        let mut task = std::task::Context::from_waker(std::task::Waker::noop());
                        match errand.as_mut().poll(&mut task) {
                            std::task::Poll::Ready(outcome) => outcomes.push_back((ticket, outcome)),
                            std::task::Poll::Pending => self.wait_for(ticket, errand, ctx),
                        }
                    }
                }
            }
            if !self.phase.is_open() {
                return;
            }
            match outcomes.pop_front() {
                Some((ticket, outcome)) => self.session.outcome(ticket, outcome, Now::read(), actions),
                None => return,
            }
        }
    }

    fn wait_for(
        &mut self,
        ticket: Ticket,
        errand: crate::transport::errand::Errand,
        ctx: &mut Context<Self>,
    ) {
        let done = errand.into_actor(self).map(move |outcome, me, ctx| {
            if !me.phase.is_open() {
                return;
            }
            let mut actions = Actions::default();
            me.session.outcome(ticket, outcome, Now::read(), &mut actions);
            me.carry_out(&mut actions, ctx);
            me.reschedule();
            // Reading may have stopped because the session could take no more.
            me.outbox.wake();
        });
        ctx.spawn(done);
    }

    fn send_messages(&mut self, actions: &mut Actions) {
        if actions.is_empty() || !self.phase.is_open() {
            return;
        }
        let mut out = BytesMut::new();
        let mut hub = self.errands.worker.hub_mut();
        let encoder = hub.encoder_mut();
        let framing = self.framing;
        actions.drain_messages(|kind, message| match kind {
            MessageKind::Text => encoder.frame_text(framing, message, &mut out),
            MessageKind::Binary => encoder.frame_binary(framing, message, &mut out),
        });
        drop(hub);
        // An overflow is seen by the driver, which ends the connection as slow.
        let _ = self.outbox.push_reply(out.freeze());
    }

    fn send_ping(&mut self) {
        let mut out = BytesMut::new();
        websocket::encode::ping(b"", &mut out);
        let _ = self.outbox.push(out.freeze());
    }

    /// Keeps the worker's timer at the session's deadline, or at the end of the farewell.
    fn reschedule(&mut self) {
        let deadline = match self.phase.deadline() {
            Some(deadline) => Some(deadline),
            None => self.session.deadline(),
        };
        self.timer = self.errands.worker.set_deadline(self.errands.key, self.timer, deadline);
    }
}

/// The close frame for a reason.
fn close_frame(disconnect: &Disconnect) -> Bytes {
    let mut out = BytesMut::new();
    websocket::encode::close(disconnect.code, &disconnect.reason, &mut out);
    out.freeze()
}
