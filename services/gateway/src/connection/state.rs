//! The part that every transport's actor shares: it sends what its session writes, runs the session's actions, and keeps
//! the session's deadline. Connections on sockets of their own and sessions over HTTP share it. `docs/architecture.md` §3.9.
//!
//! - [`phase`]: how far a connection has come.
//!
//! The bound of the mailbox of a connection's actor.
//!
//! The actor takes out all that waits in each of its turns, so only what comes between two of them has to fit. A session whose
//! mailbox is full is ended as slow by [`crate::hub::registry::SessionEntry::signal`]; a request for it gets a busy answer.

pub(crate) mod phase;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll, Waker},
};

use actix::{fut::ActorFuture, prelude::*};
use bytes::BytesMut;
use tokio::time::Instant;

use self::phase::ConnectionPhase;
use crate::{
    connection::{
        action_runner::{ActionRunner, Effect, PendingAction},
        turn::Turn,
    },
    disconnect::{Disconnect, Refused},
    format::encoding::{Encoding, Framing},
    hub::{registry::SessionRegistration, worker::Worker},
    memory::LARGE_REPLY_BYTES,
    metrics::TransportLabel,
    node::{Node, admission::permits::ConnectionPermit},
    outbox::Outbox,
    session::{Actions, MessageKind, Now, Outcome, Session, Signal, Ticket},
    settings::Settings,
};

/// Room for the heads of frames around a large reply.
const FRAMES_BYTES: usize = 1024;

/// A session with what it needs on its worker.
pub(crate) struct ConnectionState {
    pub(crate) session: Box<dyn Session>,
    pub(crate) phase: ConnectionPhase,
    pub(crate) outbox: Outbox,
    pub(crate) framing: Framing,
    pub(crate) runner: ActionRunner,
    /// The session's deadline among the worker's timers.
    pub(crate) timer: Option<u64>,
    pub(crate) transport: &'static TransportLabel,
    /// Name of the protocol: `json`, …
    pub(crate) protocol: &'static str,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) opened_at: Instant,
    /// The permit of the connection, until it is over for its client.
    pub(crate) permit: Option<ConnectionPermit>,
    /// True if its client has connected.
    pub(crate) is_authenticated: bool,
    /// True once the session knows that it has ended.
    pub(crate) is_closed: bool,
}

/// A session that was opened, with what its connection needs to run it.
pub struct OpenedSession {
    /// The session.
    pub session: Box<dyn Session>,
    /// The bytes that wait for the client.
    pub outbox: Outbox,
    /// The encoding of the session's messages.
    pub encoding: Encoding,
    /// Label of the transport's counters.
    pub transport: &'static TransportLabel,
    /// The protocol in logs and in the API: `json`, …
    pub protocol: &'static str,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// The permit of the connection, out of those of the node.
    pub permit: ConnectionPermit,
}

impl ConnectionState {
    /// Registers an opened session, whose actor has this context, with its worker.
    pub(crate) fn register<A>(
        node: &Arc<Node>,
        worker: &Rc<Worker>,
        opened: OpenedSession,
        ctx: &mut Context<A>,
    ) -> Self
    where
        A: Actor<Context = Context<A>> + Handler<Signal>,
    {
        ctx.set_mailbox_capacity(mailbox_capacity(&node.settings));
        opened.permit.set_actor(ctx.address().recipient());
        let key = worker.register(SessionRegistration {
            mailbox: ctx.address().recipient(),
            outbox: opened.outbox.clone(),
            encoding: opened.encoding.clone(),
            transport: opened.transport.transport,
            protocol: opened.protocol,
            connected_at_ms: Now::read().unix_ms,
        });
        Self {
            session: opened.session,
            phase: ConnectionPhase::Open,
            outbox: opened.outbox,
            framing: opened.encoding.framing,
            runner: ActionRunner { node: node.clone(), worker: worker.clone(), key },
            timer: None,
            transport: opened.transport,
            protocol: opened.protocol,
            peer: opened.peer,
            opened_at: Instant::now(),
            permit: Some(opened.permit),
            is_authenticated: false,
            is_closed: false,
        }
    }

    /// Counts a connection that begins. It is worth a line of its own once its client has connected: unauthenticated ones
    /// would fill the log.
    pub(crate) fn count_opened(&self) {
        let metrics = &self.runner.node.metrics;
        metrics.connections.get_or_create(self.transport).inc();
        metrics.connections_opened.get_or_create(self.transport).inc();
    }

    /// Logs a connection whose client has just connected, and no longer counts it among the unauthenticated ones.
    fn note_authenticated(&mut self) {
        if self.is_authenticated || !self.session.has_connected() {
            return;
        }
        self.is_authenticated = true;
        if let Some(permit) = &mut self.permit {
            permit.authenticated();
        }
        let peer = self.peer.map(tracing::field::display);
        let (transport, protocol) = (self.transport.transport, self.protocol);
        if self.transport.is_brief {
            tracing::debug!(transport, protocol, peer, "connection opened");
        } else {
            tracing::info!(transport, protocol, peer, "connection opened");
        }
    }

    /// Tells the session that it has ended, once: the first reason counts.
    pub(crate) fn close_session(&mut self, reason: &Disconnect) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.session.closed(reason);
        }
    }

    /// Takes the session out of its worker, and counts and logs its end.
    pub(crate) fn deregister(&mut self) {
        self.runner.worker.deregister(self.runner.key, self.timer.take());
        let reason = self.phase.reason().clone();
        self.close_session(&reason);
        let metrics = &self.runner.node.metrics;
        metrics.connections.get_or_create(self.transport).dec();
        metrics.count_disconnect(reason.code);
        let peer = self.peer.map(tracing::field::display);
        let (transport, protocol) = (self.transport.transport, self.protocol);
        let (code, why) = (reason.code, &*reason.reason);
        let seconds = self.opened_at.elapsed().as_secs();
        if self.transport.is_brief || !self.is_authenticated {
            tracing::debug!(transport, protocol, peer, code, reason = why, seconds, "connection closed");
        } else {
            tracing::info!(transport, protocol, peer, code, reason = why, seconds, "connection closed");
        }
    }

    /// The session ends: nothing more is taken from it, and its subscriptions end now.
    pub(crate) fn leave_node(&mut self) {
        self.session.ending();
        self.runner.worker.leave_all(self.runner.key);
    }

    /// Sends one text message that is not the session's.
    pub(crate) fn send_text(&self, message: &[u8]) {
        let mut out = BytesMut::new();
        self.runner.worker.hub_mut().encoder_mut().frame_text(self.framing, message, &mut out);
        let _ = self.outbox.push_reply(out.freeze());
    }

    fn send_messages(&self, actions: &mut Actions) {
        let mut out = BytesMut::new();
        let mut hub = self.runner.worker.hub_mut();
        if actions.message_bytes() >= LARGE_REPLY_BYTES {
            if let Some((kind, bytes)) = actions.only_message()
                && let Some(head) = hub.encoder_mut().head(self.framing, kind, bytes)
            {
                let (message, permit) = actions.take_messages();
                let _ = self.outbox.push_reply_pair(head, hub.memory.reply(message, permit));
                return;
            }
            // In one piece: growing by doubling holds up to three times as much.
            out.reserve(actions.message_bytes() + FRAMES_BYTES);
        }
        let encoder = hub.encoder_mut();
        let framing = self.framing;
        let permit = actions.drain_messages(|kind, message| match kind {
            MessageKind::Text => encoder.frame_text(framing, message, &mut out),
            MessageKind::Binary => encoder.frame_binary(framing, message, &mut out),
        });
        let reply = if out.len() < LARGE_REPLY_BYTES { out.freeze() } else { hub.memory.reply(out, permit) };
        drop(hub);
        // An overflow is seen by the caller, which ends the session as slow.
        let _ = self.outbox.push_reply(reply);
    }
}

/// An actor of a worker that carries a session.
pub(crate) trait ConnectionActor: Actor<Context = Context<Self>> {
    /// The session and its surroundings.
    fn state(&mut self) -> &mut ConnectionState;

    /// The session, or what befell it, ends it.
    fn end(&mut self, reason: Disconnect);

    /// The session never begins.
    fn refuse(&mut self, refused: Refused);

    /// Sends the transport's own ping.
    fn ping(&mut self);

    /// The time at which the transport itself next wants [`Signal::Timer`]: at the end of a close message, or while the
    /// session lasts for whatever the transport watches.
    fn transport_deadline(&self) -> Option<Instant>;

    /// One turn of the resident future: moves what the outbox holds, and takes what has come. Ready when the connection is over.
    fn poll_turn(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> Poll<()>;

    /// Bytes of input that the connection and its session keep because it is not finished.
    fn input_bytes(&mut self) -> usize {
        self.state().session.input_bytes()
    }

    /// Counts the connection, opens its session, and makes the resident future.
    fn open_session(&mut self, ctx: &mut Context<Self>) {
        self.state().count_opened();
        let mut actions = Actions::default();
        self.state().session.opened(Now::read(), &mut actions);
        self.run_actions(&mut actions, ctx);
        self.reschedule();
        ctx.spawn(ResidentTask);
    }

    /// Hands a signal to the session, if it may still act.
    fn signal_session(&mut self, signal: Signal, now: Now, ctx: &mut Context<Self>) {
        if self.state().phase.is_open() {
            let mut actions = Actions::default();
            self.state().session.signal(signal, now, &mut actions);
            self.run_actions(&mut actions, ctx);
        }
    }

    /// Ends a session whose outbox has overflowed; true if the session may still act.
    fn may_act(&mut self) -> bool {
        if self.state().phase.is_open()
            && let Some(slow) = self.state().outbox.overflow()
        {
            self.end(slow);
        }
        self.state().phase.is_open()
    }

    /// As [`ConnectionActor::may_act`]; a reply that the outbox would not take is not even made.
    fn may_take(&mut self, outcome: &Outcome) -> bool {
        if outcome.has_large_reply() {
            self.state().outbox.expect_reply();
        }
        self.may_act()
    }

    /// Sends what the session wrote and carries out what it wants, until it wants nothing more. Once the outbox has
    /// overflowed nothing is carried out: its replies could not be sent, and the client would not know what happened.
    fn run_actions(&mut self, actions: &mut Actions, ctx: &mut Context<Self>) {
        let mut outcomes: VecDeque<(Ticket, Outcome)> = VecDeque::new();
        loop {
            if !actions.is_empty() && self.state().phase.is_open() {
                self.state().send_messages(actions);
                if !self.may_act() {
                    actions.take_list();
                    return;
                }
            }
            for action in actions.take_list() {
                match self.state().runner.run(action) {
                    Effect::Done => {}
                    Effect::Ping => self.ping(),
                    Effect::Refuse(refused) => self.refuse(refused),
                    Effect::Close(disconnect) => self.end(disconnect),
                    Effect::Pending(ticket, mut pending) => {
                        // Mostly the outcome is there at once; only what is not becomes a task of the actor.
                        let mut task = Task::from_waker(Waker::noop());
                        match pending.as_mut().poll(&mut task) {
                            Poll::Ready(outcome) => outcomes.push_back((ticket, outcome)),
                            Poll::Pending => self.await_outcome(ticket, pending, ctx),
                        }
                    }
                }
            }
            if !self.state().phase.is_open() {
                return;
            }
            self.state().note_authenticated();
            match outcomes.pop_front() {
                Some((ticket, outcome)) if self.may_take(&outcome) => {
                    self.state().session.outcome(ticket, outcome, Now::read(), actions);
                }
                _ => return,
            }
        }
    }

    /// Runs what the session holds back, step by step. False if the turn is over before it is done.
    fn resume(&mut self, turn: &mut Turn, actions: &mut Actions, ctx: &mut Context<Self>) -> bool {
        while self.state().phase.is_open() && self.state().session.has_more() {
            turn.begin();
            if turn.is_over() {
                return false;
            }
            self.state().session.resume(Now::read(), actions);
            self.run_actions(actions, ctx);
        }
        true
    }

    /// Makes a pending action a task of the actor.
    fn await_outcome(&mut self, ticket: Ticket, pending: PendingAction, ctx: &mut Context<Self>) {
        let done = pending.into_actor(self).map(move |outcome, me, ctx| {
            if !me.may_take(&outcome) {
                return;
            }
            let turn = if outcome.takes_long() { Turn::watched() } else { Turn::default() };
            let mut actions = Actions::default();
            me.state().session.outcome(ticket, outcome, Now::read(), &mut actions);
            me.run_actions(&mut actions, ctx);
            me.reschedule();
            turn.end(&me.state().runner.worker);
            // Reading may have stopped because the session could take no more.
            me.state().outbox.wake();
        });
        ctx.spawn(done);
    }

    /// Keeps the worker's timer at the next deadline, of the transport or of a session that lasts, and the memory budget at what
    /// the input holds.
    fn reschedule(&mut self) {
        let by = self.transport_deadline();
        let input = self.input_bytes();
        let state = self.state();
        state.outbox.set_input(input);
        let of_session = if state.phase.is_open() { state.session.deadline() } else { None };
        let deadline = [by, of_session].into_iter().flatten().min();
        state.timer = state.runner.worker.set_deadline(state.runner.key, state.timer, deadline);
    }
}

/// The resident future of a connection's actor. actix polls it after the mailbox, so all that a turn brought leaves in one write.
/// `docs/architecture.md` §3.3.
struct ResidentTask;

impl<A: ConnectionActor> ActorFuture<A> for ResidentTask {
    type Output = ();

    fn poll(self: Pin<&mut Self>, me: &mut A, ctx: &mut Context<A>, task: &mut Task<'_>) -> Poll<()> {
        me.state().outbox.register(task);
        let done = me.poll_turn(ctx, task);
        if done.is_ready() {
            ctx.stop();
        }
        done
    }
}

/// Signals and requests besides those that concern single subscriptions.
const MAILBOX_MESSAGES: usize = 256;
/// Signals of each subscription: its end by a command, and a gap.
const SIGNALS_PER_SUBSCRIPTION: usize = 2;

/// Messages that fit into an actor's mailbox. An empty one takes no memory for them.
pub(crate) fn mailbox_capacity(settings: &Settings) -> usize {
    MAILBOX_MESSAGES + SIGNALS_PER_SUBSCRIPTION * settings.client.max_subscriptions
}
