//! The largest holders of the node, whatever worker they are on. Each worker reports its own and learns how many of them are
//! to be ended. Locked once for each worker's survey, never by a delivery. A worker keeps the lock until the budget knows what
//! it gave back, or the next one would end more for the same excess.

use std::time::Duration;

use tokio::time::Instant;

use parking_lot::{Mutex, MutexGuard};

/// A report counts for so long, so that a worker that is held up does not keep the others from ending theirs. Five surveys.
const REPORT_LASTS: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct HoldersReport {
    at: Instant,
    sizes_bytes: Vec<usize>,
}

/// The last report of each worker.
#[derive(Debug, Default)]
pub struct LargestHolders(Mutex<Vec<Option<HoldersReport>>>);

/// The turn of one worker: no other one decides meanwhile.
pub struct ShedTurn<'a>(MutexGuard<'a, Vec<Option<HoldersReport>>>);

impl LargestHolders {
    /// Begins a worker's turn.
    pub fn turn(&self) -> ShedTurn<'_> {
        ShedTurn(self.0.lock())
    }
}

impl ShedTurn<'_> {
    /// Takes the sizes of a worker's largest holders, largest first. Returns how many of them, from the first on, are among
    /// the largest of the node that hold `excess_bytes` together: those it is to end.
    pub fn report(
        &mut self,
        worker: usize,
        sizes_bytes: &[usize],
        excess_bytes: usize,
        now: Instant,
    ) -> usize {
        let reports = &mut self.0;
        if reports.len() <= worker {
            reports.resize_with(worker + 1, || None);
        }
        let count = if excess_bytes == 0 {
            0
        } else {
            let fresh = |report: &&HoldersReport| now.saturating_duration_since(report.at) < REPORT_LASTS;
            let others = reports.iter().enumerate().filter(|(index, _)| *index != worker);
            let others = others.filter_map(|(_, report)| report.as_ref()).filter(fresh);
            let mut all: Vec<(usize, bool)> = others
                .flat_map(|report| report.sizes_bytes.iter().map(|bytes| (*bytes, false)))
                .chain(sizes_bytes.iter().map(|bytes| (*bytes, true)))
                .collect();
            // Of two that are as large, the own one comes first: it can be ended now.
            all.sort_unstable_by(|one, other| other.cmp(one));
            let mut left = excess_bytes;
            let ended = all.iter().take_while(|(bytes, _)| {
                let is_wanted = left > 0;
                left = left.saturating_sub(*bytes);
                is_wanted
            });
            ended.filter(|(_, is_own)| *is_own).count()
        };
        if let Some(report) = reports.get_mut(worker) {
            let remaining = sizes_bytes.get(count..).unwrap_or_default();
            *report = Some(HoldersReport { at: now, sizes_bytes: remaining.to_vec() });
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_the_node_is_ended_by_its_worker_and_no_other() {
        let (largest, now) = (LargestHolders::default(), Instant::now());
        assert_eq!(largest.turn().report(0, &[500, 100], 0, now), 0);
        assert_eq!(largest.turn().report(1, &[400, 300], 1, now), 0, "500 on the other worker is larger");
        assert_eq!(largest.turn().report(0, &[500, 100], 1, now), 1);
        assert_eq!(largest.turn().report(1, &[400, 300], 1, now), 1, "500 is ended, now 400 is the largest");
    }

    #[test]
    fn as_many_are_ended_as_hold_the_excess() {
        let (largest, now) = (LargestHolders::default(), Instant::now());
        assert_eq!(largest.turn().report(0, &[500, 300, 100], 0, now), 0);
        // 500 and 300 of the other worker, 400 and 200 of this one.
        assert_eq!(largest.turn().report(1, &[400, 200], 1300, now), 2);
        assert_eq!(largest.turn().report(0, &[500, 300, 100], 700, now), 2);
        assert_eq!(largest.turn().report(2, &[], 700, now), 0);
    }

    #[test]
    fn a_worker_that_reports_no_more_is_not_waited_for() {
        let (largest, now) = (LargestHolders::default(), Instant::now());
        assert_eq!(largest.turn().report(0, &[500], 0, now), 0);
        assert_eq!(largest.turn().report(1, &[400], 1, now), 0);
        assert_eq!(largest.turn().report(1, &[400], 1, now + REPORT_LASTS), 1);
    }
}
