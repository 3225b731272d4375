//! The state that every transport's actor shares: its session with what that needs on its worker, and how far the connection has
//! come. Connections on sockets of their own and sessions over HTTP share it. `docs/architecture.md` §3.9.
//!
//! - [`actor`]: the part of an actor that runs its session.
//! - [`opened`]: a session that its connection is to run.
//!
//! Each change of the [`ConnectionPhase`] is a method of it, with a trace line: a connection that does not end as expected is
//! followed through the log.
//!
//! The mailbox of an actor is bounded. The actor takes out all that waits in each of its turns, so only what comes between two of
//! them has to fit. A session whose mailbox is full is ended as slow by [`crate::hub::registry::SessionEntry::signal`]; a request
//! for it gets a busy answer.

pub(crate) mod actor;
mod opened;

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use actix::prelude::*;
use bytes::BytesMut;
use tokio::time::Instant;

use crate::{
    clock::unix_ms,
    connection::action_runner::ActionRunner,
    disconnect::Disconnect,
    event_log::event::{EndedSession, SessionChange, SessionEvent, short_reason},
    format::encoding::Framing,
    hub::{registry::SessionRegistration, worker::Worker},
    memory::LARGE_REPLY_BYTES,
    metrics::TransportLabel,
    node::{Node, admission::permits::ConnectionPermit},
    outbox::Outbox,
    session::{Actions, Now, Session, Signal},
};

pub(crate) use self::opened::OpenedSession;

/// Room for the heads of frames around a large reply.
const FRAMES_BYTES: usize = 1024;
/// Signals and requests besides those that concern single subscriptions.
const MAILBOX_MESSAGES: usize = 256;
/// Signals of each subscription: its end by a command, and a gap.
const SIGNALS_PER_SUBSCRIPTION: usize = 2;

/// Reason of a connection that is dropped while it is open, as when its thread ends.
static DROPPED: Disconnect = Disconnect::ABNORMAL;

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
    /// True once its end is in the event log.
    is_end_noted: bool,
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
        ctx.set_mailbox_capacity(mailbox_capacity(node.policy.get().settings.max_subscriptions));
        opened.permit.set_actor(ctx.address().recipient());
        let now = Now::read();
        let key = worker.register(SessionRegistration {
            mailbox: ctx.address().recipient(),
            outbox: opened.outbox.clone(),
            encoding: opened.encoding.clone(),
            transport: opened.transport.transport,
            protocol: opened.protocol,
            connected_at_ms: now.unix_ms,
        });
        if node.settings.serves_admin() {
            worker.hub_mut().registry_mut().describe(key, opened.description());
        }
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
            opened_at: now.instant,
            permit: Some(opened.permit),
            is_authenticated: false,
            is_closed: false,
            is_end_noted: false,
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
        self.runner.note_connected(self.opened_at.elapsed());
        let (user, client) = self.identity();
        self.note_event((user.clone(), client.clone()), SessionChange::Connected);
        if let Some(permit) = &mut self.permit {
            permit.authenticated();
        }
        let peer = self.peer.map(tracing::field::display);
        let (transport, protocol) = (self.transport.transport, self.protocol);
        let (user, client, node) = (&*user, &*client, &*self.runner.node.policy.node_name);
        if self.transport.is_brief {
            tracing::debug!(client, user, node, transport, protocol, peer, "connection opened");
        } else {
            tracing::info!(client, user, node, transport, protocol, peer, "connection opened");
        }
    }

    /// User and client id, as the session has told its worker; empty before.
    fn identity(&self) -> (Arc<str>, Arc<str>) {
        let hub = self.runner.worker.hub();
        let entry = hub.registry().get(self.runner.key);
        entry.map(|entry| (entry.user.clone(), entry.client.clone())).unwrap_or_default()
    }

    /// Tells the session that it has ended, once: the first reason counts.
    pub(crate) fn close_session(&mut self, reason: &Disconnect) {
        if !std::mem::replace(&mut self.is_closed, true) {
            self.session.closed(reason);
        }
    }

    /// Takes the session out of its worker, and counts and logs its end.
    pub(crate) fn deregister(&mut self) {
        let (user, client) = self.identity();
        let reason = self.phase.reason().clone();
        self.note_end(&reason);
        self.runner.note_disconnected(&reason);
        self.runner.worker.deregister(self.runner.key, self.timer.take());
        self.close_session(&reason);
        let metrics = &self.runner.node.metrics;
        metrics.connections.get_or_create(self.transport).dec();
        metrics.count_disconnect(reason.code, self.transport.transport);
        let peer = self.peer.map(tracing::field::display);
        let (transport, protocol) = (self.transport.transport, self.protocol);
        let (code, why) = (reason.code, &*reason.reason);
        let seconds = self.opened_at.elapsed().as_secs();
        let (user, client, node) = (&*user, &*client, &*self.runner.node.policy.node_name);
        // The level of a line is a constant of its place.
        macro_rules! closed {
            ($level:ident) => {
                tracing::$level!(
                    client,
                    user,
                    node,
                    transport,
                    protocol,
                    peer,
                    code,
                    reason = why,
                    seconds,
                    "connection closed"
                )
            };
        }
        if self.transport.is_brief || !self.is_authenticated {
            closed!(debug);
        } else {
            closed!(info);
        }
    }

    /// The session ends for this reason: nothing more is taken from it, and its subscriptions end now.
    pub(crate) fn leave_node(&mut self, reason: &Disconnect) {
        self.session.ending();
        self.note_end(reason);
        self.runner.note_disconnected(reason);
        self.runner.worker.leave_all(self.runner.key);
    }

    /// Notes the end of the session, once, with what still waits for its client.
    fn note_end(&mut self, reason: &Disconnect) {
        if std::mem::replace(&mut self.is_end_noted, true) {
            return;
        }
        if !self.is_authenticated {
            return self.note_event(self.identity(), SessionChange::Refused(reason.code));
        }
        let (waiting_bytes, waiting_ms) = self.outbox.waiting();
        let is_slow = reason.code == Disconnect::SLOW.code;
        let channels = if is_slow { self.runner.channels_of_waiting(&self.outbox) } else { Vec::new() };
        let end = EndedSession {
            code: reason.code,
            reason: short_reason(reason.reason.clone()),
            connected_ms: u64::try_from(self.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            waiting_bytes: waiting_bytes as u64,
            waiting_ms: waiting_ms.into(),
            channels,
        };
        self.note_event(self.identity(), SessionChange::Ended(Box::new(end)));
    }

    fn note_event(&self, (user, client): (Arc<str>, Arc<str>), change: SessionChange) {
        self.runner.worker.hub_mut().events.note_session(SessionEvent {
            at: unix_ms(),
            client,
            user,
            transport: self.transport.transport.into(),
            address: self.peer.map(|peer| peer.ip()),
            change,
        });
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
        let permit =
            actions.drain_messages(|kind, message| encoder.frame_message(framing, kind, message, &mut out));
        let reply = if out.len() < LARGE_REPLY_BYTES { out.freeze() } else { hub.memory.reply(out, permit) };
        drop(hub);
        // An overflow is seen by the caller, which ends the session as slow.
        let _ = self.outbox.push_reply(reply);
    }
}

/// The phase of a connection. It only moves forward, and keeps the first reason it is given.
#[derive(Debug)]
pub(crate) enum ConnectionPhase {
    /// Messages flow.
    Open,
    /// The session has ended. Until the deadline, waiting bytes are still written and the client gets its close message.
    Closing {
        /// Why the session ended.
        reason: Disconnect,
        /// The connection is cut then.
        by: Instant,
        /// True once the peer's close message is here: then only what waits is written.
        peer_closed: bool,
    },
    /// Nothing more is read or written.
    Over(Disconnect),
}

impl ConnectionPhase {
    /// True if the session may still act.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// True if nothing more is read or written.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    /// The reason of the end.
    pub(crate) fn reason(&self) -> &Disconnect {
        match self {
            Self::Open => &DROPPED,
            Self::Closing { reason, .. } | Self::Over(reason) => reason,
        }
    }

    /// The time at which a closing connection is cut.
    pub(crate) fn close_deadline(&self) -> Option<Instant> {
        match self {
            Self::Closing { by, .. } => Some(*by),
            Self::Open | Self::Over(_) => None,
        }
    }

    /// True if a connection that is closing has had its time.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.close_deadline().is_some_and(|by| by <= now)
    }

    /// The session has ended: the connection has until `by` to write what waits.
    pub(crate) fn begin_closing(&mut self, reason: Disconnect, by: Instant) {
        if self.is_open() {
            tracing::trace!(code = reason.code, reason = &*reason.reason, "connection closing");
            *self = Self::Closing { reason, by, peer_closed: false };
        }
    }

    /// The peer's close message is here.
    pub(crate) fn note_peer_closed(&mut self) {
        if let Self::Closing { peer_closed, .. } = self {
            tracing::trace!("close message of the peer received");
            *peer_closed = true;
        }
    }

    /// A connection that is closing has nothing more to write, or to tell.
    pub(crate) fn finish_closing(&mut self) {
        if matches!(self, Self::Closing { .. }) {
            self.finish(Disconnect::ABNORMAL);
        }
    }

    /// The connection is over. `reason` counts if it was open until now.
    pub(crate) fn finish(&mut self, reason: Disconnect) {
        *self = match std::mem::replace(self, Self::Open) {
            Self::Open => {
                tracing::trace!(code = reason.code, reason = &*reason.reason, "connection over");
                Self::Over(reason)
            }
            Self::Closing { reason, .. } => {
                tracing::trace!(code = reason.code, "connection over after closing");
                Self::Over(reason)
            }
            Self::Over(reason) => Self::Over(reason),
        };
    }
}

/// Messages that fit into an actor's mailbox. An empty one takes no memory for them.
pub(crate) fn mailbox_capacity(max_subscriptions: usize) -> usize {
    MAILBOX_MESSAGES + SIGNALS_PER_SUBSCRIPTION * max_subscriptions
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_reason_of_an_end_is_kept() {
        let (mut phase, by) = (ConnectionPhase::Open, Instant::now() + Duration::from_secs(60));
        assert_eq!(phase.reason(), &Disconnect::ABNORMAL);
        phase.note_peer_closed();
        phase.finish_closing();
        assert!(phase.is_open(), "the close message of a peer does not close by itself");
        phase.begin_closing(Disconnect::SHUTDOWN, by);
        phase.begin_closing(Disconnect::SLOW, by + Duration::from_secs(60));
        assert_eq!((phase.reason(), phase.close_deadline()), (&Disconnect::SHUTDOWN, Some(by)));
        assert!(!phase.is_overdue(Instant::now()) && phase.is_overdue(by));
        phase.finish_closing();
        phase.begin_closing(Disconnect::SLOW, by);
        phase.finish(Disconnect::NORMAL);
        assert_eq!((phase.reason(), phase.close_deadline()), (&Disconnect::SHUTDOWN, None));
        assert!(phase.is_over() && !phase.is_open());
    }
}
