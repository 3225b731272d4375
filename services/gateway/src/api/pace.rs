//! The pace of a long call: a batch or a broadcast of thousands lets the worker's connections have their turn in between.
//! Decision record 0027.

use std::time::Duration;

use tokio::time::Instant;

/// How long a call runs at a stretch.
const TURN: Duration = Duration::from_millis(2);

/// The pace of one call.
pub(super) struct CallPace {
    began: Instant,
}

impl CallPace {
    /// A call begins.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// Lets others have their turn, where this one has been long enough.
    pub(super) async fn pause(&mut self) {
        if self.began.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}
