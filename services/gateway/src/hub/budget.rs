//! A worker's share in the memory budget: it publishes what its outboxes hold, ends the largest holder where too much is
//! held, and reserves memory for large replies.

use std::{rc::Rc, time::Duration};

use crate::{
    disconnect::ErrorCode,
    hub::worker::Worker,
    memory::{LARGE_REPLY_BYTES, ReplyPermit},
    outbox::holders,
};

/// Time between two looks at the large outboxes.
const SURVEY_EVERY: Duration = Duration::from_millis(200);
/// While large replies are refused, who holds memory and read nothing for so many surveys (2 s) is ended.
const STALLED_SURVEYS: u32 = 10;

impl Worker {
    /// Keeps the budget, for ever.
    pub(super) async fn keep_memory(self: Rc<Self>) {
        let mut published = 0;
        let mut refused = 0;
        loop {
            tokio::time::sleep(SURVEY_EVERY).await;
            self.memory.set_broker(self.broker.stats().memory_bytes);
            let mut held = holders::survey(false);
            let others = self.memory.client_bytes().saturating_sub(published);
            if others.saturating_add(held) >= self.memory.client_limit_bytes() {
                // Shared chunks were counted once for every subscriber: only now is it worth to look closer.
                held = holders::survey(true);
            }
            self.memory.change_outboxes(published, held);
            published = held;
            if self.memory.is_exhausted()
                && let Some(bytes) = self.end_largest(0)
            {
                tracing::warn!(
                    bytes,
                    "memory.max_bytes is used up; ending the connection with the largest outbox"
                );
                continue;
            }
            let refused_now = self.memory.replies_refused();
            if std::mem::replace(&mut refused, refused_now) != refused_now
                && let Some(bytes) = self.end_largest(STALLED_SURVEYS)
            {
                tracing::warn!(
                    bytes,
                    "large replies are refused; ending the largest connection that does not read"
                );
            }
        }
    }

    /// Bytes of the outbox that was ended, if there is one.
    fn end_largest(&self, stalled: u32) -> Option<usize> {
        let bytes = holders::end_largest(stalled)?;
        self.memory.count_ended();
        Some(bytes)
    }

    /// A permit for a reply of so many bytes; a small one needs none. While there is none the error is temporary.
    pub fn reserve_reply(&self, bytes: usize) -> Result<Option<ReplyPermit>, ErrorCode> {
        if bytes < LARGE_REPLY_BYTES {
            return Ok(None);
        }
        self.memory.try_reply(bytes).map(Some).ok_or(ErrorCode::TOO_MANY_REQUESTS)
    }
}
