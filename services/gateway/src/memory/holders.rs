//! The holders of much memory on this thread: large outboxes, unfinished input, bodies of requests. They are listed, so that the
//! largest is found without looking at every connection.
//!
//! A holder lists itself once it is large, and is taken off the list by the next measurement that finds it small again. Each worker
//! reports its largest to [`LargestHolders`] and learns how many of them are to be ended. Decision record 25.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::HashMap,
    ops::{Add, Sub},
    rc::{Rc, Weak},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

/// Bytes in an outbox from which on it is listed.
pub const OUTBOX_BYTES: usize = 64 * 1024;
/// Bytes of a connection's unfinished input from which on it is counted and listed: several times what is cut in two by
/// the boundaries of packets.
pub const INPUT_BYTES: usize = 4 * 1024;
/// Bytes of a request's body from which on it is counted and listed.
pub const BODY_BYTES: usize = 16 * 1024;
/// Measurements for which a client must have read nothing to be taken for stalled: 2 s.
pub const STALLED_MEASUREMENTS: u32 = 10;
/// Holders that a worker ends in one measurement at most.
pub const ENDED_AT_ONCE: usize = 64;
/// Chunks of an outbox that an exact measurement looks at, to tell shared bytes from private ones.
const SAMPLE_CHUNKS: usize = 16;
/// The same for all outboxes together, which bounds the time of a measurement to a few milliseconds.
const MEASURED_CHUNKS: usize = 16 * 1024;

thread_local! {
    static HOLDERS: RefCell<Vec<Listed>> = const { RefCell::new(Vec::new()) };
}

/// Bytes by what holds them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldBytes {
    /// Outboxes.
    pub outboxes: usize,
    /// Unfinished messages, frames that wait, transactions.
    pub input: usize,
    /// Bodies of requests that are being read.
    pub bodies: usize,
}

impl HeldBytes {
    /// All of it.
    pub fn total(self) -> usize {
        self.outboxes.saturating_add(self.input).saturating_add(self.bodies)
    }

    fn is_large(self) -> bool {
        self.outboxes >= OUTBOX_BYTES || self.input > 0 || self.bodies > 0
    }
}

impl Add for HeldBytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            outboxes: self.outboxes.saturating_add(other.outboxes),
            input: self.input.saturating_add(other.input),
            bodies: self.bodies.saturating_add(other.bodies),
        }
    }
}

impl Sub for HeldBytes {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            outboxes: self.outboxes.saturating_sub(other.outboxes),
            input: self.input.saturating_sub(other.input),
            bodies: self.bodies.saturating_sub(other.bodies),
        }
    }
}

/// Something of one client that holds memory and can be ended. Called on the thread that listed it.
pub trait MemoryHolder {
    /// The bytes that it holds now; input and bodies below their thresholds count as nothing.
    fn held(&self) -> HeldBytes;

    /// Grows as its client reads what waits for it.
    fn written(&self) -> u64 {
        0
    }

    /// Shows up to `most` of the chunks that wait in it: an address that is the same wherever the chunk waits, and its
    /// bytes.
    fn sample(&self, _most: usize, _look: &mut dyn FnMut(usize, usize)) {}

    /// It is off the list: once it is large again it lists itself.
    fn unlist(&self);

    /// It is being ended, so what it holds is about to be given back.
    fn is_ended(&self) -> bool;

    /// Has its client ended. It only marks and wakes; nothing of the client's task runs within the call.
    fn end(&self);
}

struct Listed {
    holder: Weak<dyn MemoryHolder>,
    /// [`MemoryHolder::written`] at the last measurement, and measurements since it changed.
    written: u64,
    stalled: u32,
}

/// Lists a holder.
pub fn list<H: MemoryHolder + 'static>(holder: &Rc<H>) {
    let listed = Listed {
        holder: Rc::downgrade(holder) as Weak<dyn MemoryHolder>,
        written: holder.written(),
        stalled: 0,
    };
    HOLDERS.with_borrow_mut(|holders| holders.push(listed));
}

/// A holder that may be ended.
pub struct Candidate {
    held: HeldBytes,
    holder: Rc<dyn MemoryHolder>,
}

/// The largest of many, largest first once it is sorted.
#[derive(Default)]
struct LargestFirst(Vec<Candidate>);

impl LargestFirst {
    fn offer(&mut self, held: HeldBytes, holder: &Rc<dyn MemoryHolder>) {
        self.0.push(Candidate { held, holder: Rc::clone(holder) });
        if self.0.len() >= 4 * ENDED_AT_ONCE {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        self.0.sort_unstable_by_key(|candidate| Reverse(candidate.held.total()));
        self.0.truncate(ENDED_AT_ONCE);
    }
}

/// The memory that is held on this thread, and its largest holders.
#[derive(Default)]
pub struct MeasuredMemory {
    /// All of them together.
    pub held: HeldBytes,
    largest: LargestFirst,
    stalled: LargestFirst,
}

impl MeasuredMemory {
    fn add(&mut self, holder: &Rc<dyn MemoryHolder>, held: HeldBytes, stalled: u32) {
        if holder.is_ended() {
            return;
        }
        self.largest.offer(held, holder);
        if stalled >= STALLED_MEASUREMENTS && held.outboxes >= OUTBOX_BYTES {
            self.stalled.offer(held, holder);
        }
    }

    fn sorted(mut self) -> Self {
        self.largest.shorten();
        self.stalled.shorten();
        self
    }

    /// The largest holders, largest first.
    pub fn largest(&self) -> &[Candidate] {
        &self.largest.0
    }

    /// The largest of those whose clients have read nothing for [`STALLED_MEASUREMENTS`], largest first.
    pub fn stalled(&self) -> &[Candidate] {
        &self.stalled.0
    }
}

impl Candidate {
    /// Bytes that it holds; a chunk that several outboxes of an exact measurement share is divided among them.
    pub fn bytes(&self) -> usize {
        self.held.total()
    }

    /// Ends it. Returns what it gives back.
    pub fn end(&self) -> HeldBytes {
        self.holder.end();
        self.held
    }
}

/// Adds up what this thread's holders hold: an upper bound, since a chunk that waits in many outboxes counts once for each.
pub fn measure() -> MeasuredMemory {
    let mut measured = MeasuredMemory::default();
    HOLDERS.with_borrow_mut(|holders| {
        holders.retain_mut(|listed| {
            let Some(holder) = listed.holder.upgrade() else { return false };
            let held = holder.held();
            if !held.is_large() {
                holder.unlist();
                return false;
            }
            let written = holder.written();
            let has_moved = std::mem::replace(&mut listed.written, written) != written;
            listed.stalled = if has_moved { 0 } else { listed.stalled.saturating_add(1) };
            measured.held = measured.held + held;
            measured.add(&holder, held, listed.stalled);
            true
        });
        if holders.is_empty() {
            *holders = Vec::new();
        }
    });
    measured.sorted()
}

/// The same, after a [`measure`], with each shared chunk counted once. It samples the chunks, which costs more.
pub fn measure_exactly() -> MeasuredMemory {
    let mut measured = MeasuredMemory::default();
    // By address: outboxes that it waits in.
    let mut sharers: HashMap<usize, usize> = HashMap::new();
    HOLDERS.with_borrow(|holders| {
        let most = (MEASURED_CHUNKS / holders.len().max(1)).clamp(1, SAMPLE_CHUNKS);
        let alive = || holders.iter().filter_map(|listed| Some((listed.holder.upgrade()?, listed.stalled)));
        for (holder, _) in alive() {
            let mut sampled = Sampled::default();
            holder.sample(most, &mut |address, bytes| {
                let sharers = sharers.entry(address).or_default();
                *sharers += 1;
                sampled.add(bytes, if *sharers == 1 { bytes } else { 0 });
            });
            let held = holder.held();
            measured.held = measured.held + HeldBytes { outboxes: sampled.own(held.outboxes), ..held };
        }
        for (holder, stalled) in alive() {
            let mut sampled = Sampled::default();
            holder.sample(most, &mut |address, bytes| {
                sampled.add(bytes, bytes / sharers.get(&address).copied().unwrap_or(1).max(1));
            });
            let held = holder.held();
            measured.add(&holder, HeldBytes { outboxes: sampled.own(held.outboxes), ..held }, stalled);
        }
    });
    measured.sorted()
}

/// Bytes looked at, and how many of them are the holder's own.
#[derive(Default)]
struct Sampled {
    bytes: usize,
    own: usize,
}

impl Sampled {
    fn add(&mut self, bytes: usize, own: usize) {
        self.bytes += bytes;
        self.own += own;
    }

    /// The own ones among `all`, reckoned from the sample.
    fn own(&self, all: usize) -> usize {
        if self.bytes == 0 {
            return all;
        }
        (all as u128 * self.own as u128 / self.bytes as u128) as usize
    }
}

/// A report counts for so long, so that a worker that is held up does not keep the others from ending theirs. Five measurements.
const REPORT_LASTS: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct HoldersReport {
    at: Instant,
    sizes_bytes: Vec<usize>,
}

/// The last report of each worker: the largest holders of the node, whatever worker they are on. Locked once for each worker's
/// measurement, never by a delivery. A worker keeps the lock until the budget knows what it gave back, or the next one would end
/// more for the same excess.
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
