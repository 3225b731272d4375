//! Connection: the actor of a client on a socket of its own. WebSocket over HTTP and STOMP over TCP differ in their codec.
//!
//! It lives on the worker that accepted it, decodes input into its session, carries out what the session wants, and writes
//! what its outbox holds. One resident future does all reading and writing. An idle connection holds no buffer.
//! `docs/architecture.md` §3.3; `docs/protocols/websocket.md`.
//!
//! - [`state`]: the part that all actors with a session share: runs actions, keeps the deadline, bounds turns.
//! - [`codec`]: the wire protocols.
//! - [`socket`]: writes, flushes and reads.
//! - [`action_runner`]: carries out the actions of a session on its worker and its node.

pub mod action_runner;
pub(crate) mod codec;
pub(crate) mod socket;
pub(crate) mod state;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll, ready},
    time::Duration,
};

use actix::prelude::*;
use bytes::{Bytes, BytesMut};
use gorani_protocol::{client::plain, websocket::Input};
use tokio::time::Instant;

use self::{
    codec::{Codec, Event},
    socket::{Io, Socket},
    state::{
        ConnectionPhase, ConnectionState, OpenedSession,
        actor::{ConnectionActor, Turn},
    },
};
use crate::{
    disconnect::{Disconnect, Refused},
    hub::worker::Worker,
    node::Node,
    session::{Actions, Now, Signal},
};

/// Size of a worker's read buffer, shared by all its connections.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Buffers one connection may fill in a turn, before its neighbours have theirs.
const READS_PER_TURN: usize = 4;
/// Frames without a message, as pings and fragments, that are taken before the clock is looked at.
const EVENTS_PER_LOOK: usize = 64;
/// Bytes that wait in the outbox from which on pongs do not join them. Well below the smallest outbox, 4096 bytes.
const PONG_BACKLOG_BYTES: usize = 2048;

thread_local! {
    static READ_BUFFER: RefCell<ReadBuffer> = RefCell::new(ReadBuffer { bytes: vec![0; READ_BUFFER_BYTES], actions: Actions::default() });
}

/// The buffers that a worker's connections use in turn, so that an idle one holds nothing.
struct ReadBuffer {
    bytes: Vec<u8>,
    actions: Actions,
}

/// One connection.
pub(crate) struct Connection<T: Io, C: Codec> {
    socket: Socket<T>,
    codec: C,
    state: ConnectionState,
    /// Time of the peer to take a close message and to close.
    close_timeout: Duration,
    /// Bytes that were received and not decoded: they came with the handshake's packet, or the turn was over before them.
    unread: Box<[u8]>,
}

impl<T: Io, C: Codec> Connection<T, C> {
    /// Starts the actor of a connection on this worker. `early`: bytes that came with the handshake.
    pub(crate) fn start(
        node: &Arc<Node>,
        worker: &Rc<Worker>,
        opened: OpenedSession,
        io: T,
        codec: C,
        close_timeout: Duration,
        early: &[u8],
    ) {
        Self::create(|ctx| Self {
            socket: Socket::new(io),
            codec,
            state: ConnectionState::register(node, worker, opened, ctx),
            close_timeout,
            unread: early.into(),
        });
    }
}

impl<T: Io, C: Codec> Actor for Connection<T, C> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.open_session(ctx);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        self.state.deregister();
    }
}

impl<T: Io, C: Codec> Handler<Signal> for Connection<T, C> {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        let now = Now::read();
        if matches!(signal, Signal::Timer) {
            self.state.timer = None;
            if self.state.phase.is_overdue(now.instant) {
                self.state.phase.finish(Disconnect::ABNORMAL);
                ctx.stop();
            }
        }
        self.signal_session(signal, now, ctx);
        self.reschedule();
    }
}

impl<T: Io, C: Codec> ConnectionActor for Connection<T, C> {
    fn state(&mut self) -> &mut ConnectionState {
        &mut self.state
    }

    /// Ends the session: its subscriptions end now, the close frame is sent, and the peer has a bounded time for its own. With
    /// [`Disconnect::ABNORMAL`], a code that is never on the wire, nothing is sent: the connection is cut.
    fn end(&mut self, reason: Disconnect) {
        if reason.code == Disconnect::ABNORMAL.code {
            if self.state.phase.is_open() {
                self.state.leave_node(&reason);
            }
            self.state.phase.finish(reason);
            self.state.outbox.wake();
        } else if self.state.phase.is_open() {
            let frame = C::close_frame(self.state.framing, &reason);
            self.begin_closing(reason, frame);
        }
    }

    /// Only sessions of the client protocol without commands refuse: they get the reason in its objects.
    fn refuse(&mut self, refused: Refused) {
        let error = match &refused {
            Refused::Error(error) => Some((error.code, error.message, error.temporary)),
            Refused::Backend(error) => Some((error.code, &*error.message, error.temporary)),
            Refused::Disconnect(_) => None,
        };
        if let Some((code, message, temporary)) = error.filter(|_| self.state.phase.is_open()) {
            let mut object = BytesMut::new();
            plain::error(code, message, temporary, &mut object);
            self.state.send_text(&object);
        }
        let named =
            error.and_then(|(code, ..)| self.state.runner.node.policy.get().disconnect_of_connect(code));
        self.end(named.unwrap_or_else(|| refused.disconnect()));
    }

    fn ping(&mut self) {
        let ping = C::ping_frame();
        if !ping.is_empty() {
            let _ = self.state.outbox.push(ping);
        }
    }

    fn transport_deadline(&self) -> Option<Instant> {
        self.state.phase.close_deadline()
    }

    fn input_bytes(&mut self) -> usize {
        self.codec.unfinished_bytes() + self.unread.len() + self.state.session.input_bytes()
    }

    /// Writes, reads, and writes what reading brought.
    fn poll_turn(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> Poll<()> {
        READ_BUFFER.with_borrow_mut(|buffer| self.poll_with(buffer, ctx, task))
    }
}

impl<T: Io, C: Codec> Connection<T, C> {
    /// Starts to close an open connection. `frame` are its last bytes; empty where the protocol has none.
    fn begin_closing(&mut self, reason: Disconnect, frame: Bytes) {
        if !self.state.phase.is_open() {
            return;
        }
        self.state.leave_node(&reason);
        // Nothing follows a close frame.
        drop(self.codec.take_pong());
        let outbox = &self.state.outbox;
        let is_slow =
            outbox.overflow().is_some() || (!frame.is_empty() && outbox.push(frame.clone()).is_err());
        if is_slow && frame.is_empty() {
            // A client that does not read what waits is not waited for if nothing else goes to it.
            self.state.phase.finish(reason);
        } else {
            if is_slow {
                outbox.replace_with(frame);
            }
            let by = Instant::now() + self.close_timeout;
            self.state.phase.begin_closing(reason, by);
        }
        self.reschedule();
        self.state.outbox.wake();
    }

    fn poll_with(
        &mut self,
        buffer: &mut ReadBuffer,
        ctx: &mut Context<Self>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        if let Some(slow) = self.state.outbox.overflow() {
            self.end(slow);
            // A slow connection gives a large unfinished message back now, not after its close message.
            if self.codec.drop_unfinished() {
                self.reschedule();
            }
        } else if self.state.phase.is_open() {
            self.state.session.poll_outside(task, &mut buffer.actions);
            if !buffer.actions.is_empty() {
                self.run_actions(&mut buffer.actions, ctx);
            }
        }
        // Writing first: what waits is what the connection was woken for, nearly always.
        let mut written = self.write(task);
        let mut turn = Turn::default();
        self.read(buffer, &mut turn, ctx, task);
        turn.end(&self.state.runner.worker);
        if !self.state.outbox.is_empty() && written.is_ready() {
            written = self.write(task);
        }
        let peer_closed = match self.state.phase {
            ConnectionPhase::Open => return Poll::Pending,
            ConnectionPhase::Over(_) => return Poll::Ready(()),
            ConnectionPhase::Closing { peer_closed, .. } => peer_closed,
        };
        ready!(written);
        if !peer_closed && self.codec.awaits_close() {
            // Our close frame is out, and the peer has its time to answer.
            return Poll::Pending;
        }
        // The server shuts its half first. From that a peer that owes no answer learns that nothing more comes. What it
        // still sends is thrown away until its end, lest a reset take our last bytes from it.
        let shut = self.socket.poll_shutdown(task);
        if peer_closed { shut } else { Poll::Pending }
    }

    /// Writes what waits, then the answer to the newest ping. Ready when nothing waits.
    fn write(&mut self, task: &mut Task<'_>) -> Poll<()> {
        loop {
            let traffic = &self.state.runner.worker.traffic;
            let sent = |bytes| traffic.sent(bytes);
            if let Err(error) = ready!(self.socket.poll_write(&self.state.outbox, sent, task)) {
                self.state.session.failed(&error);
                self.state.phase.finish(Disconnect::WRITE_ERROR);
                return Poll::Ready(());
            }
            match self.codec.take_pong() {
                Some(pong) => _ = self.state.outbox.push(pong),
                None => return Poll::Ready(()),
            }
        }
    }

    /// Reads what there is, within the fair share of a turn.
    fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        turn: &mut Turn,
        ctx: &mut Context<Self>,
        task: &mut Task<'_>,
    ) {
        let mut is_full = false;
        for _ in 0..READS_PER_TURN {
            if self.state.phase.is_over() {
                return;
            }
            if !self.resume(turn, &mut buffer.actions, ctx) || turn.is_over_after(is_full) {
                break;
            }
            if self.state.phase.is_open() && self.state.session.is_blocked() {
                // Until an outcome lets the session take more; the peer's bytes wait in the kernel.
                return;
            }
            if !self.unread.is_empty() {
                let mut unread = std::mem::take(&mut self.unread);
                self.take_bytes(&mut unread, turn, &mut buffer.actions, ctx);
                continue;
            }
            let error = match self.socket.poll_read(&mut buffer.bytes, task) {
                Poll::Pending => return,
                Poll::Ready(Ok(0)) => None,
                Poll::Ready(Ok(count)) => {
                    is_full = count == buffer.bytes.len();
                    let (bytes, _) = buffer.bytes.split_at_mut(count);
                    self.take_bytes(bytes, turn, &mut buffer.actions, ctx);
                    continue;
                }
                Poll::Ready(Err(error)) => Some(error),
            };
            if let Some(error) = error {
                self.state.session.failed(&error);
            }
            return self.state.phase.finish(C::eof_reason(self.state.session.has_left()));
        }
        task.waker().wake_by_ref();
    }

    /// Decodes bytes into the session, until it can take no more or the turn is over; what is left is kept.
    fn take_bytes(
        &mut self,
        bytes: &mut [u8],
        turn: &mut Turn,
        actions: &mut Actions,
        ctx: &mut Context<Self>,
    ) {
        let is_decoded = match self.state.phase {
            ConnectionPhase::Open => true,
            // Input that still comes is only looked through for the peer's close message.
            ConnectionPhase::Closing { peer_closed, .. } => !peer_closed && self.codec.awaits_close(),
            ConnectionPhase::Over(_) => false,
        };
        if !is_decoded {
            return;
        }
        turn.begin();
        let now = Now::read();
        let mut input = Input::new(bytes);
        let mut messages = 0;
        let mut payload_bytes = 0;
        let mut events = 0_usize;
        loop {
            events += 1;
            if events.is_multiple_of(EVENTS_PER_LOOK) && turn.is_over() {
                self.unread = input.rest().into();
                break;
            }
            let incoming = match self.codec.decode(&mut input) {
                Ok(Some(Event::Message(incoming))) => incoming,
                Ok(Some(Event::Ping(pong))) => {
                    self.answer_ping(pong);
                    continue;
                }
                Ok(Some(Event::Pong)) => {
                    self.state.session.pong(now);
                    continue;
                }
                Ok(Some(Event::Close(reason, answer))) => {
                    self.begin_closing(reason, answer);
                    self.state.phase.note_peer_closed();
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    // The stream cannot be read on: what still comes is thrown away until the peer ends or time is up.
                    self.state.session.failed(&error);
                    self.end(C::error_reason(&error));
                    break;
                }
            };
            // Input behind an overflow is only looked through for the peer's close message; the next turn ends the session.
            if !self.state.phase.is_open() || self.state.outbox.overflow().is_some() {
                continue;
            }
            messages += 1;
            payload_bytes += incoming.len();
            self.state.session.message(incoming, now, actions);
            self.run_actions(actions, ctx);
            let is_done = self.resume(turn, actions, ctx);
            if input.is_empty() {
                continue;
            }
            let is_blocked = self.state.phase.is_open() && self.state.session.is_blocked();
            if !is_done || is_blocked || turn.is_over() {
                self.unread = input.rest().into();
                break;
            }
        }
        self.state.runner.worker.traffic.received(messages, payload_bytes);
        self.reschedule();
    }

    /// A pong goes between the messages, as clients expect it. Behind a backlog only the newest of many pings
    /// is answered, once the backlog is written: a peer that pings and does not read costs no more than that.
    fn answer_ping(&mut self, pong: Bytes) {
        if !self.state.phase.is_open() {
            // Nothing follows a close frame.
            return;
        }
        let is_first = self.codec.take_pong().is_none();
        if is_first && self.state.outbox.len_bytes() < PONG_BACKLOG_BYTES {
            let _ = self.state.outbox.push(pong);
        } else {
            self.codec.hold_pong(pong);
        }
    }
}
