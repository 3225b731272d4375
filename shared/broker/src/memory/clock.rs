//! Time in the memory broker: its clock, and tables whose entries end. Tests can let an hour pass in no time, and no test
//! sleeps: `docs/architecture.md` §9.10.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Entries that are not worth a sweep.
const FEW: usize = 64;

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

    /// Unix milliseconds, as steady as [`Clock::now`]. A clock that knows no date begins with the epoch.
    fn unix_ms(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
    /// The date of the origin, since the Unix epoch.
    origin_date: Duration,
}

impl Default for SystemClock {
    fn default() -> Self {
        let origin_date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), origin_date }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn unix_ms(&self) -> u64 {
        u64::try_from((self.origin_date + self.now()).as_millis()).unwrap_or(u64::MAX)
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

/// Values by name, each until its time is over: found in one step, and cleared away in bulk now and then. Nothing whose time is
/// over is ever given.
#[derive(Debug)]
pub(super) struct Expiring<V> {
    entries: HashMap<String, (V, Nanos)>,
    /// So many entries are swept: twice what the last sweep left, so that each entry pays for its own removal.
    sweep_at: usize,
}

impl<V> Default for Expiring<V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: FEW }
    }
}

impl<V> Expiring<V> {
    pub(super) fn get(&self, name: &str, now: Nanos) -> Option<&V> {
        self.entries.get(name).filter(|(_, deadline)| *deadline > now).map(|(value, _)| value)
    }

    pub(super) fn get_mut(&mut self, name: &str, now: Nanos) -> Option<&mut (V, Nanos)> {
        self.entries.get_mut(name).filter(|(_, deadline)| *deadline > now)
    }

    /// Enters or replaces; false if that would be more than `max` entries.
    pub(super) fn put(&mut self, name: &str, value: V, deadline: Nanos, now: Nanos, max: usize) -> bool {
        if let Some(entry) = self.entries.get_mut(name) {
            *entry = (value, deadline);
            return true;
        }
        if self.entries.len() >= self.sweep_at.min(max) {
            self.entries.retain(|_, (_, deadline)| *deadline > now);
            self.entries.shrink_to(2 * self.entries.len());
            self.sweep_at = (2 * self.entries.len()).max(FEW);
        }
        if self.entries.len() >= max {
            return false;
        }
        self.entries.insert(name.to_owned(), (value, deadline));
        true
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// All whose time is not over, in no particular order.
    pub(super) fn iter(&self, now: Nanos) -> impl Iterator<Item = (&String, &V)> {
        let live = self.entries.iter().filter(move |(_, (_, deadline))| *deadline > now);
        live.map(|(name, (value, _))| (name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_given_and_makes_room() {
        let mut table = Expiring::default();
        for number in 0..FEW {
            assert!(table.put(&number.to_string(), number, 10, 0, FEW));
        }
        assert!(!table.put("one more", 0, 10, 9, FEW));
        assert_eq!(table.get("1", 9), Some(&1));
        assert_eq!(table.get("1", 10), None);
        assert_eq!(table.iter(10).count(), 0);
        assert!(table.put("one more", 0, 20, 10, FEW));
        assert_eq!(table.entries.len(), 1);
    }

    #[test]
    fn a_table_does_not_grow_with_what_is_over() {
        let mut table = Expiring::default();
        for number in 0..10_000_u64 {
            assert!(table.put(&number.to_string(), (), number + 10, number, usize::MAX));
            assert!(table.entries.len() <= FEW);
        }
    }
}
