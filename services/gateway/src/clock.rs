//! The wall clock. Everything that needs the date reads it here, so that the simulation can say what time it is.
//!
//! For durations use [`tokio::time::Instant`], which the simulation moves as well, and never `std::time::Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn unix_ms() -> u64 {
    #[cfg(test)]
    if let Some(simulated) = simulated::unix_ms() {
        return simulated;
    }
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds since the Unix epoch.
pub fn unix_ns() -> u64 {
    #[cfg(test)]
    if let Some(simulated) = simulated::unix_ms() {
        return simulated.saturating_mul(1_000_000);
    }
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
}

/// The date of a simulation, which begins on the same day each time.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use tokio::time::Instant;

    /// 2024-01-01.
    const START_MS: u64 = 1_704_067_200_000;

    thread_local! {
        static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    /// From now on the date of this thread follows tokio's clock; `false`: it is the machine's again.
    pub(crate) fn set(is_simulated: bool) {
        BEGAN.set(is_simulated.then(Instant::now));
    }

    pub(super) fn unix_ms() -> Option<u64> {
        let elapsed = BEGAN.get()?.elapsed();
        Some(START_MS + u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}
