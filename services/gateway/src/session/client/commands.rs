//! Commands run in the order in which they came. One that has to wait holds back those behind it, bounded: all of them, or, where
//! proxies are configured and it may wait long, those of its lane.

use std::collections::VecDeque;

use gorani_protocol::client::{self, ClientCommand, ClientRequest, DecodeError};

use super::{
    ClientSession, ClientState,
    lane::{CommandLane, WaitingCommand, channel_of},
    state::{ClientSubscription, ProxiedCommand},
};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    event_log::{commands::kept_name, event::CommandEvent},
    metrics::commands::CommandKind,
    session::{Actions, Now},
};

/// Requests to the node under way at a time; more wait, so that a client cannot flood the broker.
pub(super) const PENDING_REQUESTS: usize = 64;

impl ClientSession {
    /// Runs one command, or keeps it if it has to wait.
    pub(super) fn take_command(&mut self, encoded: &[u8], now: Now, actions: &mut Actions) {
        // A pong waits for nothing: behind a request that takes long it would come too late.
        let waits = !self.waiting.is_empty() || self.budget.is_over();
        let waits = waits && !self.traits.form.is_pong(encoded) && !self.may_overtake(encoded);
        if waits || !self.run_encoded(encoded, now, actions) {
            self.waiting_bytes = self.waiting_bytes.saturating_add(WaitingCommand::bytes(encoded));
            let lane = if self.calls.is_some() {
                CommandLane::of_encoded(self.traits.form, encoded)
            } else {
                CommandLane::default()
            };
            self.waiting.push_back(WaitingCommand { encoded: encoded.into(), lane });
        }
    }

    /// True if no command that waits is of the lane of this one. Without proxies no command waits long, and all are of one lane.
    fn may_overtake(&self, encoded: &[u8]) -> bool {
        if self.calls.is_none() || self.budget.is_over() || self.holds_all() {
            return false;
        }
        let lane = CommandLane::of_encoded(self.traits.form, encoded);
        !self.waiting.iter().any(|before| lane.keeps_order_with(before.lane))
    }

    /// Runs what waited, as far as it can in this step.
    pub(super) fn run_waiting(&mut self, now: Now, actions: &mut Actions) {
        if self.calls.is_some() {
            self.run_lanes(now, actions);
        } else {
            self.run_in_order(now, actions);
        }
        if self.waiting.is_empty() {
            self.forget_waiting();
        }
    }

    fn run_in_order(&mut self, now: Now, actions: &mut Actions) {
        while !self.budget.is_over()
            && let Some(waiting) = self.waiting.pop_front()
        {
            if !self.run_encoded(&waiting.encoded, now, actions) {
                self.waiting.push_front(waiting);
                return;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(WaitingCommand::bytes(&waiting.encoded));
        }
    }

    /// Each lane as far as it can go.
    fn run_lanes(&mut self, now: Now, actions: &mut Actions) {
        let (mut index, mut held): (usize, Vec<CommandLane>) = (0, Vec::new());
        while !self.budget.is_over()
            && !self.holds_all()
            && let Some(waiting) = self.waiting.get_mut(index)
        {
            let lane = waiting.lane;
            let mut runs = false;
            if !held.iter().any(|before| lane.keeps_order_with(*before)) {
                let encoded = std::mem::take(&mut waiting.encoded);
                runs = self.run_encoded(&encoded, now, actions);
                if runs {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(WaitingCommand::bytes(&encoded));
                    // A session that it ended has none left.
                    self.waiting.remove(index);
                } else if let Some(waiting) = self.waiting.get_mut(index) {
                    waiting.encoded = encoded;
                }
            }
            if !runs {
                held.push(lane);
                index += 1;
            }
        }
    }

    /// True if every command has to wait: for the connect, for room among the requests, or for the end.
    fn holds_all(&self) -> bool {
        matches!(self.state, ClientState::Asked | ClientState::Connecting(_))
            || self.pending.len() >= PENDING_REQUESTS
            || self.calls.as_ref().is_some_and(|calls| calls.ending.is_some())
    }

    pub(super) fn forget_waiting(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// Runs one command as it came. False if it has to wait.
    fn run_encoded(&mut self, encoded: &[u8], now: Now, actions: &mut Actions) -> bool {
        if matches!(self.state, ClientState::Ended) {
            return true;
        }
        match self.traits.form.decode(encoded) {
            Ok(command) if self.has_to_wait(&command) => return false,
            Ok(command) => {
                self.budget.count(encoded.len());
                self.run(command, now, actions);
            }
            Err(DecodeError::Malformed(_)) => self.close(Disconnect::BAD_REQUEST, actions),
            Err(DecodeError::Invalid { reason, .. })
                if matches!(self.state, ClientState::New) && reason != client::Invalid::Unreadable =>
            {
                self.close(Disconnect::BAD_REQUEST, actions);
            }
            Err(DecodeError::Invalid { id, reason }) => {
                self.budget.count(encoded.len());
                let error = match reason {
                    client::Invalid::NoData | client::Invalid::Unreadable => ErrorCode::BAD_REQUEST,
                    client::Invalid::NotAvailable => ErrorCode::NOT_AVAILABLE,
                };
                self.command = CommandKind::Unreadable;
                self.refuse(id, error, actions);
            }
        }
        true
    }

    /// True if a command must not run yet.
    fn has_to_wait(&self, command: &ClientCommand<'_>) -> bool {
        if matches!(command.request, ClientRequest::Pong) {
            return false;
        }
        if self.holds_all() || (self.calls.is_some() && self.is_lane_busy(&command.request)) {
            return true;
        }
        if matches!(command.request, ClientRequest::History(_) | ClientRequest::Presence { .. })
            && self.pending.values().filter(|pending| pending.is_heavy_read()).count()
                + self.large_replies.len()
                >= self.policy.settings.max_reads
        {
            return true;
        }
        let Some(channel) = channel_of(&command.request) else { return false };
        self.subscription(channel).is_some_and(ClientSubscription::is_under_way)
    }

    /// True if the backend is asked about a command that is to run before this one.
    fn is_lane_busy(&self, request: &ClientRequest<'_>) -> bool {
        let asked = || self.pending.values().filter_map(|pending| pending.proxied());
        match request {
            ClientRequest::Rpc { .. } => {
                let calls = asked().filter(|command| matches!(command, ProxiedCommand::Rpc { .. })).count();
                calls >= self.policy.proxies.rpc.concurrency.get()
            }
            ClientRequest::Publish(_) => {
                asked().any(|command| matches!(command, ProxiedCommand::Publish { .. }))
            }
            request => channel_of(request).is_some_and(|name| {
                asked().any(|command| match command {
                    ProxiedCommand::Publish { channel, .. } => **channel == *name,
                    _ => false,
                })
            }),
        }
    }

    fn run(&mut self, command: ClientCommand<'_>, now: Now, actions: &mut Actions) {
        let id = command.id;
        self.command = kind_of(&command.request);
        if let Some(activity) = &mut self.activity
            && !matches!(command.request, ClientRequest::Pong)
        {
            activity.set_command(self.command, now.unix_ms);
        }
        if matches!(self.state, ClientState::New) {
            return match command.request {
                ClientRequest::Connect(connect) => self.connect(id, &connect, now, actions),
                _ => self.close(Disconnect::BAD_REQUEST, actions),
            };
        }
        self.note_command(id, &command.request);
        match command.request {
            ClientRequest::Connect(_) => self.close(Disconnect::BAD_REQUEST, actions),
            ClientRequest::Pong => {
                if !self.take_pong(now) && !self.traits.native_ping {
                    self.close(Disconnect::BAD_REQUEST, actions);
                }
            }
            ClientRequest::Subscribe(subscribe) => self.subscribe(id, &subscribe, now, actions),
            ClientRequest::Unsubscribe { channel } => self.unsubscribe(id, &channel, actions),
            ClientRequest::Publish(publish) => self.publish(id, &publish, now, actions),
            ClientRequest::History(history) => self.history(id, &history, actions),
            ClientRequest::Presence { channel } => self.presence(id, &channel, false, actions),
            ClientRequest::PresenceStats { channel } => self.presence(id, &channel, true, actions),
            ClientRequest::Refresh { token } => self.refresh(id, &token, now, actions),
            ClientRequest::SubRefresh { channel, token } => {
                self.sub_refresh(id, &channel, &token, now, actions)
            }
            ClientRequest::Rpc { method, data } => self.rpc(id, &method, data.as_ref(), actions),
            // A send has no reply, and nothing is dropped in silence.
            ClientRequest::Send { .. } => self.close(Disconnect::NOT_AVAILABLE, actions),
        }
    }
}

impl ClientSession {
    /// Notes a command that runs, where an operator follows its user.
    fn note_command(&self, id: u32, request: &ClientRequest<'_>) {
        let log = &self.policy.command_log;
        if !log.is_on() || matches!(request, ClientRequest::Connect(_) | ClientRequest::Pong) {
            return;
        }
        let method = if let ClientRequest::Rpc { method, .. } = request { Some(&**method) } else { None };
        log.note(&self.identity.user, || CommandEvent {
            channel: channel_of(request).map(kept_name),
            method: method.map(kept_name),
            ..self.command_event(id, request.kind())
        });
    }

    /// Counts a command that is answered with an error, and notes it where an operator follows its user.
    pub(super) fn count_refused(&self, id: u32, code: u32) {
        self.policy.counts.count_error(self.command, code);
        let log = &self.policy.command_log;
        if log.is_on() {
            log.note_refused(&CommandEvent {
                code: Some(code),
                ..self.command_event(id, self.command.name())
            });
        }
    }

    fn command_event(&self, id: u32, command: &'static str) -> CommandEvent {
        CommandEvent {
            client: self.identity.client.clone(),
            user: self.identity.user.clone(),
            command: command.into(),
            id,
            ..CommandEvent::default()
        }
    }
}

/// The kind of a command, for the counters of errors.
fn kind_of(request: &ClientRequest<'_>) -> CommandKind {
    match request {
        ClientRequest::Connect(_) | ClientRequest::Pong => CommandKind::Connect,
        ClientRequest::Subscribe(_) => CommandKind::Subscribe,
        ClientRequest::Unsubscribe { .. } => CommandKind::Unsubscribe,
        ClientRequest::Publish(_) => CommandKind::Publish,
        ClientRequest::History(_) => CommandKind::History,
        ClientRequest::Presence { .. } => CommandKind::Presence,
        ClientRequest::PresenceStats { .. } => CommandKind::PresenceStats,
        ClientRequest::Refresh { .. } => CommandKind::Refresh,
        ClientRequest::SubRefresh { .. } => CommandKind::SubRefresh,
        ClientRequest::Rpc { .. } | ClientRequest::Send { .. } => CommandKind::Rpc,
    }
}
