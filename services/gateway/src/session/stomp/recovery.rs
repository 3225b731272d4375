//! The publications that a subscription missed, written a piece at a time: a piece is a step of the session
//! ([`crate::session::shared::input_budget`]), so that the transport looks at the clock between two of them. All messages
//! are sent together when the last is written.

use std::{sync::Arc, vec};

use gorani_broker::Publication;

use crate::{
    format::message_headers::{self, FrameStyle, SubscriptionHeaders},
    session::{Actions, Subscribed, Ticket},
};

/// Bytes of a piece, and at least one message: a fraction of a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of a message's headers, about.
const HEADERS_BYTES: usize = 160;

/// A recovery that is being written.
pub(super) struct RecoveryInProgress {
    pub(super) ticket: Ticket,
    publications: vec::IntoIter<Arc<Publication>>,
    pub(super) written: Actions,
    /// Without publications and permit.
    pub(super) subscribed: Subscribed,
}

impl RecoveryInProgress {
    pub(super) fn new(ticket: Ticket, mut subscribed: Subscribed) -> Self {
        let publications = std::mem::take(&mut subscribed.publications);
        let mut written = Actions::default();
        written.reserve(publications.iter().map(|publication| publication.data.len() + HEADERS_BYTES).sum());
        written.hold(subscribed.permit.take());
        Self { ticket, publications: publications.into_iter(), written, subscribed }
    }

    /// Writes a piece of what this client is to see, with these headers of its subscription. True if nothing is left to write.
    pub(super) fn write_piece(
        &mut self,
        shown: &SubscriptionHeaders,
        style: FrameStyle,
        client: &str,
    ) -> bool {
        let mut message_id = String::new();
        let until = self.written.message_bytes() + PIECE_BYTES;
        for publication in self.publications.by_ref() {
            if publication.is_for(client) {
                message_headers::write_message_id(&publication, 0, &mut message_id);
                self.written.message(message_headers::message_kind(&publication, style), |out| {
                    shown.write(style, &publication, &message_id, out);
                });
            }
            if self.written.message_bytes() >= until {
                return false;
            }
        }
        true
    }
}
