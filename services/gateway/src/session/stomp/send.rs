//! SEND: a message to a channel or a queue, now or with its transaction. `docs/protocols/stomp.md` §6 and §8.

use std::sync::Arc;

use gorani_broker::PublishOptions;
use gorani_protocol::stomp::{StompCommand, StompFrame};

use super::{
    StompSession,
    destination::{self, Destination},
    failure::Failure,
    payload,
    queue_consumer::Acknowledged,
    transactions::PendingCommit,
    valid_send::ValidSend,
};
use crate::session::{Actions, Now, Ticket, shared::recovery::retention};

impl StompSession {
    pub(super) fn send(
        &mut self,
        frame: &StompFrame,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let sending = self.sending(frame, now)?;
        let receipt = frame.headers.get("receipt");
        match frame.headers.get("transaction") {
            Some(transaction) => {
                self.transactions.keep(transaction, sending, &self.settings)?;
                self.receipts.expect(0, receipt, false);
            }
            None => {
                let ticket = self.receipts.expect(1, receipt, false);
                sending.begin(ticket, actions);
            }
        }
        Ok(())
    }

    /// Checks a SEND: its destination, what it may, what it holds.
    fn sending(&self, frame: &StompFrame, now: Now) -> Result<ValidSend, Failure> {
        let headers = &frame.headers;
        let destination = headers.get("destination").ok_or(Failure::bad("no destination"))?;
        let (name, options) = match destination::to_send(destination, &self.identity.user)? {
            Destination::Channel(channel) => {
                let options = self.may_send(&channel)?;
                (Arc::from(&*channel), Some(options))
            }
            Destination::Queue(queue) => {
                self.check_queue(queue, true, now)?;
                (Arc::from(queue), None)
            }
        };
        let mut publication = payload::publication(headers, frame.body.clone(), now.unix_ms)
            .map_err(|_| Failure::limit("too many headers of your own, or too long ones"))?;
        publication.info = Some(self.identity.info_for(bytes::Bytes::new()));
        Ok(ValidSend { name, publication, options })
    }

    /// The options for publishing into a channel, or a failure if the session may not.
    fn may_send(&self, channel: &str) -> Result<PublishOptions, Failure> {
        let user = &*self.identity.user;
        let options = if self.is_backend() {
            self.policy.server_side(channel, user, None)?.options
        } else {
            let options = self.policy.rules.may_publish(channel, user, self.is_subscribed(channel));
            *options.map_err(|denied| self.policy.refuse_denied(denied))?
        };
        Ok(PublishOptions { retention: retention(&options), ..PublishOptions::default() })
    }

    /// BEGIN, COMMIT and ABORT.
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
