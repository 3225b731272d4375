//! What the reads of history and presence of one call may bring: one at a time, and so many bytes together, whether it is a
//! call of one method or a batch of thousands. Decision record 26.

use std::cell::Cell;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{api::error::ApiError, disconnect::ErrorCode, settings::ApiSettings};

/// The allowance of one call.
pub(super) struct ReadAllowance {
    turn: Semaphore,
    left_bytes: Cell<u64>,
    max_bytes: usize,
}

/// One read of the call; the next one begins when it is dropped.
pub(super) struct AllowedRead<'a> {
    allowance: &'a ReadAllowance,
    _permit: SemaphorePermit<'a>,
}

impl ReadAllowance {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        let max_bytes = settings.reply_max_bytes;
        Self { turn: Semaphore::new(1), left_bytes: Cell::new(max_bytes as u64), max_bytes }
    }

    /// Waits for the reads of the call before this one.
    ///
    /// # Errors
    /// 106 where they have brought all that the call may bring.
    pub(super) async fn begin(&self) -> Result<AllowedRead<'_>, ApiError> {
        let permit = self.turn.acquire().await.map_err(|_| ErrorCode::INTERNAL)?;
        if self.left_bytes.get() == 0 {
            let sentence = format!(
                "limit exceeded: the answer has {} bytes already (api.reply_max_bytes): ask again for the rest",
                self.max_bytes
            );
            return Err(ApiError::new(ErrorCode::LIMIT_EXCEEDED, sentence));
        }
        Ok(AllowedRead { allowance: self, _permit: permit })
    }
}

impl AllowedRead<'_> {
    /// Bytes that the read may bring.
    pub(super) fn left_bytes(&self) -> u64 {
        self.allowance.left_bytes.get()
    }

    /// It brought so many.
    pub(super) fn spend(&self, bytes: u64) {
        self.allowance.left_bytes.set(self.left_bytes().saturating_sub(bytes));
    }
}
