//! Two counts over the last ten seconds, by the second.

use tokio::time::Instant;

/// Seconds that are remembered.
const SECONDS: usize = 10;

/// Calls, and those of them that are counted apart.
#[derive(Debug)]
pub(super) struct RecentCounts {
    began: Instant,
    /// By second modulo [`SECONDS`]: the second, the calls, those counted apart.
    seconds: [(u64, u32, u32); SECONDS],
}

impl RecentCounts {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, seconds: [(0, 0, 0); SECONDS] }
    }

    pub(super) fn add(&mut self, now: Instant, calls: u32, apart: u32) {
        let second = self.second(now);
        let Some(slot) = self.seconds.get_mut(second as usize % SECONDS) else { return };
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 = slot.1.saturating_add(calls);
        slot.2 = slot.2.saturating_add(apart);
    }

    /// Both counts.
    pub(super) fn sums(&self, now: Instant) -> (u32, u32) {
        let second = self.second(now);
        let recent = self.seconds.iter().filter(|slot| slot.0 + SECONDS as u64 > second);
        recent.fold((0, 0), |(calls, apart), slot| (calls + slot.1, apart + slot.2))
    }

    pub(super) fn clear(&mut self) {
        self.seconds = [(0, 0, 0); SECONDS];
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}
