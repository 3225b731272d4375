//! The session of the JSON client protocol: commands in, replies and requests to the node out.
//!
//! Commands run in the order in which they came; a command that has to wait (for the connect to end, for a subscribe of
//! the same channel) holds back those behind it, bounded. Between a transport's shell and the node.
//! `specs/client-protocol.md`.
//!
//! - [`policy`]: rules, tokens and limits. - [`connect`]: from the first command to the reply. - [`subscriptions`]:
//!   subscribe, unsubscribe, refresh of both kinds. - [`receive`]: for receivers without commands. - [`requests`]: publish, history, presence. - [`clock`]: heartbeats
//!   and expiry. - [`epochs`]: those that ended while the client stayed.

mod clock;
mod connect;
mod epochs;
pub mod policy;
mod receive;
mod requests;
mod subscriptions;
#[cfg(test)]
mod tests;
pub mod views;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use gorani_broker::ClientInfo;
use gorani_protocol::client::{self, Command, DecodeError, Request};
use tokio::time::Instant;

use self::{
    clock::Clock, connect::Connecting, policy::Policy, requests::PendingRequest, subscriptions::Subscription,
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    session::{
        Action, Actions, Incoming, Now, Outcome, Session, Signal, Ticket, login_limit::LoginLimit, step::Step,
    },
};

/// Requests to the node under way at a time; more wait, so that a client cannot flood the broker.
const PENDING_REQUESTS: usize = 64;
/// Commands that may wait before the transport stops reading.
const WAITING_COMMANDS: usize = 256;

/// What a transport tells the session of itself.
#[derive(Debug, Clone, Default)]
pub struct TransportTraits {
    /// Ping with the transport's own ping frames instead of `{}` (`?cf_ws_frame_ping_pong=true`).
    pub native_ping: bool,
    /// The session's id, where commands come in requests of their own: the client is told it, and sends it with each.
    pub emulation: Option<Arc<str>>,
    /// How it is spoken to.
    pub dialect: Dialect,
    /// Say why the session ends, in an object, although the transport has a way of its own.
    pub says_goodbye: bool,
}

/// How a session speaks to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// Replies and pushes, to clients that send commands.
    #[default]
    Commands,
    /// Objects without envelopes, to receivers.
    Bare,
    /// The same, each after a line with how far it brings the receiver: see [`crate::session::position`].
    Tracked,
}

/// Where a session stands.
enum State {
    /// Nothing but a connect will do.
    New,
    /// The connect is under way.
    Connecting(Box<Connecting>),
    /// Open.
    Connected,
    /// Over.
    Ended,
}

/// One client's session.
pub struct ClientSession {
    policy: Arc<Policy>,
    traits: TransportTraits,
    state: State,
    user: Arc<str>,
    client: Arc<str>,
    /// JSON of the token's info.
    info: Bytes,
    subscriptions: Vec<Subscription>,
    pending: HashMap<Ticket, PendingRequest>,
    next_ticket: u32,
    /// Lines that wait for a command before them.
    waiting: VecDeque<Box<[u8]>>,
    /// Their bytes.
    waiting_bytes: u32,
    step: Step,
    errors: u32,
    clock: Clock,
    /// Until it is connected.
    login_limit: Option<Arc<dyn LoginLimit>>,
}

impl ClientSession {
    /// A session for a transport that has just opened.
    pub fn new(policy: Arc<Policy>, traits: TransportTraits, now: Now) -> Self {
        let clock = Clock::new(now.instant + policy.settings.connect_timeout);
        Self {
            policy,
            traits,
            state: State::New,
            user: Arc::default(),
            client: Arc::default(),
            info: Bytes::new(),
            subscriptions: Vec::new(),
            pending: HashMap::new(),
            next_ticket: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            step: Step::default(),
            errors: 0,
            clock,
            login_limit: None,
        }
    }

    /// Limits its failed logins.
    #[must_use]
    pub fn with_login_limit(mut self, limit: Arc<dyn LoginLimit>) -> Self {
        self.login_limit = Some(limit);
        self
    }

    pub(in crate::session) fn close(&mut self, disconnect: Disconnect, actions: &mut Actions) {
        if matches!(self.state, State::Ended) {
            return;
        }
        self.forget_waiting();
        let was_connected = matches!(self.state, State::Connected);
        self.state = State::Ended;
        if self.traits.dialect == Dialect::Commands {
            return actions.close(disconnect);
        }
        if !was_connected {
            return actions.push(Action::Refuse(Refused::Disconnect(disconnect)));
        }
        if self.traits.says_goodbye {
            let code = u32::from(disconnect.code);
            actions.line(|out| client::bare::disconnect(code, &disconnect.reason, out));
        }
        actions.close(disconnect);
    }

    /// Answers a connect that leads nowhere.
    fn refuse_connect(&mut self, id: u32, refused: Refused, actions: &mut Actions) {
        match refused {
            Refused::Disconnect(disconnect) => self.close(disconnect, actions),
            Refused::Error(error) if self.traits.dialect == Dialect::Commands => {
                self.refuse(id, error, actions)
            }
            Refused::Error(_) => {
                self.state = State::Ended;
                actions.push(Action::Refuse(refused));
            }
        }
    }

    fn ticket(&mut self, pending: PendingRequest) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.pending.insert(ticket, pending);
        ticket
    }

    /// Answers a command with an error. A client that does nothing but fail is ended.
    fn refuse(&mut self, id: u32, error: ErrorCode, actions: &mut Actions) {
        actions.line(|out| client::reply::reply_error(id, error.code, error.message, error.temporary, out));
        self.errors += 1;
        let limit = self.policy.settings.max_errors;
        if limit > 0 && self.errors > limit {
            self.close(Disconnect::TOO_MANY_ERRORS, actions);
        }
    }

    /// A command went well.
    fn count_success(&mut self) {
        self.errors = self.errors.saturating_sub(1);
    }

    /// Who this client is in a channel.
    fn info_for(&self, channel_info: Bytes) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            connection_info: self.info.clone(),
            channel_info,
        })
    }

    /// Runs one line, or keeps it if it has to wait.
    fn take_line(&mut self, line: &[u8], now: Now, actions: &mut Actions) {
        if !self.waiting.is_empty() || self.step.is_over() || !self.run_line(line, now, actions) {
            self.waiting_bytes = self.waiting_bytes.saturating_add(size_of_line(line));
            self.waiting.push_back(line.into());
        }
    }

    /// Runs what waited, as far as it can in this step.
    fn run_waiting(&mut self, now: Now, actions: &mut Actions) {
        while !self.step.is_over()
            && let Some(line) = self.waiting.pop_front()
        {
            if !self.run_line(&line, now, actions) {
                self.waiting.push_front(line);
                return;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(size_of_line(&line));
        }
        if self.waiting.is_empty() {
            self.forget_waiting();
        }
    }

    fn forget_waiting(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// Runs one line. False if it has to wait.
    fn run_line(&mut self, line: &[u8], now: Now, actions: &mut Actions) -> bool {
        if matches!(self.state, State::Ended) {
            return true;
        }
        match client::decode(line, client::JSON_DEPTH) {
            Ok(command) if self.has_to_wait(&command) => return false,
            Ok(command) => {
                self.step.count(line.len());
                self.run(command, now, actions);
            }
            Err(DecodeError::Malformed(_)) => self.close(Disconnect::BAD_REQUEST, actions),
            Err(DecodeError::Invalid { .. }) if matches!(self.state, State::New) => {
                self.close(Disconnect::BAD_REQUEST, actions);
            }
            Err(DecodeError::Invalid { id, reason }) => {
                self.step.count(line.len());
                let error = match reason {
                    client::Invalid::NoData => ErrorCode::BAD_REQUEST,
                    client::Invalid::NotAvailable => ErrorCode::NOT_AVAILABLE,
                };
                self.refuse(id, error, actions);
            }
        }
        true
    }

    /// Whether a command must not run yet.
    fn has_to_wait(&self, command: &Command<'_>) -> bool {
        if matches!(command.request, Request::Pong) {
            return false;
        }
        if matches!(self.state, State::Connecting(_)) || self.pending.len() >= PENDING_REQUESTS {
            return true;
        }
        if matches!(command.request, Request::History(_) | Request::Presence { .. })
            && self.pending.values().filter(|pending| pending.is_heavy_read()).count()
                >= self.policy.settings.max_reads
        {
            return true;
        }
        let channel = match &command.request {
            Request::Subscribe(subscribe) => &subscribe.channel,
            Request::Unsubscribe { channel }
            | Request::Presence { channel }
            | Request::PresenceStats { channel }
            | Request::SubRefresh { channel, .. } => channel,
            Request::Publish(publish) => &publish.channel,
            Request::History(history) => &history.channel,
            _ => return false,
        };
        self.subscription(channel).is_some_and(Subscription::is_under_way)
    }

    fn run(&mut self, command: Command<'_>, now: Now, actions: &mut Actions) {
        let id = command.id;
        if matches!(self.state, State::New) {
            return match command.request {
                Request::Connect(connect) => self.connect(id, &connect, now, actions),
                _ => self.close(Disconnect::BAD_REQUEST, actions),
            };
        }
        match command.request {
            Request::Connect(_) => self.close(Disconnect::BAD_REQUEST, actions),
            Request::Pong => {
                if !self.clock.take_pong(self.traits.native_ping) {
                    self.close(Disconnect::BAD_REQUEST, actions);
                }
            }
            Request::Subscribe(subscribe) => self.subscribe(id, &subscribe, now, actions),
            Request::Unsubscribe { channel } => self.unsubscribe(id, &channel, actions),
            Request::Publish(publish) => self.publish(id, &publish, now, actions),
            Request::History(history) => self.history(id, &history, actions),
            Request::Presence { channel } => self.presence(id, &channel, false, actions),
            Request::PresenceStats { channel } => self.presence(id, &channel, true, actions),
            Request::Refresh { token } => self.refresh(id, &token, now, actions),
            Request::SubRefresh { channel, token } => self.sub_refresh(id, &channel, &token, now, actions),
            // Answered so until a backend can be wired; a send has no reply.
            Request::Rpc { .. } => self.refuse(id, ErrorCode::NOT_AVAILABLE, actions),
            Request::Send { .. } => {}
        }
    }
}

/// Bytes that a line holds while it waits, near enough.
fn size_of_line(line: &[u8]) -> u32 {
    u32::try_from(line.len() + size_of::<Box<[u8]>>()).unwrap_or(u32::MAX)
}

impl Session for ClientSession {
    fn opened(&mut self, _now: Now, _actions: &mut Actions) {}

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        let Incoming::Text(text) = message else {
            return self.close(Disconnect::INAPPROPRIATE_PROTOCOL, actions);
        };
        let mut lines = client::lines(text.as_bytes()).peekable();
        if lines.peek().is_none() {
            return self.close(Disconnect::BAD_REQUEST, actions);
        }
        self.step.begin();
        for line in lines {
            self.take_line(line, now, actions);
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        match signal {
            Signal::Timer => self.timer(now, actions),
            Signal::Disconnect(disconnect) => self.close(disconnect, actions),
            Signal::Unsubscribe(channel, why) => self.server_unsubscribe(&channel, why, actions),
            Signal::Insufficient(channel) => self.lose_place(&channel, actions),
            Signal::EpochEnded(ended) => self.epoch_ended(*ended, now),
            Signal::Subscribe(subscribe) => self.server_subscribe(*subscribe, actions),
            Signal::Refresh { expired, expire_at } => self.server_refresh(expired, expire_at, now, actions),
        }
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        if self.pending.is_empty() {
            self.pending = HashMap::new();
        }
        if matches!(self.state, State::Ended) {
            return;
        }
        self.settle(ticket, pending, outcome, now, actions);
        self.run_waiting(now, actions);
    }

    fn pong(&mut self, _now: Now) {
        self.clock.take_pong(true);
    }

    fn deadline(&self) -> Option<Instant> {
        if matches!(self.state, State::Ended) { None } else { self.clock.deadline() }
    }

    fn has_connected(&self) -> bool {
        matches!(self.state, State::Connected)
    }

    fn is_blocked(&self) -> bool {
        self.waiting.len() >= WAITING_COMMANDS
    }

    fn has_more(&self) -> bool {
        self.step.is_over() && !self.waiting.is_empty()
    }

    fn input_bytes(&self) -> usize {
        self.waiting_bytes as usize
    }

    fn resume(&mut self, now: Now, actions: &mut Actions) {
        self.step.begin();
        self.run_waiting(now, actions);
    }

    fn closed(&mut self, _disconnect: &Disconnect) {
        self.state = State::Ended;
    }
}

/// Adds an action for a channel whose reply is written.
fn release(channel: &Arc<str>, actions: &mut Actions) {
    actions.push(Action::Release(channel.clone()));
}
