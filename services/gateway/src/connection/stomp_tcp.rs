//! STOMP over plain TCP, for backends and brokers' relays: an actor that owns its socket, and nothing between the socket and
//! the session. `docs/protocols/stomp.md` §11.4.
//!
//! As the WebSocket connection ([`crate::connection::websocket`]), without its frames: one resident future writes what the
//! outbox holds and reads into the worker's buffer; an idle connection holds none.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll, ready},
};

use actix::{fut::ActorFuture, prelude::*};
use tokio::{io::ReadBuf, time::Instant};

use crate::{
    connection::{
        state::{ConnectionActor, ConnectionState, Io, OpenedSession},
        turn::Turn,
    },
    disconnect::{Disconnect, Refused},
    hub::worker::Worker,
    node::Node,
    session::{Actions, Incoming, Now, Signal},
};

/// Size of a worker's read buffer, shared by all its connections.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Buffers one connection may fill in a turn, before its neighbours have theirs.
const READS_PER_TURN: usize = 4;

thread_local! {
    static SCRATCH: RefCell<StompReadBuffer> = RefCell::new(StompReadBuffer { bytes: vec![0; SCRATCH_BYTES], actions: Actions::default() });
}

/// What a worker's connections use in turn.
struct StompReadBuffer {
    bytes: Vec<u8>,
    actions: Actions,
}

/// How far a connection has come.
enum StompPhase {
    /// Frames flow.
    Open,
    /// What waits is written, until the peer closes or the time is over.
    Closing(Disconnect, Instant),
    /// Nothing more to do.
    Over(Disconnect),
}

/// A connection that is dropped without a close message, as when its thread ends.
static GONE: Disconnect = Disconnect::ABNORMAL;

/// One connection.
pub struct StompConnection<T: Io> {
    io: T,
    state: ConnectionState,
    phase: StompPhase,
    /// Whether something was written since the last flush of a buffering stream (TLS).
    needs_flush: bool,
}

impl<T: Io> StompConnection<T> {
    /// Starts the actor of an accepted connection on this worker.
    pub(crate) fn start(node: &Arc<Node>, worker: &Rc<Worker>, opened: OpenedSession, io: T) {
        Self::create(|ctx| Self {
            io,
            state: ConnectionState::register(node, worker, opened, ctx),
            phase: StompPhase::Open,
            needs_flush: false,
        });
    }
}

impl<T: Io> Actor for StompConnection<T> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.state.count_opened();
        let mut actions = Actions::default();
        self.state.session.opened(Now::read(), &mut actions);
        self.run_actions(&mut actions, ctx);
        self.reschedule();
        ctx.spawn(StompTask);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        let reason = match &self.phase {
            StompPhase::Open => &GONE,
            StompPhase::Closing(reason, _) | StompPhase::Over(reason) => reason,
        };
        self.state.deregister(reason);
    }
}

impl<T: Io> Handler<Signal> for StompConnection<T> {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        let now = Now::read();
        if matches!(signal, Signal::Timer) {
            self.state.timer = None;
            if self.transport_deadline().is_some_and(|by| by <= now.instant) {
                self.abort(Disconnect::ABNORMAL);
                return ctx.stop();
            }
        }
        if self.is_open() {
            let mut actions = Actions::default();
            self.state.session.signal(signal, now, &mut actions);
            self.run_actions(&mut actions, ctx);
        }
        self.reschedule();
    }
}

impl<T: Io> ConnectionActor for StompConnection<T> {
    fn state(&mut self) -> &mut ConnectionState {
        &mut self.state
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, StompPhase::Open)
    }

    fn end(&mut self, reason: Disconnect) {
        if !self.is_open() {
            return;
        }
        self.state.session.ending();
        self.state.runner.worker.leave_all(self.state.runner.key);
        let by = Instant::now() + self.state.runner.node.settings.websocket.close_timeout;
        // A client that does not read what waits is not waited for.
        let is_slow = self.state.outbox.overflow().is_some();
        self.phase = if is_slow { StompPhase::Over(reason) } else { StompPhase::Closing(reason, by) };
        self.reschedule();
        self.state.outbox.wake();
    }

    fn refuse(&mut self, refused: Refused) {
        self.end(refused.disconnect());
    }

    /// TCP has none; the session has its heart-beats.
    fn ping(&mut self) {}

    fn transport_deadline(&self) -> Option<Instant> {
        match self.phase {
            StompPhase::Closing(_, by) => Some(by),
            StompPhase::Open | StompPhase::Over(_) => None,
        }
    }
}

/// The resident future: writes, reads, and writes what reading brought.
struct StompTask;

impl<T: Io> ActorFuture<StompConnection<T>> for StompTask {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        me: &mut StompConnection<T>,
        ctx: &mut Context<StompConnection<T>>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        me.state.outbox.register(task);
        let done = SCRATCH.with_borrow_mut(|scratch| me.turn(scratch, ctx, task));
        if done.is_ready() {
            ctx.stop();
        }
        done
    }
}

impl<T: Io> StompConnection<T> {
    /// The connection is gone: nothing can be sent any more.
    fn abort(&mut self, reason: Disconnect) {
        self.phase = match std::mem::replace(&mut self.phase, StompPhase::Open) {
            StompPhase::Open => StompPhase::Over(reason),
            StompPhase::Closing(reason, _) | StompPhase::Over(reason) => StompPhase::Over(reason),
        };
    }

    /// One turn. Ready when the connection is over.
    fn turn(
        &mut self,
        scratch: &mut StompReadBuffer,
        ctx: &mut Context<Self>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        if self.is_open()
            && let Some(slow) = self.state.outbox.overflow()
        {
            self.end(slow);
        }
        let mut written = self.write(task);
        let mut turn = Turn::default();
        let ended = self.read(scratch, &mut turn, ctx, task);
        turn.end(&self.state.runner.worker);
        if !self.state.outbox.is_empty() && written.is_ready() {
            written = self.write(task);
        }
        match self.phase {
            StompPhase::Over(_) => Poll::Ready(()),
            StompPhase::Open => Poll::Pending,
            StompPhase::Closing(..) => {
                ready!(written);
                // The last frame is out. Closing the own half first lets the peer read it to its end.
                let _ = Pin::new(&mut self.io).poll_shutdown(task);
                if ended { Poll::Ready(()) } else { Poll::Pending }
            }
        }
    }

    /// Writes what waits. Ready when nothing does.
    fn write(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let written = ready!(self.state.write(&mut self.io, &mut self.needs_flush, task));
        if written.is_err() {
            self.abort(Disconnect::WRITE_ERROR);
        }
        Poll::Ready(())
    }

    /// Reads what there is, within the fair share of a turn. True when nothing more comes.
    fn read(
        &mut self,
        scratch: &mut StompReadBuffer,
        turn: &mut Turn,
        ctx: &mut Context<Self>,
        task: &mut Task<'_>,
    ) -> bool {
        let mut is_full = false;
        for _ in 0..READS_PER_TURN {
            if matches!(self.phase, StompPhase::Over(_)) {
                return true;
            }
            if !self.resume(turn, &mut scratch.actions, ctx) || turn.is_over_after(is_full) {
                break;
            }
            if self.is_open() && self.state.session.is_blocked() {
                // Until an outcome lets the session take more; the peer's bytes wait in the kernel.
                return false;
            }
            let mut buffer = ReadBuf::new(&mut scratch.bytes);
            match Pin::new(&mut self.io).poll_read(task, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let count = buffer.filled().len();
                    is_full = buffer.remaining() == 0;
                    let (bytes, _) = scratch.bytes.split_at_mut(count);
                    turn.begin();
                    self.take_bytes(bytes, &mut scratch.actions, ctx);
                }
                Poll::Ready(result) => {
                    if let Err(error) = result {
                        self.state.session.failed(&error);
                    }
                    // A client that closes after the receipt of its DISCONNECT ends as it should.
                    self.abort(if self.state.session.has_left() {
                        Disconnect::NORMAL
                    } else {
                        Disconnect::ABNORMAL
                    });
                    return true;
                }
            }
        }
        task.waker().wake_by_ref();
        false
    }

    fn take_bytes(&mut self, bytes: &[u8], actions: &mut Actions, ctx: &mut Context<Self>) {
        if !self.may_act() {
            return;
        }
        self.state.session.message(Incoming::Binary(bytes), Now::read(), actions);
        self.run_actions(actions, ctx);
        self.state.runner.worker.traffic.received(1, bytes.len());
        self.reschedule();
    }
}
