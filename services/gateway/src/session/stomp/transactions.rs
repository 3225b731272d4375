//! Transactions: what is kept until COMMIT, bounded. `docs/protocols/stomp.md` §8.
//!
//! Checked when it comes, carried out in order at COMMIT and nothing in between; whatever ends the session forgets it.

use gorani_protocol::stomp::{StompCommand, StompFrame};

use super::{StompSession, consumer::Acknowledged, failure::Failure, send::ValidSend};
use crate::{
    session::{Actions, Ticket},
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

/// What is done at COMMIT.
#[derive(Debug)]
enum PendingCommit {
    Send(ValidSend),
    /// An ACK (true) or NACK.
    Settle(Acknowledged, bool),
}

impl PendingCommit {
    fn bytes(&self) -> usize {
        match self {
            Self::Send(sending) => sending.bytes(),
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

    fn begin(&mut self, name: &str, settings: &StompSettings) -> Result<(), Failure> {
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
    fn take(&mut self, name: &str) -> Result<Vec<PendingCommit>, Failure> {
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

    /// Keeps a message for the COMMIT.
    pub(super) fn keep(
        &mut self,
        name: &str,
        sending: ValidSend,
        settings: &StompSettings,
    ) -> Result<(), Failure> {
        self.add(name, PendingCommit::Send(sending), settings)
    }

    /// Keeps an ACK (true) or NACK for the COMMIT.
    pub(super) fn keep_acknowledgement(
        &mut self,
        name: &str,
        about: Acknowledged,
        is_handled: bool,
        settings: &StompSettings,
    ) -> Result<(), Failure> {
        self.add(name, PendingCommit::Settle(about, is_handled), settings)
    }

    fn add(&mut self, name: &str, kept: PendingCommit, settings: &StompSettings) -> Result<(), Failure> {
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

impl StompSession {
    pub(super) fn transaction(&mut self, frame: &StompFrame, actions: &mut Actions) -> Result<(), Failure> {
        let name = frame.headers.get("transaction").ok_or(Failure::bad("no transaction"))?;
        let receipt = frame.headers.get("receipt");
        match frame.command {
            StompCommand::Begin => self.transactions.begin(name, &self.settings)?,
            StompCommand::Commit => {
                let kept = self.transactions.take(name)?;
                return self.commit(kept, receipt, actions);
            }
            _ => drop(self.transactions.take(name)?),
        }
        self.receipts.expect(0, receipt, false);
        Ok(())
    }

    /// Carries out what was kept: all of it, or nothing where an acknowledgement has become void.
    fn commit(
        &mut self,
        kept: Vec<PendingCommit>,
        receipt: Option<&str>,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let is_void = |kept: &PendingCommit| matches!(kept, PendingCommit::Settle(Acknowledged::Queue(serial), _) if !self.is_unacknowledged(*serial));
        if kept.iter().any(is_void) {
            return Err(Failure::bad("a message of this transaction is acknowledged already"));
        }
        // As if each came by itself: what follows waits for the next step.
        kept.iter().for_each(|kept| self.budget.count(kept.bytes()));
        let waits = |kept: &&PendingCommit| !matches!(kept, PendingCommit::Settle(Acknowledged::Channel, _));
        let Ticket(mut ticket) = self.receipts.expect(kept.iter().filter(waits).count(), receipt, false);
        for kept in kept {
            match kept {
                PendingCommit::Send(sending) => sending.begin(Ticket(ticket), actions),
                PendingCommit::Settle(Acknowledged::Channel, _) => continue,
                PendingCommit::Settle(Acknowledged::Queue(serial), is_handled) => {
                    if !self.acknowledge_serial(serial, is_handled, Ticket(ticket), actions) {
                        // Acknowledged together with a later one of the same transaction: that is done.
                        self.receipts.done(Ticket(ticket));
                    }
                }
            }
            ticket = ticket.wrapping_add(1);
        }
        Ok(())
    }
}
