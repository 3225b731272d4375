//! Transactions: what is kept until COMMIT, bounded. `docs/protocols/stomp.md` §8.
//!
//! Checked when it comes, carried out in order at COMMIT and nothing in between; any end of the session drops it.

use std::sync::Arc;

use gorani_broker::{Publication, PublishOptions};

use super::{failure::Failure, rpc_call::RpcCall, state::Acknowledged};
use crate::{
    proxy_call::{ProxyId, ProxyPayload},
    session::{Action, Ticket},
    settings::StompSettings,
};

/// The open transactions of a session.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: Vec<Transaction>,
    /// Messages of all of them.
    messages: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Transaction {
    name: Box<str>,
    kept: Vec<PendingCommit>,
}

/// A step of a COMMIT.
#[derive(Debug)]
pub(super) enum PendingCommit {
    /// A message.
    Send(Box<ValidSend>),
    /// A call of `/app`.
    Rpc(Box<RpcCall>),
    /// An ACK (true) or NACK.
    Settle(Acknowledged, bool),
}

impl PendingCommit {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Send(sending) => sending.bytes(),
            Self::Rpc(call) => call.bytes(),
            Self::Settle(..) => size_of::<Self>(),
        }
    }
}

/// Bytes of a transaction's name at most.
const NAME_MAX_BYTES: usize = 255;

impl Transactions {
    fn position(&self, name: &str) -> Option<usize> {
        self.open.iter().position(|transaction| *transaction.name == *name)
    }

    pub(super) fn begin(&mut self, name: &str, settings: &StompSettings) -> Result<(), Failure> {
        if self.position(name).is_some() {
            return Err(Failure::bad("this transaction is open already"));
        }
        if self.open.len() >= settings.max_transactions || name.len() > NAME_MAX_BYTES {
            return Err(Failure::limit("too many transactions, or too long a name"));
        }
        self.open.push(Transaction { name: name.into(), kept: Vec::new() });
        Ok(())
    }

    /// Takes a transaction out.
    pub(super) fn take(&mut self, name: &str) -> Result<Vec<PendingCommit>, Failure> {
        let index = self.position(name).ok_or(Failure::bad("no such transaction"))?;
        let kept = self.open.swap_remove(index).kept;
        self.messages -= kept.len();
        self.bytes -= kept.iter().map(PendingCommit::bytes).sum::<usize>();
        Ok(kept)
    }

    /// Bytes that they keep.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps a step for the COMMIT.
    pub(super) fn keep(
        &mut self,
        name: &str,
        kept: PendingCommit,
        settings: &StompSettings,
    ) -> Result<(), Failure> {
        let bytes = kept.bytes();
        let transaction = self.open.iter_mut().find(|transaction| *transaction.name == *name);
        let transaction = transaction.ok_or(Failure::bad("no such transaction"))?;
        if self.messages >= settings.transaction_max_messages
            || self.bytes + bytes > settings.transaction_max_bytes
        {
            return Err(Failure::limit("the open transactions hold too much"));
        }
        transaction.kept.push(kept);
        self.messages += 1;
        self.bytes += bytes;
        Ok(())
    }
}

/// A message that a client sends, checked (`docs/protocols/stomp.md` §6).
#[derive(Debug)]
pub(super) struct ValidSend {
    /// The name of the channel or the queue.
    pub(super) name: Arc<str>,
    pub(super) publication: Publication,
    /// The options of the channel; a queue has none.
    pub(super) options: Option<PublishOptions>,
    /// The proxy that decides on it.
    pub(super) proxy: Option<ProxyId>,
}

impl ValidSend {
    /// Bytes that it holds, near enough.
    pub(super) fn bytes(&self) -> usize {
        let tags: usize = self.publication.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.name.len() + self.publication.data.len() + tags + size_of::<Self>()
    }

    /// Its payload, for the backend that decides on it.
    pub(super) fn payload(&self) -> ProxyPayload {
        ProxyPayload { data: self.publication.data.clone(), kind: self.publication.kind }
    }

    /// The action that sends it.
    pub(super) fn action(self, ticket: Ticket) -> Action {
        match self.options {
            Some(options) => Action::Publish(ticket, self.name, self.publication, options),
            None => Action::PushToQueue(ticket, self.name, self.publication),
        }
    }
}
