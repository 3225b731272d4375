//! The calls to the backend of a session: what the backend is asked now, and what waits for its turn. `docs/protocols/stomp.md` §14.
//!
//! Two lanes keep an order: SENDs to channels and queues, with the steps of transactions, and calls of `/app`. A subscription that
//! the backend decides on is in neither.

use std::{collections::VecDeque, sync::Arc};

use gorani_broker::Position;
use tokio::time::Instant;

use super::{
    rpc_call::{RpcCall, RpcReply},
    transactions::{PendingCommit, ValidSend},
};
use crate::{
    disconnect::Disconnect,
    proxy_call::{ProxyId, ProxyRequest, SubscribeGrant},
    session::{Action, Ticket, shared::proxied::SessionCalls},
};

/// Bytes of what waits for answers from which on the next frame has to wait.
const HELD_BYTES: usize = 256 * 1024;

/// The calls of a session. There are none where no proxy is configured.
pub(super) struct StompCalls {
    pub(super) session: Box<SessionCalls>,
    asked: Vec<(Ticket, AskedFor)>,
    /// Behind a SEND that the backend is asked about.
    sends: VecDeque<(Ticket, PendingCommit)>,
    /// Behind as many calls of `/app` as may be under way.
    rpcs: VecDeque<(Ticket, Box<RpcCall>)>,
    /// Bytes of all of them.
    held_bytes: usize,
    /// The channels that came with the answer to CONNECT.
    pub(super) granted: Vec<(Box<str>, SubscribeGrant)>,
    /// The end that waits until what was asked is answered.
    pub(super) ending: Option<Disconnect>,
    /// The time until which a session that is to end waits for answers.
    pub(super) give_up_by: Option<Instant>,
}

/// The reason for a call.
#[derive(Debug)]
pub(super) enum AskedFor {
    /// CONNECT. True: it brought a passcode.
    Connect(bool),
    /// The session has reached its expiry.
    Refresh,
    /// A SUBSCRIBE that recovers from here; its subscription has the ticket of the call.
    Subscribe(Option<Position>),
    /// Subscriptions of the channel have reached their expiry.
    SubRefresh(Arc<str>),
    /// A SEND to a channel.
    Publish(Box<ValidSend>),
    /// A SEND or SUBSCRIBE of `/app`.
    Rpc(RpcReply),
}

impl AskedFor {
    fn bytes(&self) -> usize {
        match self {
            Self::Publish(send) => send.bytes(),
            _ => 0,
        }
    }
}

impl StompCalls {
    pub(super) fn new(session: Box<SessionCalls>) -> Self {
        Self {
            session,
            asked: Vec::new(),
            sends: VecDeque::new(),
            rpcs: VecDeque::new(),
            held_bytes: 0,
            granted: Vec::new(),
            ending: None,
            give_up_by: None,
        }
    }

    /// A call, noted with what it is made for.
    pub(super) fn ask(
        &mut self,
        (ticket, asked): (Ticket, AskedFor),
        proxy: ProxyId,
        request: ProxyRequest,
    ) -> Action {
        self.held_bytes += asked.bytes();
        self.asked.push((ticket, asked));
        Action::Proxy(ticket, self.session.ask(proxy, request))
    }

    /// The call of this ticket is answered.
    pub(super) fn answered(&mut self, ticket: Ticket) -> Option<AskedFor> {
        let index = self.asked.iter().position(|(asked, _)| *asked == ticket)?;
        let (_, asked) = self.asked.swap_remove(index);
        self.held_bytes -= asked.bytes();
        if self.asked.is_empty() {
            self.asked = Vec::new();
        }
        Some(asked)
    }

    fn is_asked(&self, is_it: impl Fn(&AskedFor) -> bool) -> bool {
        self.asked.iter().any(|(_, asked)| is_it(asked))
    }

    /// True if a frame of the client waits for an answer.
    pub(super) fn is_awaited(&self) -> bool {
        !self.sends.is_empty()
            || !self.rpcs.is_empty()
            || self.is_asked(|asked| !matches!(asked, AskedFor::Refresh | AskedFor::SubRefresh(_)))
    }

    /// True if a SEND has to wait for one before it.
    pub(super) fn holds_sends(&self) -> bool {
        !self.sends.is_empty() || self.is_asked(|asked| matches!(asked, AskedFor::Publish(_)))
    }

    pub(super) fn hold_send(&mut self, ticket: Ticket, step: PendingCommit) {
        self.held_bytes += step.bytes();
        self.sends.push_back((ticket, step));
    }

    /// The next SEND or step of a transaction, unless the backend is asked about the one before it.
    pub(super) fn next_send(&mut self) -> Option<(Ticket, PendingCommit)> {
        if self.is_asked(|asked| matches!(asked, AskedFor::Publish(_))) {
            return None;
        }
        let next = self.sends.pop_front();
        match &next {
            Some((_, step)) => self.held_bytes -= step.bytes(),
            None => self.sends = VecDeque::new(),
        }
        next
    }

    pub(super) fn hold_rpc(&mut self, ticket: Ticket, call: Box<RpcCall>) {
        self.held_bytes += call.bytes();
        self.rpcs.push_back((ticket, call));
    }

    /// The next call of `/app`, unless so many are under way.
    pub(super) fn next_rpc(&mut self, most: usize) -> Option<(Ticket, Box<RpcCall>)> {
        if self.asked.iter().filter(|(_, asked)| matches!(asked, AskedFor::Rpc(_))).count() >= most {
            return None;
        }
        let next = self.rpcs.pop_front();
        match &next {
            Some((_, call)) => self.held_bytes -= call.bytes(),
            None => self.rpcs = VecDeque::new(),
        }
        next
    }

    /// Bytes of what waits for answers.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// True if the next frame has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.held_bytes >= HELD_BYTES
    }

    /// Nothing is asked any more, and no answer is waited for.
    pub(super) fn forget(&mut self) {
        self.asked = Vec::new();
        self.sends = VecDeque::new();
        self.rpcs = VecDeque::new();
        self.held_bytes = 0;
    }
}
