//! SEND: a message to a channel or a queue, now or with its transaction. `docs/protocols/stomp.md` §6.

use std::sync::Arc;

use gorani_broker::{Publication, PublishOptions};
use gorani_protocol::stomp::StompFrame;

use super::{
    StompSession,
    destination::{self, Destination},
    failure::Failure,
    payload,
};
use crate::session::{Action, Actions, Now, Ticket, shared::recovery::retention};

/// A message that was found right.
#[derive(Debug)]
pub(super) struct ValidSend {
    /// Of the channel or the queue.
    name: Arc<str>,
    publication: Publication,
    /// Of the channel; a queue has none.
    options: Option<PublishOptions>,
}

impl ValidSend {
    /// Bytes that it holds, near enough.
    pub(super) fn bytes(&self) -> usize {
        let tags: usize = self.publication.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.name.len() + self.publication.data.len() + tags + size_of::<Self>()
    }

    /// Sends it.
    pub(super) fn begin(self, ticket: Ticket, actions: &mut Actions) {
        actions.push(match self.options {
            Some(options) => Action::Publish(ticket, self.name, self.publication, options),
            None => Action::PushToQueue(ticket, self.name, self.publication),
        });
    }
}

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

    /// Whether the session may send to a channel, and how that is to be treated.
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
}
