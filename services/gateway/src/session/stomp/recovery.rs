//! The publications that a subscription missed, written a piece at a time: a piece is a step of the session ([`crate::session::shared::input_budget`]), so that the
//! transport looks at the clock between two of them. All messages are sent together when the last is written.

use std::{collections::VecDeque, sync::Arc, vec};

use gorani_broker::Publication;

use super::StompSession;
use crate::{
    format::message_headers,
    session::{Actions, Now, Outcome, Session as _, Subscribed, Ticket},
};

/// Bytes of a piece, and at least one message: a fraction of a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of a message's headers, about.
const HEADERS_BYTES: usize = 160;

/// A recovery that is being written.
pub(super) struct RecoveryInProgress {
    ticket: Ticket,
    publications: vec::IntoIter<Arc<Publication>>,
    written: Actions,
    /// Without publications and permit.
    subscribed: Subscribed,
}

impl RecoveryInProgress {
    pub(super) fn new(ticket: Ticket, mut subscribed: Subscribed) -> Self {
        let publications = std::mem::take(&mut subscribed.publications);
        let mut written = Actions::default();
        written.reserve(publications.iter().map(|publication| publication.data.len() + HEADERS_BYTES).sum());
        written.hold(subscribed.permit.take());
        Self { ticket, publications: publications.into_iter(), written, subscribed }
    }
}

impl StompSession {
    /// Writes a piece of the oldest recovery. Once it is whole it is sent, and its subscription begins. False if there is
    /// none.
    pub(super) fn write_recovered(&mut self, now: Now, actions: &mut Actions) -> bool {
        let Some(mut recovering) = self.recovering.pop_front() else { return false };
        if self.write_piece(&mut recovering) {
            let RecoveryInProgress { ticket, written, subscribed, .. } = recovering;
            actions.append(written);
            self.outcome(ticket, Outcome::Subscribed(Ok(subscribed)), now, actions);
        } else {
            self.recovering.push_front(recovering);
        }
        if self.recovering.is_empty() {
            self.recovering = VecDeque::new();
        }
        true
    }

    /// True if nothing is left to write.
    fn write_piece(&self, recovering: &mut RecoveryInProgress) -> bool {
        let Some(subscription) = self.under_way(recovering.ticket) else { return true };
        let style = self.style();
        let mut message_id = String::new();
        let until = recovering.written.message_bytes() + PIECE_BYTES;
        for publication in recovering.publications.by_ref() {
            if publication.is_for(&self.identity.client) {
                message_headers::write_message_id(&publication, 0, &mut message_id);
                recovering.written.message(message_headers::message_kind(&publication, style), |out| {
                    subscription.shown.write(style, &publication, &message_id, out);
                });
            }
            if recovering.written.message_bytes() >= until {
                return false;
            }
        }
        true
    }
}
