//! A message that a STOMP client sends, checked. `docs/protocols/stomp.md` §6.

use std::sync::Arc;

use gorani_broker::{Publication, PublishOptions};

use crate::session::{Action, Actions, Ticket};

/// A message that was found right.
#[derive(Debug)]
pub(super) struct ValidSend {
    /// The name of the channel or the queue.
    pub(super) name: Arc<str>,
    pub(super) publication: Publication,
    /// The options of the channel; a queue has none.
    pub(super) options: Option<PublishOptions>,
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
