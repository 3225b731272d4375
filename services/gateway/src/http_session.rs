//! HttpSession: a session over HTTP. Its actor outlives the requests that come for it.
//!
//! It lives on the worker that opened it and carries its session as a connection does. A response is a second, small thing,
//! on whatever worker its request landed: it only takes what the session put into its [`pipe`]. So a client that stalls holds
//! up nothing but its own outbox, which is bounded. `docs/architecture.md` §3.8; `docs/protocols/http.md` §9.
//!
//! - [`new_session`]: from a request to the actor.
//! - [`lifetime`]: how long it lasts.
//! - [`request`]: requests that come for it.
//! - `inbound`: the messages that they bring.
//! - `responses`: the responses that carry it.
//! - `deadlines`: its end while it waits for a response, and heartbeats.
//! - [`pipe`]: the way to another thread.
//! - [`writer`]: how a response is written.
//! - [`registry`]: where sessions are.
//! - `ended_sessions`: those that have just ended.
//! - [`detached`]: responses that leave HTTP.
//! - [`worker_context`]: the node and the worker, as a request meets them.

mod deadlines;
pub mod detached;
mod ended_sessions;
mod inbound;
pub mod lifetime;
pub mod new_session;
pub mod pipe;
pub mod registry;
pub mod request;
mod responses;
#[cfg(test)]
mod tests;
pub mod worker_context;
pub mod writer;

pub use self::{lifetime::Lifetime, worker_context::WorkerContext, writer::Response};

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context as Task, Poll},
};

use actix::prelude::*;
use tokio::time::Instant;

use self::{
    registry::HttpSessionRegistry,
    request::{InboundMessages, SessionRequest},
};
use crate::{
    connection::state::{ConnectionActor, ConnectionState},
    disconnect::{Disconnect, Refused},
    node::client_network::ClientNetwork,
    session::{Actions, Now, Signal},
};

/// A session held for HTTP.
pub struct HttpSession {
    state: ConnectionState,
    response: Option<Response>,
    /// A response that came while there is one: it waits a moment for the other one's end to be seen.
    next: Option<Response>,
    /// What has come and not been taken yet, because the session is busy.
    inbound: VecDeque<InboundMessages>,
    lifetime: Lifetime,
    /// When it ends without a response; while it waits for one.
    attach_deadline: Option<Instant>,
    /// When its response has been silent for so long that it is to have a heartbeat.
    heartbeat_deadline: Option<Instant>,
    id: Option<Arc<str>>,
    registry: Arc<HttpSessionRegistry>,
    /// Where it was opened from.
    network: Option<ClientNetwork>,
    /// Whether a request has come for it since.
    has_been_attached: bool,
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
        if matches!(self.lifetime, Lifetime::Visits { .. }) && !self.state.is_authenticated {
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
            && matches!(signal, Signal::Disconnect(_))
            && self.state.runner.node.is_draining()
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
        self.leave_node();
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
        if let Lifetime::Visits { .. } = self.lifetime {
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
        if self.state.phase.is_open() {
            if let Some(slow) = self.state.outbox.overflow() {
                self.end(slow);
            } else {
                let mut actions = Actions::default();
                self.state.session.poll_outside(task, &mut actions);
                self.run_actions(&mut actions, ctx);
                self.process_inbound(ctx);
            }
        }
        self.fill_response(task);
        self.reschedule();
        if self.state.phase.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl HttpSession {
    /// Ends an open session: it hears of one reason, its client of another.
    fn end_as(&mut self, heard: &Disconnect, reason: Disconnect) {
        if !self.state.phase.is_open() {
            return;
        }
        self.leave_node();
        // A response that nobody reads any more tells nobody.
        self.response.take_if(|response| response.pipe.is_abandoned());
        match self.lifetime {
            Lifetime::Visits { patience, .. } => {
                // The session hears now that it is over; only the news of it goes on.
                self.state.close_session(heard);
                self.state.permit = None;
                self.state.phase.begin_closing(reason, Instant::now() + patience);
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
    fn leave_node(&mut self) {
        self.state.leave_node();
        self.inbound = VecDeque::new();
        self.set_attach_deadline();
    }

    /// Tells the response that is there, if one is, why the session has ended. Where nothing else is left to bring, the
    /// session is over, and the registry tells those who still come.
    fn tell_end(&mut self) {
        self.tell_end_to_response();
        let (Some(by), Lifetime::Visits { most, .. }) = (self.state.phase.close_deadline(), self.lifetime)
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
}
