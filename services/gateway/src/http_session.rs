//! A session held for HTTP: an actor of its own, which outlives the requests that come for it.
//!
//! It lives on the worker that opened it and carries its session as a WebSocket connection does. A response is a second,
//! small thing, on whatever worker its request landed: it only takes what the session put into its [`pipe`]. So a client
//! that stalls holds up nothing but its own outbox, which is bounded. `docs/architecture.md` §3.8; `docs/protocols/http.md` §9.
//!
//! - [`opening`]: how one begins. - [`request`]: requests that come for it. - [`drive`]: from the outbox into the response.
//! - [`pipe`]: the way to another thread. - [`writer`], [`tracked`], [`polled`]: how a response is written. - [`registry`]: where
//!   sessions are. - [`detached`]: responses that leave HTTP. - `ended`: those that have just ended. - `waiting`: while nothing happens.

mod deadlines;
pub mod detached;
mod ended_sessions;
pub mod new_session;
pub mod pipe;
pub mod registry;
pub mod request;
mod task;
#[cfg(test)]
mod tests;
pub mod worker_context;
pub mod writer;

pub use self::worker_context::WorkerContext;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::time::Instant;

use self::{
    deadlines::too_many_wait,
    pipe::PipeWriter,
    registry::HttpSessionRegistry,
    request::{InboundMessages, SessionRequest},
    task::HttpSessionTask,
    writer::ResponseWriter,
};
use crate::{
    connection::state::{ConnectionActor, ConnectionState},
    disconnect::{Disconnect, Refused},
    node::client_network::ClientNetwork,
    session::{Actions, Now, Signal},
};

/// How long a session lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the response of the request that opened it.
    Response,
    /// It waits for its next response. One that is broken off ends it, since what it carried may be lost.
    Visits {
        /// For so long; and so long its end is told to every response that comes.
        patience: Duration,
        /// How long a response may be silent before a heartbeat is written.
        heartbeat: Duration,
        /// Unless so many sessions of the node wait already.
        most: usize,
    },
}

impl Lifetime {
    /// How long a response may be silent, where somebody cares.
    fn heartbeat(self) -> Option<Duration> {
        match self {
            Self::Visits { heartbeat, .. } => Some(heartbeat),
            Self::Response => None,
        }
    }
}

/// A response that carries a session for a while.
pub struct Response {
    /// Its end of the pipe.
    pub pipe: PipeWriter,
    /// How it is written.
    pub writer: Box<dyn ResponseWriter>,
}

impl Response {
    /// Tells that the session has ended.
    pub fn tell_ended(mut self, reason: &Disconnect) {
        self.writer.begin(&self.pipe);
        self.writer.close_message(reason, &self.pipe);
    }
}

/// How far a session has come.
enum HttpSessionPhase {
    Open,
    /// It has ended, but something is left that its client is to be brought before it is told.
    Ended {
        reason: Disconnect,
        by: Instant,
    },
    Over(Disconnect),
}

/// A session held for HTTP.
pub struct HttpSession {
    state: ConnectionState,
    phase: HttpSessionPhase,
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
        self.state.count_opened();
        if let Some(response) = &mut self.response {
            response.writer.begin(&response.pipe);
        }
        let mut actions = Actions::default();
        self.state.session.opened(Now::read(), &mut actions);
        self.run_actions(&mut actions, ctx);
        self.process_inbound(ctx);
        self.reschedule();
        ctx.spawn(HttpSessionTask);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        if let Some(id) = self.id.take() {
            self.registry.deregister(&id);
        }
        self.set_attach_deadline();
        if matches!(self.lifetime, Lifetime::Visits { .. }) && !self.state.is_authenticated {
            self.count_guess();
        }
        let reason = match &self.phase {
            HttpSessionPhase::Open => Disconnect::ABNORMAL,
            HttpSessionPhase::Ended { reason, .. } | HttpSessionPhase::Over(reason) => reason.clone(),
        };
        self.state.deregister(&reason);
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
        if let HttpSessionPhase::Ended { reason, .. } = &self.phase
            && signal.disconnect().is_some()
            && self.state.runner.node.lifecycle.is_draining()
        {
            // It ended before; a node that goes down does not wait for somebody to tell it to.
            self.phase = HttpSessionPhase::Over(reason.clone());
            self.state.outbox.wake();
        }
        if self.is_open() && is_for_session {
            let mut actions = Actions::default();
            self.state.session.signal(signal, now, &mut actions);
            self.run_actions(&mut actions, ctx);
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

    fn is_open(&self) -> bool {
        matches!(self.phase, HttpSessionPhase::Open)
    }

    fn end(&mut self, reason: Disconnect) {
        self.end_as(&reason.clone(), reason);
    }

    fn refuse(&mut self, refused: Refused) {
        if !self.is_open() {
            return;
        }
        self.leave_node();
        if let Some(response) = self.response.take() {
            response.pipe.begin(Err(refused.clone()));
        }
        self.phase = HttpSessionPhase::Over(refused.disconnect());
        self.state.outbox.wake();
    }

    fn input_bytes(&mut self) -> usize {
        let inbound: usize = self.inbound.iter().map(InboundMessages::bytes).sum();
        inbound + self.state.session.input_bytes()
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
        match &self.phase {
            HttpSessionPhase::Open => {
                let quiet_by = self.heartbeat_deadline.filter(|_| self.response.is_some());
                [self.attach_deadline, quiet_by].into_iter().flatten().min()
            }
            HttpSessionPhase::Ended { by, .. } => Some(*by),
            HttpSessionPhase::Over(_) => None,
        }
    }
}

impl HttpSession {
    /// Ends an open session: it hears of one reason, its client of another.
    fn end_as(&mut self, heard: &Disconnect, reason: Disconnect) {
        if !self.is_open() {
            return;
        }
        self.leave_node();
        // A response that nobody reads any more tells nobody.
        self.response.take_if(|response| response.pipe.is_abandoned());
        self.phase = match self.lifetime {
            Lifetime::Visits { patience, .. } => {
                // The session hears now that it is over; only the news of it goes on.
                self.state.close_session(heard);
                self.state.permit = None;
                HttpSessionPhase::Ended { reason, by: Instant::now() + patience }
            }
            Lifetime::Response if self.response.is_some() => {
                HttpSessionPhase::Ended { reason, by: Instant::now() }
            }
            Lifetime::Response => HttpSessionPhase::Over(reason),
        };
        self.tell_end();
        self.state.outbox.wake();
    }

    /// The session is over: it leaves its channels now.
    fn leave_node(&mut self) {
        self.state.session.ending();
        self.state.runner.worker.leave_all(self.state.runner.key);
        self.inbound = VecDeque::new();
        self.set_attach_deadline();
    }

    /// Tells the response that is there, if one is, why the session has ended. Where nothing else is left to bring, the
    /// session is over, and the registry tells those who still come.
    fn tell_end(&mut self) {
        self.tell_end_to_response();
        let (HttpSessionPhase::Ended { reason, by }, Lifetime::Visits { most, .. }) =
            (&self.phase, self.lifetime)
        else {
            return;
        };
        let (reason, by) = (reason.clone(), *by);
        let has_more = !self.state.outbox.is_empty() && self.state.outbox.overflow().is_none();
        if has_more && (self.attach_deadline.is_some() || self.begin_waiting(by, most)) {
            return;
        }
        if let Some(id) = self.id.take() {
            self.registry.expire(id, reason.clone(), by);
        }
        self.phase = HttpSessionPhase::Over(reason);
    }

    fn tell_end_to_response(&mut self) {
        let HttpSessionPhase::Ended { reason, .. } = &self.phase else { return };
        let Some(Response { pipe, mut writer }) = self.response.take() else { return };
        pipe.widen();
        // What is over its limit is not sent on: nothing that is missing is hidden by what comes later.
        if self.state.outbox.overflow().is_none() {
            writer.write(&self.state.outbox, &pipe);
        }
        let is_told_again = matches!(self.lifetime, Lifetime::Visits { .. });
        if writer.is_done() && is_told_again {
            // It carried what waited; the next one brings the end.
            return;
        }
        writer.close_message(reason, &pipe);
        if !is_told_again || self.state.runner.node.lifecycle.is_draining() {
            self.phase = HttpSessionPhase::Over(reason.clone());
        }
    }

    /// The response was broken off by the client or the network.
    fn lose_broken_response(&mut self) {
        if self.is_open() && matches!(self.lifetime, Lifetime::Visits { .. }) {
            self.response = None;
            // To the session it is a connection lost; the client, should it come back, knows it by another code.
            self.end_as(&Disconnect::ABNORMAL, Disconnect::INTERRUPTED);
        }
        self.lose_response(Disconnect::ABNORMAL);
    }

    /// The response is gone or has all that it may carry: the session ends with it, or waits for its next one.
    fn lose_response(&mut self, reason: Disconnect) {
        self.response = None;
        if let Some(next) = self.next.take() {
            return self.attach_response(next);
        }
        if !self.is_open() {
            return;
        }
        match self.lifetime {
            Lifetime::Visits { patience, most, .. } => {
                if !self.begin_waiting(Instant::now() + patience, most) {
                    self.end(too_many_wait());
                }
            }
            Lifetime::Response => {
                self.leave_node();
                self.phase = HttpSessionPhase::Over(reason);
            }
        }
    }
}
