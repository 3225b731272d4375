//! A worker's share in the memory budget: it publishes what its outboxes hold, ends the largest holder where too much is
//! held, and reserves memory for large replies.

use std::{rc::Rc, time::Duration};

use crate::{
    disconnect::ErrorCode,
    hub::{roster::SessionKey, worker::Worker},
    memory::LARGE_REPLY_BYTES,
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
            let mut held = holders::survey(false);
            let others = self.memory.used_bytes().saturating_sub(published);
            if others.saturating_add(held) >= self.memory.limit_bytes() {
                // Shared chunks were counted once for every subscriber: only now is it worth to look closer.
                held = holders::survey(true);
            }
            self.memory.change_outboxes(published, held);
            published = held;
            if self.memory.is_exhausted() && self.end_largest(0) {
                continue;
            }
            let refused_now = self.memory.replies_refused();
            if std::mem::replace(&mut refused, refused_now) != refused_now {
                self.end_largest(STALLED_SURVEYS);
            }
        }
    }

    fn end_largest(&self, stalled: u32) -> bool {
        let Some(bytes) = holders::end_largest(stalled) else { return false };
        self.memory.count_ended();
        tracing::warn!(bytes, "memory budget used up; ending the largest holder");
        true
    }

    /// Reserves memory for a session's large reply. While there is none the error is temporary.
    pub fn reserve_reply(&self, key: SessionKey, bytes: usize) -> Result<(), ErrorCode> {
        if bytes < LARGE_REPLY_BYTES {
            return Ok(());
        }
        let permit = self.memory.try_reply(bytes).ok_or(ErrorCode::TOO_MANY_REQUESTS)?;
        self.hub_mut().roster_mut().reserve(key, permit);
        Ok(())
    }
}
