//! The session of STOMP 1.0, 1.1 and 1.2: frames in, frames and requests to the node out. `docs/protocols/stomp.md`.
//!
//! Frames run in the order in which they came. A SEND does not wait for the one before it; a SUBSCRIBE holds back what
//! follows until it is live, so that a client gets what it sends next. Receipts leave in the order of their frames.
//! A failure is reported with an ERROR, and ends the connection. The same for WebSocket, SockJS and TCP.
//!
//! - `connect`: the first frame and who may send it.
//! - `destination`: what the destinations name.
//! - `input`: frames in order; `subscriptions`, `consumer`, `send`, `rpc`: what clients ask for.
//! - `answers`: what follows from answers of the backend; `signals`: from its commands and reloads; `failure`: what an ERROR says.
//!
//! The session is made of these, which do not know it:
//! - `state`: what it holds: subscriptions, with what they missed and what is to be acknowledged, and deadlines.
//! - `transactions`; `receipts`: answers in order; `calls`, `rpc_call`: what the backend is asked, and what waits for that.

mod answers;
mod calls;
mod connect;
mod consumer;
mod destination;
mod failure;
mod input;
mod receipts;
mod rpc;
mod rpc_call;
mod send;
mod signals;
mod state;
mod subscriptions;
#[cfg(test)]
mod tests;
mod transactions;

use std::{collections::VecDeque, sync::Arc};

use bytes::BytesMut;
use gorani_protocol::stomp::{StompCommand, StompDecoder, StompFrame, StompLimits, Version, encode};
use tokio::time::Instant;

use self::{
    calls::StompCalls,
    failure::Failure,
    receipts::Receipts,
    state::{Access, RecoveryInProgress, StompDeadlines, StompState, StompSubscription},
    transactions::Transactions,
};
use crate::{
    disconnect::Disconnect,
    format::message_headers::FrameStyle,
    session::{
        Action, Actions, Incoming, MessageKind, Now, Outcome, Session, Signal, Ticket, session_methods,
        shared::{
            deadlines::is_due,
            input_budget::InputBudget,
            login_limit::LoginLimit,
            policy::{ClientIdentity, Policy},
            proxied::SessionCalls,
        },
    },
    settings::StompSettings,
};

/// Frames that may wait before the transport stops reading.
const WAITING_FRAMES: usize = 256;
/// Bytes of waiting frames from which on the transport stops reading; what one read brought is still taken.
const WAITING_BYTES: usize = 256 * 1024;

/// The traits of a transport that a session depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StompTraits {
    /// It carries text alone.
    pub text_only: bool,
    /// It has pings of its own that every client answers: WebSocket's.
    pub has_pings: bool,
    /// Its frames follow each other in one stream of bytes, and an EOL stands behind each.
    pub trailing_eol: bool,
}

/// One client's session.
pub struct StompSession {
    policy: Arc<Policy>,
    settings: Arc<StompSettings>,
    state: StompState,
    version: Version,
    traits: StompTraits,
    decoder: StompDecoder,
    identity: ClientIdentity,
    access: Access,
    subscriptions: Vec<StompSubscription>,
    receipts: Receipts,
    transactions: Transactions,
    /// Frames that wait for one before them.
    waiting: VecDeque<StompFrame>,
    waiting_bytes: usize,
    /// Recoveries that are being written, the oldest first.
    recovering: VecDeque<RecoveryInProgress>,
    budget: InputBudget,
    /// Bytes behind the waiting frames that are not decoded: the step was over, or too many frames wait.
    undecoded: BytesMut,
    /// The error of input behind the waiting frames that cannot be read.
    unreadable: Option<Failure>,
    /// Queues that were left while messages of them were waited for.
    left_queues: Vec<(Ticket, Arc<str>)>,
    /// Messages of queues that were sent to the client.
    serial: u64,
    /// Frames that failed and did not end the session.
    errors: u32,
    clock: StompDeadlines,
    /// The calls to the backend; absent where no proxy is configured.
    calls: Option<Box<StompCalls>>,
    /// The limit of failed logins; dropped once it is open.
    login_limit: Option<Arc<dyn LoginLimit>>,
}

impl StompSession {
    /// A session for a transport that has just opened.
    pub fn new(policy: Arc<Policy>, settings: Arc<StompSettings>, traits: StompTraits, now: Now) -> Self {
        let decoder = StompDecoder::new(StompLimits {
            headers: settings.max_headers,
            header_bytes: settings.header_max_bytes,
            head_bytes: settings.head_max_bytes,
            body_bytes: settings.body_max_bytes,
        });
        Self {
            clock: StompDeadlines::new(now, settings.connect_timeout),
            policy,
            settings,
            state: StompState::New,
            version: Version::V1_0,
            traits,
            decoder,
            identity: ClientIdentity::default(),
            access: Access::default(),
            subscriptions: Vec::new(),
            receipts: Receipts::default(),
            transactions: Transactions::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            recovering: VecDeque::new(),
            budget: InputBudget::default(),
            undecoded: BytesMut::new(),
            unreadable: None,
            left_queues: Vec::new(),
            serial: 0,
            errors: 0,
            calls: None,
            login_limit: None,
        }
    }

    /// Limits its failed logins.
    #[must_use]
    pub fn with_login_limit(mut self, limit: Arc<dyn LoginLimit>) -> Self {
        self.login_limit = Some(limit);
        self
    }

    /// Asks the backend, as the client of a request.
    #[must_use]
    pub fn with_calls(mut self, calls: Option<Box<SessionCalls>>) -> Self {
        self.calls = calls.map(|calls| Box::new(StompCalls::new(calls)));
        self
    }

    fn style(&self) -> FrameStyle {
        FrameStyle {
            version: self.version,
            text_only: self.traits.text_only,
            trailing_eol: self.traits.trailing_eol,
        }
    }

    fn end(&mut self, disconnect: Disconnect, actions: &mut Actions) {
        if self.state != StompState::Ended {
            self.state = StompState::Ended;
            self.forget_input();
            actions.close(disconnect);
        }
    }

    /// Gives back what is kept of the input.
    fn forget_input(&mut self) {
        self.recovering = VecDeque::new();
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.undecoded = BytesMut::new();
        self.decoder.forget();
        self.transactions = Transactions::default();
        if let Some(calls) = &mut self.calls {
            calls.forget();
        }
    }

    /// Tells what failed, and ends. `docs/protocols/stomp.md` §9.3 and §10.
    fn fail(&mut self, failure: Failure, actions: &mut Actions) {
        if matches!(self.state, StompState::New | StompState::Entering(_) | StompState::Open) {
            failure.write(self.style(), actions);
        }
        self.end(failure.disconnect, actions);
    }

    /// Does what is due: heart-beats, pings, expiry, the end. `docs/protocols/stomp.md` §2.12, §3 and §10.5.
    pub(super) fn timer(&mut self, now: Now, actions: &mut Actions) {
        if is_due(self.clock.leave_by, now) {
            return self.end(Disconnect::NORMAL, actions);
        }
        if is_due(self.give_up_by(), now) {
            return self.give_up(now, actions);
        }
        if self.state == StompState::Leaving {
            return;
        }
        if is_due(self.clock.connect_by, now) {
            let failure = match self.state {
                // It has done its part, and is to come again.
                StompState::Entering(_) => Failure::new(Disconnect::INTERNAL, "the CONNECT takes too long"),
                _ => Failure::new(Disconnect::STALE, "no CONNECT in time"),
            };
            return self.fail(failure, actions);
        }
        if is_due(self.clock.expires, now) && !self.ask_to_refresh(actions) {
            return self.fail(Failure::of_disconnect(Disconnect::EXPIRED), actions);
        }
        if is_due(self.clock.subscription_expires, now) && !self.ask_to_sub_refresh(now, actions) {
            return self.fail(Failure::of_disconnect(Disconnect::SUBSCRIPTION_EXPIRED), actions);
        }
        if !self.is_blocked() && self.clock.is_silent(now) {
            return self.fail(Failure::new(Disconnect::NO_PONG, "no heart-beat from the client"), actions);
        }
        if self.clock.is_unanswered(!self.is_blocked(), now) {
            return self.fail(Failure::new(Disconnect::NO_PONG, "no pong from the client"), actions);
        }
        let settings = &self.policy.settings;
        if self.clock.pings.take_due(settings.ping_interval, Some(settings.pong_timeout), now.instant) {
            actions.push(Action::Ping);
        }
        if self.clock.take_beat(now) {
            actions.message(MessageKind::Text, |out| out.extend_from_slice(encode::HEART_BEAT));
        }
    }
}

impl Session for StompSession {
    session_methods!(none: poll_outside principal failed);
    fn opened(&mut self, _now: Now, _actions: &mut Actions) {}

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        let mut bytes = match message {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(data) | Incoming::Part { data, .. } => data,
        };
        self.clock.on_input(now);
        self.begin_turn();
        if self.undecoded.is_empty() {
            self.decode(&mut bytes, now, actions);
        }
        self.undecoded.extend_from_slice(bytes);
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        match signal {
            Signal::Timer => self.timer(now, actions),
            Signal::Disconnect(disconnect) => self.end_in_order(disconnect, now, actions),
            Signal::Insufficient(channel) => {
                self.lose(&channel, Disconnect::INSUFFICIENT_STATE.reason.as_ref(), actions);
            }
            Signal::EpochEnded(_) | Signal::Ping(_) | Signal::Describe(_) => {} // Messages carry their epoch.
            Signal::Command(command) => self.run_backend_command(&command, now, actions),
            Signal::CheckPermission(check) => self.check_permission(&check, actions),
        }
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        if self.state == StompState::Ended {
            return;
        }
        let result = match outcome {
            Outcome::Entered(Ok(())) => {
                self.entered(now, actions);
                return self.go_on(now, actions);
            }
            Outcome::Entered(Err(disconnect)) => {
                return self
                    .fail(Failure::of_disconnect(disconnect).of(StompCommand::Connect, None), actions);
            }
            Outcome::Subscribed(Ok(subscribed)) if !subscribed.publications.is_empty() => {
                self.recovering.push_back(RecoveryInProgress::new(ticket, subscribed));
                // Mostly it is whole by one piece.
                self.write_recovered(now, actions);
                return;
            }
            Outcome::Subscribed(outcome) => self.subscribed(ticket, outcome, actions),
            Outcome::Published(outcome) => outcome.map(drop).map_err(Failure::from),
            Outcome::Acknowledged(outcome) => outcome.map_err(Failure::from),
            // After DISCONNECT a client gets nothing more: the messages go back when the session ends.
            Outcome::Fetched(_) if self.state == StompState::Leaving => Ok(()),
            Outcome::Fetched(fetched) => self.on_fetched(ticket, fetched, actions),
            // No other action of this session has a ticket.
            Outcome::History(_) | Outcome::Presence(_) | Outcome::PresenceStats(_) => Ok(()),
            Outcome::Proxied(outcome) => match self.answered(ticket, *outcome, now, actions) {
                Ok(false) => {
                    self.go_on(now, actions);
                    return self.end_when_answered(actions);
                }
                answered => answered.map(drop),
            },
        };
        let frame = self.receipts.done(ticket);
        if let Err(failure) = result {
            let receipt = frame.as_ref().and_then(|frame| frame.receipt.as_deref());
            return self.fail(failure.with_receipt(receipt), actions);
        }
        self.send_receipts(now, actions);
        self.go_on(now, actions);
        self.end_when_answered(actions);
    }

    fn pong(&mut self, now: Now) {
        self.clock.on_input(now);
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            StompState::Ended => None,
            // Nothing else is checked any more: a beat that is due would be due again at once.
            StompState::Leaving => self.clock.leave_by.or(self.give_up_by()),
            _ => [self.clock.deadline(!self.is_blocked()), self.give_up_by()].into_iter().flatten().min(),
        }
    }

    fn has_connected(&self) -> bool {
        matches!(self.state, StompState::Open | StompState::Leaving)
    }

    fn is_blocked(&self) -> bool {
        self.waiting.len() >= WAITING_FRAMES || self.waiting_bytes >= WAITING_BYTES
    }

    fn has_more(&self) -> bool {
        !self.recovering.is_empty()
            || (!self.undecoded.is_empty() && !self.is_blocked())
            || (self.budget.is_over() && !self.waiting.is_empty() && !self.next_has_to_wait())
    }

    fn resume(&mut self, now: Now, actions: &mut Actions) {
        self.begin_turn();
        if !self.write_recovered(now, actions) {
            self.go_on(now, actions);
        }
    }

    fn input_bytes(&self) -> usize {
        let undecoded = self.undecoded.capacity() + self.decoder.held_bytes();
        let called = self.calls.as_ref().map_or(0, |calls| calls.held_bytes());
        self.waiting_bytes + undecoded + self.transactions.held_bytes() + called
    }

    fn ending(&mut self) {
        self.forget_input();
    }

    fn has_left(&self) -> bool {
        self.state == StompState::Leaving
    }

    fn closed(&mut self, _disconnect: &Disconnect) {
        self.state = StompState::Ended;
        self.forget_input();
    }
}
