//! Publications that a session missed and that no reply holds: receivers, and clients that a backend subscribes, are sent
//! them one by one.

use std::{rc::Rc, sync::Arc};

use gorani_broker::Publication;

use super::Worker;
use crate::{
    format::views::AROUND_BYTES,
    hub::registry::{Generation, SessionKey},
    memory::ReplyPermit,
};

/// Bytes that are sent at a stretch, and at least one publication; then other connections have their turn.
const PIECE_BYTES: usize = 32 * 1024;

impl Worker {
    /// Sends a session what it missed in a channel, and lets the channel's events follow. What is large has a permit, and is
    /// sent a piece at a time, unless the session leaves the channel meanwhile.
    pub fn replay(
        self: &Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        publications: Vec<Arc<Publication>>,
        permit: Option<ReplyPermit>,
    ) {
        if permit.is_none() {
            let mut hub = self.hub_mut();
            hub.replay(key, &channel, publications, None);
            return hub.release(key, &channel);
        }
        // Of now: when the task begins, the session may have left the channel and come back.
        let Some(generation) = self.hub().generation(key, &channel) else { return };
        self.tasks.spawn(self.clone().replay_in_pieces(key, channel, generation, publications, permit));
    }

    async fn replay_in_pieces(
        self: Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        generation: Generation,
        publications: Vec<Arc<Publication>>,
        mut permit: Option<ReplyPermit>,
    ) {
        let mut left = publications.into_iter().peekable();
        while left.peek().is_some() {
            let mut bytes = 0;
            let mut piece = Vec::new();
            while let Some(publication) = left.next_if(|_| bytes < PIECE_BYTES) {
                bytes += publication.data.len() + AROUND_BYTES;
                piece.push(publication);
            }
            {
                let mut hub = self.hub_mut();
                if !hub.is_current(key, &channel, generation) {
                    return;
                }
                // The permit is for all pieces, and goes with the last.
                let permit = if left.peek().is_none() { permit.take() } else { None };
                hub.replay(key, &channel, piece, permit);
            }
            tokio::task::yield_now().await;
        }
        if self.hub().is_current(key, &channel, generation) {
            self.hub_mut().release(key, &channel);
        }
    }
}

#[cfg(test)]
mod tests;
