//! HttpSession: a session over HTTP. Its actor outlives the requests that come for it.
//!
//! It lives on the worker that opened it and carries its session as a connection does. A response is a second, small thing,
//! on whatever worker its request landed: it only takes what the session put into its [`pipe`]. So a client that stalls holds
//! up nothing but its own outbox, which is bounded. `docs/architecture.md` §3.8; `docs/protocols/http.md` §9.
//!
//! - `requests`: the messages that they bring, the response that carries it, and its deadlines while it waits for one.
//! - [`pipe`]: the way to another thread.
//! - [`writer`]: writes a response, and takes its connection out of HTTP.
//! - [`registry`]: finds a session for the requests that come for it, from any worker, and for a while after its end.

pub mod pipe;
pub mod registry;
mod requests;
#[cfg(test)]
mod tests;
pub mod writer;

pub use self::{registry::WorkerContext, writer::Response};

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context as Task, Poll},
    time::Duration,
};

use actix::prelude::*;
use tokio::time::Instant;

use self::registry::{HttpSessionRegistry, InboundMessage, InboundMessages, OpenedBy, SessionRequest};
use crate::{
    connection::state::{ConnectionPhase, ConnectionState, OpenedSession, actor::ConnectionActor},
    disconnect::{Disconnect, Refused},
    node::client_network::ClientNetwork,
    session::{Actions, Now, Signal},
};

/// Longest time that a response waits to see the end of the one before it: the client that gave that one up may be back
/// before its end is seen.
const HANDOVER: Duration = Duration::from_millis(100);

/// A session over HTTP.
pub struct HttpSession {
    state: ConnectionState,
    response: Option<Response>,
    /// A response that came while there is one: it waits a moment for the other one's end to be seen.
    next: Option<Response>,
    /// Messages that have come and not been taken yet, because the session is busy.
    inbound: VecDeque<InboundMessages>,
    lifetime: Lifetime,
    /// The time at which it ends without a response; set while it waits for one.
    attach_deadline: Option<Instant>,
    /// The time at which its silent response gets a heartbeat.
    heartbeat_deadline: Option<Instant>,
    id: Option<Arc<str>>,
    registry: Arc<HttpSessionRegistry>,
    /// The network that it was opened from.
    network: Option<ClientNetwork>,
    /// True if a request has come for it since.
    has_been_attached: bool,
}

/// The lifetime of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the response of the request that opened it.
    Response,
    /// It waits for its next response. One that is broken off ends it, since what it carried may be lost.
    Requests {
        /// Longest wait for a response; for as long, an ended session gives its end to every response that comes.
        attach_timeout: Duration,
        /// Longest silence of a response before a heartbeat is written.
        heartbeat: Duration,
        /// Sessions of the node that may wait at a time; one more ends.
        max_waiting: usize,
    },
}

impl Lifetime {
    /// Longest silence of a response, if it is bounded.
    fn heartbeat(self) -> Option<Duration> {
        match self {
            Self::Requests { heartbeat, .. } => Some(heartbeat),
            Self::Response => None,
        }
    }
}

/// A session that is to begin.
pub struct NewSession {
    /// The session, its outbox and its permit.
    pub opened: OpenedSession,
    /// The response of the request that opens it.
    pub response: Response,
    /// The lifetime of the session.
    pub lifetime: Lifetime,
    /// Its id, if requests come for it.
    pub id: Option<Arc<str>>,
    /// Messages that came with the request.
    pub messages: Vec<InboundMessage>,
}

/// Another request was faster: a session with this id is there already. The response comes back, to be attached to it.
pub struct IdInUse(pub Response);

impl NewSession {
    /// Starts the session's actor on this worker.
    ///
    /// # Errors
    /// If a session with this id is there already.
    pub fn open(self, local: &WorkerContext) -> Result<(), IdInUse> {
        let WorkerContext { node, worker, registry, .. } = local;
        let mut ctx = Context::<HttpSession>::new();
        let network = node.admission.network_of(self.opened.peer);
        let opened_by = OpenedBy { principal: self.opened.session.principal(), network };
        if let Some(id) = &self.id
            && !registry.register(id, ctx.address().recipient(), opened_by)
        {
            return Err(IdInUse(self.response));
        }
        let state = ConnectionState::register(node, worker, self.opened, &mut ctx);
        let mut messages = VecDeque::new();
        if !self.messages.is_empty() {
            // The request itself brought them: nobody waits for the outcome.
            messages.push_back(InboundMessages::new(self.messages).0);
        }
        ctx.run(HttpSession {
            state,
            response: Some(self.response),
            next: None,
            inbound: messages,
            lifetime: self.lifetime,
            attach_deadline: None,
            heartbeat_deadline: self.lifetime.heartbeat().map(|heartbeat| Instant::now() + heartbeat),
            id: self.id,
            registry: registry.clone(),
            network,
            has_been_attached: false,
        });
        Ok(())
    }
}

impl Actor for HttpSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(response) = &mut self.response {
            response.writer.begin(&response.pipe);
        }
        self.open_session(ctx);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        if let Some(id) = self.id.take() {
            self.registry.deregister(&id);
        }
        self.set_attach_deadline();
        if matches!(self.lifetime, Lifetime::Requests { .. }) && !self.state.is_authenticated {
            self.count_guess();
        }
        self.state.deregister();
    }
}

impl Handler<Signal> for HttpSession {
    type Result = ();

    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        let now = Now::read();
        let mut is_for_session = true;
        if matches!(signal, Signal::Timer) {
            self.state.timer = None;
            self.check_deadlines(now.instant);
            is_for_session = self.state.session.deadline().is_some_and(|deadline| deadline <= now.instant);
        }
        if !self.state.phase.is_open()
            && signal.disconnect().is_some()
            && self.state.runner.node.lifecycle.is_draining()
        {
            // It ended before; a node that goes down does not wait for somebody to tell it to.
            self.state.phase.finish_closing();
            self.state.outbox.wake();
        }
        if is_for_session {
            self.signal_session(signal, now, ctx);
        }
        self.reschedule();
    }
}

impl Handler<SessionRequest> for HttpSession {
    type Result = ();

    fn handle(&mut self, request: SessionRequest, ctx: &mut Self::Context) {
        self.has_been_attached = true;
        match request {
            SessionRequest::Send(messages) => self.enqueue_inbound(messages),
            SessionRequest::Attach(response) => self.attach(response, ctx),
        }
        self.reschedule();
    }
}

impl ConnectionActor for HttpSession {
    fn state(&mut self) -> &mut ConnectionState {
        &mut self.state
    }

    fn end(&mut self, reason: Disconnect) {
        self.end_as(&reason.clone(), reason);
    }

    fn refuse(&mut self, refused: Refused) {
        if !self.state.phase.is_open() {
            return;
        }
        self.leave_node(&refused.clone().disconnect());
        if let Some(response) = self.response.take() {
            response.pipe.begin(Err(refused.clone()));
        }
        self.state.phase.finish(refused.disconnect());
        self.state.outbox.wake();
    }

    fn input_bytes(&mut self) -> usize {
        let waiting: usize = self.inbound.iter().map(InboundMessages::bytes).sum();
        waiting + self.state.session.input_bytes()
    }

    fn ping(&mut self) {
        if let Lifetime::Requests { .. } = self.lifetime {
            // Whether its client lives is seen by its coming back; heartbeats go by the silence of the response.
            return self.state.session.pong(Now::read());
        }
        // Where bytes wait already, they are the sign of life.
        if let Some(response) = &mut self.response
            && self.state.outbox.is_empty()
            && response.pipe.has_room()
        {
            response.pipe.push(response.writer.ping());
        }
    }

    fn transport_deadline(&self) -> Option<Instant> {
        if !self.state.phase.is_open() {
            return self.state.phase.close_deadline();
        }
        let heartbeat_deadline = self.heartbeat_deadline.filter(|_| self.response.is_some());
        [self.attach_deadline, heartbeat_deadline].into_iter().flatten().min()
    }

    fn poll_turn(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> Poll<()> {
        let has_acted = self.state.phase.is_open() && self.poll_session(ctx, task);
        let is_lost = self.fill_response(task);
        // A turn that only writes moves no deadline but the heartbeat's, and that further away: the timer finds out.
        if has_acted || is_lost || !self.state.phase.is_open() {
            self.reschedule();
        }
        if self.state.phase.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl HttpSession {
    /// Lets an open session act on what came from outside and on what waits for it. False if that was nothing.
    fn poll_session(&mut self, ctx: &mut Context<Self>, task: &mut Task<'_>) -> bool {
        if let Some(slow) = self.state.outbox.overflow() {
            self.end(slow);
            return true;
        }
        let mut actions = Actions::default();
        self.state.session.poll_outside(task, &mut actions);
        let has_actions = !actions.is_empty();
        if has_actions {
            self.run_actions(&mut actions, ctx);
        }
        let has_input = !self.inbound.is_empty() || self.state.session.has_more();
        if has_input {
            self.process_inbound(ctx);
        }
        has_actions || has_input
    }

    /// Ends an open session: it gets one reason, its client another.
    fn end_as(&mut self, sent: &Disconnect, reason: Disconnect) {
        if !self.state.phase.is_open() {
            return;
        }
        self.leave_node(&reason);
        // A response that nobody reads any more tells nobody.
        self.response.take_if(|response| response.pipe.is_abandoned());
        match self.lifetime {
            Lifetime::Requests { attach_timeout: time_limit, .. } => {
                // The session ends now; only its reason stays, for the client.
                self.state.close_session(sent);
                self.state.permit = None;
                self.state.phase.begin_closing(reason, Instant::now() + time_limit);
            }
            Lifetime::Response if self.response.is_some() => {
                self.state.phase.begin_closing(reason, Instant::now());
            }
            Lifetime::Response => self.state.phase.finish(reason),
        }
        self.tell_end();
        self.state.outbox.wake();
    }

    /// The session is over: it leaves its channels now.
    fn leave_node(&mut self, reason: &Disconnect) {
        self.state.leave_node(reason);
        self.inbound = VecDeque::new();
        self.set_attach_deadline();
    }

    /// Tells the response that is there, if one is, why the session has ended. Where nothing else is left to bring, the
    /// session is over, and the registry tells those who still come.
    fn tell_end(&mut self) {
        self.tell_end_to_response();
        let (Some(by), Lifetime::Requests { max_waiting: most, .. }) =
            (self.state.phase.close_deadline(), self.lifetime)
        else {
            return;
        };
        let has_more = !self.state.outbox.is_empty() && self.state.outbox.overflow().is_none();
        if has_more && (self.attach_deadline.is_some() || self.begin_waiting(by, most)) {
            return;
        }
        if let Some(id) = self.id.take() {
            self.registry.expire(id, self.state.phase.reason().clone(), by);
        }
        self.state.phase.finish_closing();
    }

    fn tell_end_to_response(&mut self) {
        let ConnectionPhase::Closing { reason, .. } = &self.state.phase else { return };
        let Some(Response { pipe, mut writer }) = self.response.take() else { return };
        pipe.widen();
        // Messages behind an overflow are not sent: nothing that comes later may hide what is missing.
        if self.state.outbox.overflow().is_none() {
            writer.write(&self.state.outbox, &pipe);
        }
        let is_told_again = matches!(self.lifetime, Lifetime::Requests { .. });
        if writer.is_done() && is_told_again {
            // It carried what waited; the next one brings the end.
            return;
        }
        writer.close_message(reason, &pipe);
        if !is_told_again || self.state.runner.node.lifecycle.is_draining() {
            self.state.phase.finish_closing();
        }
    }

    /// Lets a response carry the session. While another one does, it waits a moment, and is turned away then.
    fn attach(&mut self, response: Response, ctx: &mut Context<Self>) {
        if self.response.as_ref().is_some_and(|current| current.pipe.is_abandoned()) {
            // The client is back before its end was seen: the end counts nevertheless.
            self.lose_broken_response();
        }
        if self.response.is_none() {
            return self.attach_response(response);
        }
        self.reject_waiting_response();
        self.next = Some(response);
        ctx.run_later(HANDOVER, |me, _| me.reject_waiting_response());
    }

    fn reject_waiting_response(&mut self) {
        if let Some(mut response) = self.next.take() {
            response.writer.reject(&response.pipe);
        }
    }

    fn attach_response(&mut self, mut response: Response) {
        if let ConnectionPhase::Over(reason) = &self.state.phase {
            // A session that ended without a reason for its client is gone: the next request opens another one.
            if self.id.is_none() {
                response.tell_ended(reason);
            }
            return;
        }
        self.set_attach_deadline();
        response.writer.begin(&response.pipe);
        self.response = Some(response);
        self.restart_heartbeat();
        // Written, and watched, by the resident future.
        self.tell_end();
        self.state.outbox.wake();
    }
}
