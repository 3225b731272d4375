//! Transactions: what is kept until COMMIT, bounded. `specs/stomp.md`, items 42 to 44.
//!
//! Checked when it comes, carried out in order at COMMIT and nothing in between; whatever ends the session forgets it.

use gorani_protocol::stomp::{Command, Frame};

use super::{StompSession, failure::Failure, sending::Sending};
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
    sendings: Vec<Sending>,
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
        self.open.push(Transaction { name: name.into(), sendings: Vec::new() });
        Ok(())
    }

    /// Takes a transaction out.
    fn take(&mut self, name: &str) -> Result<Vec<Sending>, Failure> {
        let index = self.position(name).ok_or(Failure::bad("no such transaction"))?;
        let sendings = self.open.swap_remove(index).sendings;
        self.messages -= sendings.len();
        self.bytes -= sendings.iter().map(Sending::bytes).sum::<usize>();
        Ok(sendings)
    }

    /// Keeps a message for the COMMIT.
    pub(super) fn keep(
        &mut self,
        name: &str,
        sending: Sending,
        settings: &StompSettings,
    ) -> Result<(), Failure> {
        let bytes = sending.bytes();
        let transaction = self.open.iter_mut().find(|transaction| *transaction.name == *name);
        let transaction = transaction.ok_or(Failure::bad("no such transaction"))?;
        if self.messages >= settings.transaction_max_messages
            || self.bytes + bytes > settings.transaction_max_bytes
        {
            return Err(Failure::limit("the open transactions hold too much"));
        }
        transaction.sendings.push(sending);
        self.messages += 1;
        self.bytes += bytes;
        Ok(())
    }
}

impl StompSession {
    pub(super) fn transaction(&mut self, frame: &Frame, actions: &mut Actions) -> Result<(), Failure> {
        let name = frame.headers.get("transaction").ok_or(Failure::bad("no transaction"))?;
        let receipt = frame.headers.get("receipt");
        let sendings = match frame.command {
            Command::Begin => {
                self.transactions.begin(name, &self.settings)?;
                Vec::new()
            }
            Command::Commit => self.transactions.take(name)?,
            _ => {
                self.transactions.take(name)?;
                Vec::new()
            }
        };
        let Ticket(mut ticket) = self.receipts.expect(sendings.len(), receipt, false);
        for sending in sendings {
            sending.begin(Ticket(ticket), actions);
            ticket = ticket.wrapping_add(1);
        }
        Ok(())
    }

    /// An ACK or NACK within a transaction: on channels it means nothing, but the transaction must be one.
    pub(super) fn keep_acknowledgement(
        &mut self,
        frame: &Frame,
        _actions: &mut Actions,
    ) -> Result<(), Failure> {
        let name = frame.headers.get("transaction").unwrap_or_default();
        self.transactions.position(name).ok_or(Failure::bad("no such transaction"))?;
        self.receipts.expect(0, frame.headers.get("receipt"), false);
        Ok(())
    }
}
