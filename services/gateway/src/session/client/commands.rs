//! Commands run in the order in which they came. One that has to wait holds back those behind it, bounded.

use std::collections::VecDeque;

use gorani_protocol::client::{self, ClientCommand, ClientRequest, DecodeError};

use super::{ClientSession, ClientState, state::ClientSubscription};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    session::{Actions, Now},
};

/// Requests to the node under way at a time; more wait, so that a client cannot flood the broker.
const PENDING_REQUESTS: usize = 64;

impl ClientSession {
    /// Runs one command, or keeps it if it has to wait.
    pub(super) fn take_command(&mut self, encoded: &[u8], now: Now, actions: &mut Actions) {
        // A pong waits for nothing: behind a request that takes long it would come too late.
        let waits = !self.waiting.is_empty() || self.budget.is_over();
        if (waits && !self.traits.form.is_pong(encoded)) || !self.run_encoded(encoded, now, actions) {
            self.waiting_bytes = self.waiting_bytes.saturating_add(size_of_command(encoded));
            self.waiting.push_back(encoded.into());
        }
    }

    /// Runs what waited, as far as it can in this step.
    pub(super) fn run_waiting(&mut self, now: Now, actions: &mut Actions) {
        while !self.budget.is_over()
            && let Some(encoded) = self.waiting.pop_front()
        {
            if !self.run_encoded(&encoded, now, actions) {
                self.waiting.push_front(encoded);
                return;
            }
            self.waiting_bytes = self.waiting_bytes.saturating_sub(size_of_command(&encoded));
        }
        if self.waiting.is_empty() {
            self.forget_waiting();
        }
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
        if matches!(self.state, ClientState::Connecting(_)) || self.pending.len() >= PENDING_REQUESTS {
            return true;
        }
        if matches!(command.request, ClientRequest::History(_) | ClientRequest::Presence { .. })
            && self.pending.values().filter(|pending| pending.is_heavy_read()).count()
                + self.large_replies.len()
                >= self.policy.settings.max_reads
        {
            return true;
        }
        let channel = match &command.request {
            ClientRequest::Subscribe(subscribe) => &subscribe.channel,
            ClientRequest::Unsubscribe { channel }
            | ClientRequest::Presence { channel }
            | ClientRequest::PresenceStats { channel }
            | ClientRequest::SubRefresh { channel, .. } => channel,
            ClientRequest::Publish(publish) => &publish.channel,
            ClientRequest::History(history) => &history.channel,
            _ => return false,
        };
        self.subscription(channel).is_some_and(ClientSubscription::is_under_way)
    }

    fn run(&mut self, command: ClientCommand<'_>, now: Now, actions: &mut Actions) {
        let id = command.id;
        if matches!(self.state, ClientState::New) {
            return match command.request {
                ClientRequest::Connect(connect) => self.connect(id, &connect, now, actions),
                _ => self.close(Disconnect::BAD_REQUEST, actions),
            };
        }
        match command.request {
            ClientRequest::Connect(_) => self.close(Disconnect::BAD_REQUEST, actions),
            ClientRequest::Pong => {
                if !self.clock.pings.take_pong() && !self.traits.native_ping {
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
            // There is no backend that takes either. A send has no reply, and nothing is dropped in silence.
            ClientRequest::Rpc { .. } => self.refuse(id, ErrorCode::NOT_AVAILABLE, actions),
            ClientRequest::Send { .. } => self.close(Disconnect::NOT_AVAILABLE, actions),
        }
    }
}

/// Bytes that a command holds while it waits, near enough.
fn size_of_command(encoded: &[u8]) -> u32 {
    u32::try_from(encoded.len() + size_of::<Box<[u8]>>()).unwrap_or(u32::MAX)
}
