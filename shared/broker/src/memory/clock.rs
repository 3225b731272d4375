//! The clock of the memory broker. Tests can let an hour pass in no time, and no test sleeps: `docs/architecture.md` §9.10.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Nanoseconds since a clock's origin; enough for 584 years.
pub(super) type Nanos = u64;

/// A duration as [`Nanos`]; one that does not fit lasts for ever.
pub(super) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// A clock that never goes back. Read on every publish to a channel with history, from any thread: it must be cheap.
pub trait Clock: Send + Sync + 'static {
    /// Time since an origin of the clock's own choice, the same for all calls.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that stands still until a test advances it: for tests, here and in the gateway.
#[derive(Debug, Default)]
pub struct ManualClock {
    elapsed: AtomicU64,
}

impl ManualClock {
    /// Lets `duration` pass.
    pub fn advance(&self, duration: Duration) {
        self.elapsed.fetch_add(nanos(duration), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::SeqCst))
    }
}
