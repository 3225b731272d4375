//! The one resident future of a connection: writes what the outbox holds, then reads through the worker's buffer.
//! actix polls it after the mailbox, so all that a turn brought leaves in one write. `docs/architecture.md` §3.3.

use std::{
    cell::RefCell,
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use actix::{fut::ActorFuture, prelude::*};
use bytes::{Bytes, BytesMut};
use gorani_protocol::websocket::{self, Input, WebSocketEvent, WebSocketMessageKind as FrameKind};
use tokio::io::ReadBuf;

use super::{Io, WebSocketConnection, close::ConnectionPhase};
use crate::{
    disconnect::Disconnect,
    session::{Actions, Incoming, Now},
    transport::{connection_state::ConnectionActor, turn::Turn},
};

/// Size of a worker's read buffer, shared by all its connections.
const SCRATCH_BYTES: usize = 64 * 1024;
/// Buffers one connection may fill in a turn, before its neighbours have theirs.
const READS_PER_TURN: usize = 4;
/// Frames without a message, as pings and fragments, that are taken before the clock is looked at.
const EVENTS_PER_LOOK: usize = 64;
/// Bytes that wait in the outbox from which on pongs do not join them. Well below the smallest outbox, 4096 bytes.
const PONG_BACKLOG_BYTES: usize = 2048;

thread_local! {
    static SCRATCH: RefCell<ReadBuffer> = RefCell::new(ReadBuffer { bytes: vec![0; SCRATCH_BYTES], actions: Actions::default() });
}

/// What a worker's connections use in turn, so that an idle one holds nothing.
struct ReadBuffer {
    bytes: Vec<u8>,
    actions: Actions,
}

/// The resident future.
pub(super) struct WebSocketTask;

impl<T: Io> ActorFuture<WebSocketConnection<T>> for WebSocketTask {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        me: &mut WebSocketConnection<T>,
        ctx: &mut Context<WebSocketConnection<T>>,
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

impl<T: Io> WebSocketConnection<T> {
    /// One turn: write, read, and write what reading brought. Ready when the connection is over.
    fn turn(&mut self, scratch: &mut ReadBuffer, ctx: &mut Context<Self>, task: &mut Task<'_>) -> Poll<()> {
        if self.phase.is_open() {
            if let Some(slow) = self.state.outbox.overflow() {
                self.close(slow);
                self.forget_unfinished();
            } else {
                self.state.session.poll_outside(task, &mut scratch.actions);
                self.run_actions(&mut scratch.actions, ctx);
            }
        } else if self.state.outbox.overflow().is_some() {
            self.forget_unfinished();
        }
        // Writing first: what waits is what the connection was woken for, nearly always.
        let mut written = self.write(task);
        let mut turn = Turn::default();
        let read = self.read(scratch, &mut turn, ctx, task);
        turn.end(&self.state.runner.worker);
        if !self.state.outbox.is_empty() && written.is_ready() {
            written = self.write(task);
        }
        if matches!(self.phase, ConnectionPhase::Over(_)) {
            return Poll::Ready(());
        }
        let ConnectionPhase::Closing { peer_closed, .. } = self.phase else { return Poll::Pending };
        ready!(written);
        let is_answered = peer_closed || read == ReadOutcome::Ended;
        if !is_answered && !self.unreadable {
            // Our close frame is out, and the peer has its time to answer (RFC 6455 7.1.1).
            return Poll::Pending;
        }
        // The server goes first. A peer whose frames cannot be read may answer or not: it is told at once that nothing more comes,
        // and what it still sends is thrown away until its end, lest a reset take our close frame from it.
        let shut = Pin::new(&mut self.io).poll_shutdown(task);
        if !is_answered {
            return Poll::Pending;
        }
        // It may fail: then there is nobody to be told.
        shut.map(drop)
    }

    /// Writes what waits, then the answer to the newest ping. Ready when nothing waits.
    fn write(&mut self, task: &mut Task<'_>) -> Poll<()> {
        loop {
            if ready!(self.state.write(&mut self.io, &mut self.needs_flush, task)).is_err() {
                self.abort(Disconnect::WRITE_ERROR);
                return Poll::Ready(());
            }
            match self.pong.take() {
                Some(pong) => _ = self.state.outbox.push(pong),
                None => return Poll::Ready(()),
            }
        }
    }

    /// Reads what there is, within the fair share of a turn.
    fn read(
        &mut self,
        scratch: &mut ReadBuffer,
        turn: &mut Turn,
        ctx: &mut Context<Self>,
        task: &mut Task<'_>,
    ) -> ReadOutcome {
        let mut is_full = false;
        for _ in 0..READS_PER_TURN {
            if matches!(self.phase, ConnectionPhase::Over(_)) {
                return ReadOutcome::Ended;
            }
            if !self.resume(turn, &mut scratch.actions, ctx) || turn.is_over_after(is_full) {
                break;
            }
            if self.phase.is_open() && self.state.session.is_blocked() {
                // Until an outcome lets the session take more; the peer's bytes wait in the kernel.
                return ReadOutcome::Waits;
            }
            if !self.unread.is_empty() {
                let mut unread = BytesMut::from(&*std::mem::take(&mut self.unread));
                self.take_bytes(&mut unread, turn, &mut scratch.actions, ctx);
                continue;
            }
            let mut buffer = ReadBuf::new(&mut scratch.bytes);
            match Pin::new(&mut self.io).poll_read(task, &mut buffer) {
                Poll::Pending => return ReadOutcome::Waits,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let count = buffer.filled().len();
                    is_full = buffer.remaining() == 0;
                    let (bytes, _) = scratch.bytes.split_at_mut(count);
                    self.take_bytes(bytes, turn, &mut scratch.actions, ctx);
                }
                Poll::Ready(Ok(())) => {
                    self.abort(Disconnect::ABNORMAL);
                    return ReadOutcome::Ended;
                }
                Poll::Ready(Err(error)) => {
                    self.state.session.failed(&error);
                    self.abort(Disconnect::ABNORMAL);
                    return ReadOutcome::Ended;
                }
            }
        }
        task.waker().wake_by_ref();
        ReadOutcome::Waits
    }

    /// Decodes bytes into the session, until it can take no more or the turn is over; what is left is kept.
    fn take_bytes(
        &mut self,
        bytes: &mut [u8],
        turn: &mut Turn,
        actions: &mut Actions,
        ctx: &mut Context<Self>,
    ) {
        if self.unreadable
            || matches!(
                self.phase,
                ConnectionPhase::Closing { peer_closed: true, .. } | ConnectionPhase::Over(_)
            )
        {
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
                self.unread = Bytes::copy_from_slice(input.rest());
                break;
            }
            let event = match self.decoder.next(&mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    // The stream cannot be read on: what still comes is thrown away until the peer ends or time is up.
                    self.state.session.failed(&error);
                    self.close(Disconnect::new(error.close_code(), error.to_string()));
                    self.unreadable = true;
                    break;
                }
            };
            let incoming = match event {
                WebSocketEvent::Text(text) => Incoming::Text(text),
                WebSocketEvent::Binary(data) => Incoming::Binary(data),
                WebSocketEvent::Fragment { kind, data, last } => {
                    Incoming::Part { text: kind == FrameKind::Text, data, last }
                }
                WebSocketEvent::Ping(payload) => {
                    let pong = pong_frame(payload);
                    self.answer_ping(pong);
                    continue;
                }
                WebSocketEvent::Pong(_) => {
                    self.state.session.pong(now);
                    continue;
                }
                WebSocketEvent::Close(frame) => {
                    let (reason, echo) = farewell_to(frame);
                    self.close_by_peer(reason, echo);
                    break;
                }
            };
            // What stands behind an overflow is only looked through for the peer's close frame; the next turn ends the session.
            if !self.phase.is_open() || self.state.outbox.overflow().is_some() {
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
            let is_blocked = self.phase.is_open() && self.state.session.is_blocked();
            if !is_done || is_blocked || turn.is_over() {
                self.unread = Bytes::copy_from_slice(input.rest());
                break;
            }
        }
        self.state.runner.worker.traffic.received(messages, payload_bytes);
        self.reschedule();
    }
}

impl<T: Io> WebSocketConnection<T> {
    /// A pong takes its place between the messages, as clients expect it. Behind a backlog only the newest of many pings
    /// is answered, once the backlog is written: a peer that pings and does not read costs no more than that.
    fn answer_ping(&mut self, pong: Bytes) {
        if !self.phase.is_open() {
            // Nothing follows a close frame.
            return;
        }
        if self.pong.is_none() && self.state.outbox.len_bytes() < PONG_BACKLOG_BYTES {
            let _ = self.state.outbox.push(pong);
        } else {
            self.pong = Some(pong);
        }
    }
}

/// How reading ended in this turn.
#[derive(PartialEq, Eq)]
enum ReadOutcome {
    /// More may come.
    Waits,
    /// Nothing more comes.
    Ended,
}

fn pong_frame(payload: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    websocket::encode::pong(payload, &mut out);
    out.freeze()
}

/// Why the peer closes, and the answer to it.
fn farewell_to(frame: Option<websocket::CloseFrame<'_>>) -> (Disconnect, Bytes) {
    let mut echo = BytesMut::new();
    match frame {
        Some(frame) => {
            websocket::encode::close(frame.code, "", &mut echo);
            (Disconnect::new(frame.code, frame.reason.to_owned()), echo.freeze())
        }
        None => {
            websocket::encode::close_empty(&mut echo);
            // 1005: the peer closed without a code. It stands for "none" and is never on the wire.
            (Disconnect::new(1005, ""), echo.freeze())
        }
    }
}
