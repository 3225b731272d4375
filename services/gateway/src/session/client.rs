//! The session of the client protocol, in either of its forms: commands in, replies and requests to the node out.
//!
//! Commands run in the order in which they came; a command that has to wait (for the connect to end, for a subscribe of
//! the same channel) holds back those behind it, bounded. Where proxies are configured it holds back those of its lane. The session stands between connection and node.
//! `docs/protocols/client.md` §11.
//!
//! - `commands`: in order, and which have to wait.
//! - `connect`: from the first command to the reply.
//! - `subscriptions`: subscribe, unsubscribe, sub_refresh; `server_side`: those that the server makes and ends.
//! - [`receiver`]: the session of a receiver, without commands; `asked_channels`: the backend's word on its channels;
//!   [`asked_poll`]: a poll before it is one.
//! - `requests`: publish, history, presence; `proxied`: what the backend is asked, `asked_connect` and `expiry` before and after.
//! - `ping`: pings, and those that operators ask for.
//! - `timer`: expiry and refresh of the connection.
//!
//! The session is made of these, which do not know it:
//! - `lane`: which commands keep their order; `receive_query`: what a receiver asks for.
//! - `state`: what it holds: subscriptions, pending requests, deadlines.
//! - `large_reply`: replies of megabytes.
//! - `activity`: what operators see of the client.

mod activity;
mod asked_channels;
mod asked_connect;
pub mod asked_poll;
mod commands;
mod connect;
mod expiry;
mod lane;
mod large_reply;
mod ping;
mod proxied;
mod receive_query;
pub mod receiver;
mod requests;
mod server_side;
mod state;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timer;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use gorani_protocol::client::{self, ClientForm};
use tokio::time::Instant;

use self::{
    activity::ClientActivity,
    lane::WaitingCommand,
    large_reply::LargeReply,
    state::{ClientCalls, ClientDeadlines, ClientState, ClientSubscription, PendingRequest},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, ProxyError, Refused},
    metrics::commands::{CommandKind, SdkIndex},
    session::{
        Action, Actions, Incoming, Now, Outcome, Session, Signal, Ticket, session_methods,
        shared::{
            input_budget::InputBudget,
            login_limit::LoginLimit,
            policy::{ClientIdentity, Policy},
            proxied::SessionCalls,
        },
    },
};

/// Commands that may wait before the transport stops reading.
const WAITING_COMMANDS: usize = 256;

/// The traits of a transport that a session depends on.
#[derive(Debug, Clone, Default)]
pub struct TransportTraits {
    /// Ping with the transport's own ping frames instead of `{}` (`?cf_ws_frame_ping_pong=true`).
    pub native_ping: bool,
    /// The session's id, if commands come in requests of their own: the client gets it, and sends it with each.
    pub emulation: Option<Arc<str>>,
    /// The form of commands, and of replies and pushes to clients that send commands.
    pub form: ClientForm,
    /// The format of the session's output.
    pub format: OutputFormat,
    /// True if an object says why the session ends, although the transport has a way of its own.
    pub sends_disconnect: bool,
}

/// The format of a session's output to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// Replies and pushes, to clients that send commands.
    #[default]
    Commands,
    /// Objects without envelopes, to receivers.
    Plain,
    /// The same, each after a line with the position that it brings the receiver to: see [`crate::format::position`].
    WithPositions,
}

/// One client's session.
pub struct ClientSession {
    policy: Arc<Policy>,
    traits: TransportTraits,
    state: ClientState,
    identity: ClientIdentity,
    subscriptions: Vec<ClientSubscription>,
    pending: HashMap<Ticket, PendingRequest>,
    next_ticket: u32,
    /// Commands that wait for one before them, as they came.
    waiting: VecDeque<WaitingCommand>,
    /// Bytes of the waiting commands.
    waiting_bytes: u32,
    /// Replies that are being written, the oldest first; as long as there are any, heavy reads wait.
    large_replies: VecDeque<LargeReply>,
    budget: InputBudget,
    errors: u32,
    /// The command that runs or has its outcome, for the counters of errors.
    command: CommandKind,
    /// The label under which the connected client is counted.
    sdk: SdkIndex,
    clock: ClientDeadlines,
    /// The limit of failed logins; dropped once it is connected.
    login_limit: Option<Arc<dyn LoginLimit>>,
    /// Its calls to the backend, where some proxy is configured.
    calls: Option<Box<ClientCalls>>,
    /// Its description for operators, where the node serves the admin page.
    activity: Option<Box<ClientActivity>>,
}

impl ClientSession {
    /// A session for a transport that has just opened.
    pub fn new(policy: Arc<Policy>, traits: TransportTraits, now: Now) -> Self {
        let clock = ClientDeadlines::new(now.instant + policy.settings.connect_timeout);
        let calls = (!policy.proxies.is_empty()).then(Box::default);
        let activity = policy.describes_clients.then(Box::default);
        Self {
            policy,
            traits,
            state: ClientState::New,
            identity: ClientIdentity::default(),
            subscriptions: Vec::new(),
            pending: HashMap::new(),
            next_ticket: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            large_replies: VecDeque::new(),
            budget: InputBudget::default(),
            errors: 0,
            command: CommandKind::default(),
            sdk: SdkIndex::NONE,
            clock,
            login_limit: None,
            calls,
            activity,
        }
    }

    /// Asks the backend as this client. `None`: where no proxy is configured.
    #[must_use]
    pub fn with_calls(mut self, calls: Option<Box<SessionCalls>>) -> Self {
        if let Some(session) = calls {
            self.calls = Some(Box::new(ClientCalls { session: *session, ..ClientCalls::default() }));
        }
        self
    }

    /// Limits its failed logins.
    #[must_use]
    pub fn with_login_limit(mut self, limit: Arc<dyn LoginLimit>) -> Self {
        self.login_limit = Some(limit);
        self
    }

    pub(in crate::session) fn close(&mut self, disconnect: Disconnect, actions: &mut Actions) {
        if matches!(self.state, ClientState::Ended) {
            return;
        }
        self.forget_waiting();
        self.large_replies = VecDeque::new();
        let was_connected = matches!(self.state, ClientState::Connected);
        self.state = ClientState::Ended;
        if self.traits.format == OutputFormat::Commands {
            return actions.close(disconnect);
        }
        if !was_connected {
            return actions.push(Action::Refuse(Refused::Disconnect(disconnect)));
        }
        if self.traits.sends_disconnect {
            let code = u32::from(disconnect.code);
            actions.line(|out| client::plain::disconnect(code, &disconnect.reason, out));
        }
        actions.close(disconnect);
    }

    /// Answers a connect that failed.
    fn refuse_connect(&mut self, id: u32, refused: Refused, actions: &mut Actions) {
        self.policy.counts.disconnected(std::mem::take(&mut self.sdk));
        match refused {
            Refused::Error(_) | Refused::Backend(_) if self.traits.format != OutputFormat::Commands => {
                self.state = ClientState::Ended;
                actions.push(Action::Refuse(refused));
            }
            refused => self.refuse_command(id, refused, actions),
        }
    }

    /// Answers a command that is refused.
    fn refuse_command(&mut self, id: u32, refused: Refused, actions: &mut Actions) {
        match refused {
            Refused::Error(error) => self.refuse(id, error, actions),
            // What a backend refuses, or is not there to answer, is no fault of the client.
            Refused::Backend(ProxyError { code, message, temporary }) => {
                self.count_refused(id, code);
                let form = self.traits.form;
                actions.reply(form, |out| form.reply_error(id, code, &message, temporary, out));
            }
            Refused::Disconnect(disconnect) => self.close(disconnect, actions),
        }
    }

    fn ticket(&mut self, pending: PendingRequest) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        self.pending.insert(ticket, pending);
        ticket
    }

    /// Answers a command with an error. A client with too many errors is disconnected.
    fn refuse(&mut self, id: u32, error: ErrorCode, actions: &mut Actions) {
        self.count_refused(id, error.code);
        let form = self.traits.form;
        actions.reply(form, |out| form.reply_error(id, error.code, error.message, error.temporary, out));
        self.errors += 1;
        let limit = self.policy.settings.max_errors;
        if limit > 0 && self.errors > limit {
            self.close(Disconnect::TOO_MANY_ERRORS, actions);
        }
    }

    /// A command succeeded.
    fn count_success(&mut self) {
        self.errors = self.errors.saturating_sub(1);
    }
}

impl Session for ClientSession {
    session_methods!(none: poll_outside principal ending has_left failed);

    fn opened(&mut self, _now: Now, _actions: &mut Actions) {}

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        let form = self.traits.form;
        let frame = match (message, form) {
            (Incoming::Text(text), ClientForm::Json) => text.as_bytes(),
            (Incoming::Binary(data), ClientForm::Protobuf) => data,
            _ => return self.close(Disconnect::INAPPROPRIATE_PROTOCOL, actions),
        };
        if let Some(activity) = &mut self.activity {
            activity.add_input(frame.len());
        }
        let mut messages = form.messages(frame).peekable();
        if messages.peek().is_none() {
            return self.close(Disconnect::BAD_REQUEST, actions);
        }
        self.budget.begin();
        for encoded in messages {
            match encoded {
                Ok(encoded) => self.take_command(encoded, now, actions),
                Err(_) => return self.close(Disconnect::BAD_REQUEST, actions),
            }
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        match signal {
            Signal::Timer => self.timer(now, actions),
            Signal::Disconnect(disconnect) => self.end_after_calls(disconnect, now, actions),
            Signal::Insufficient(channel) => self.lose_position(&channel, actions),
            Signal::EpochEnded(ended) => self.epoch_ended(*ended, now),
            Signal::Ping(answer) => self.ping_now(answer, now, actions),
            Signal::Describe(answer) => answer.give(self.detail(now)),
            Signal::CheckPermission(check) => self.check_permission(&check, actions),
            Signal::Command(command) if command.concerns_session(self.traits.emulation.as_deref()) => {
                self.run_backend_command(&command, now, actions);
            }
            Signal::Command(_) => {}
        }
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        let Some(pending) = self.pending.remove(&ticket) else { return };
        if self.pending.is_empty() {
            self.pending = HashMap::new();
        }
        if matches!(self.state, ClientState::Ended) {
            return;
        }
        self.command = pending.command();
        self.on_outcome(ticket, pending, outcome, now, actions);
        self.run_waiting(now, actions);
        self.look_at_ending(now, actions);
    }

    fn pong(&mut self, now: Now) {
        self.take_pong(now);
    }

    fn deadline(&self) -> Option<Instant> {
        if matches!(self.state, ClientState::Ended) {
            return None;
        }
        let ends_by = self.calls.as_ref().and_then(|calls| calls.ends_by());
        self.clock.deadline().into_iter().chain(ends_by).min()
    }

    fn has_connected(&self) -> bool {
        matches!(self.state, ClientState::Connected)
    }

    fn is_blocked(&self) -> bool {
        self.waiting.len() >= WAITING_COMMANDS
    }

    fn has_more(&self) -> bool {
        !self.large_replies.is_empty() || (self.budget.is_over() && !self.waiting.is_empty())
    }

    fn input_bytes(&self) -> usize {
        self.waiting_bytes as usize + self.calls.as_ref().map_or(0, |calls| calls.bytes as usize)
    }

    fn resume(&mut self, now: Now, actions: &mut Actions) {
        Policy::renew(&mut self.policy);
        self.budget.begin();
        if !self.write_large_reply(now, actions) || self.large_replies.is_empty() {
            self.run_waiting(now, actions);
        }
    }

    fn closed(&mut self, _disconnect: &Disconnect) {
        self.state = ClientState::Ended;
        self.policy.counts.disconnected(std::mem::take(&mut self.sdk));
    }
}
