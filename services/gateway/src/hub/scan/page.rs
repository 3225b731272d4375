//! A page of a scan: filled in slices, so that others get the worker's time in between.
//!
//! Between two slices only the last name is kept, so neither a copy nor a lock outlives a slice, and names that stay while
//! others come and go are never missed. A page that finds few entries ends after a while and says how far it looked.

use std::{cell::RefCell, collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use crate::{hub::Hub, metrics::TrafficCounters};

/// Time of a worker that one slice may take before others get their turn. Half of the promised 2 ms: the slice ends with the
/// entry under way, and a busy machine adds to it.
pub(super) const SLICE: Duration = Duration::from_millis(1);
/// Entries between two looks at the clock. The dearest pattern takes some 0.1 ms for a name of 255 bytes.
pub(super) const ENTRIES_PER_LOOK: usize = 8;
/// Time of a worker that one page may take. A page whose pattern matches too few names by then ends where it has looked.
pub(super) const PAGE_TIME: Duration = Duration::from_millis(25);
/// Bytes of one answer; the entry that passes it is the last.
pub const ANSWER_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of an entry besides its names: keys, quotes, numbers.
pub(super) const ENTRY_BYTES: usize = 128;

/// Entries by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage<T> {
    /// The first ones after the cursor.
    pub entries: BTreeMap<String, T>,
    /// The last name that was looked at, where the page ends before its limit and before the last name of all: there may be more
    /// entries after it, however few these are.
    pub cut_at: Option<String>,
}

impl<T> Default for ScanPage<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), cut_at: None }
    }
}

/// Names in order.
pub(super) type ScanNames<'a> = Box<dyn Iterator<Item = &'a Arc<str>> + 'a>;

/// A source of a list: names, with an entry for each.
pub(super) trait ScanSource {
    /// The entry for a name.
    type Entry;

    /// The name at which a scan begins that has no cursor yet.
    fn start(&self) -> &str;

    /// The names from there on that may be wanted.
    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a>;

    /// The entry for a name and about how many bytes it has; `None` if it is not wanted.
    fn entry(&self, hub: &Hub, name: &str) -> Option<(Self::Entry, usize)>;
}

/// A page that is being filled.
pub(super) struct Scan<T: ScanSource> {
    table: T,
    limit: usize,
    /// The beginning of the next slice.
    next: Bound<Arc<str>>,
    pub(super) page: ScanPage<T::Entry>,
    pub(super) bytes: usize,
    /// Names that were looked at.
    pub(super) looked_at: usize,
    /// Time of the worker that was taken.
    spent: Duration,
}

impl<T: ScanSource> Scan<T> {
    /// One that has not begun: names above `after`, at most `limit` of them.
    pub(super) fn new(table: T, after: &str, limit: usize) -> Self {
        let next = if after >= table.start() && !after.is_empty() {
            Bound::Excluded(after.into())
        } else {
            Bound::Included(table.start().into())
        };
        Self { table, limit, next, page: ScanPage::default(), bytes: 0, looked_at: 0, spent: Duration::ZERO }
    }

    /// Fills the page and sends it, unless nobody waits for it any more.
    pub(super) async fn answer(
        mut self,
        hub: &RefCell<Hub>,
        traffic: &TrafficCounters,
        answer: oneshot::Sender<ScanPage<T::Entry>>,
    ) {
        while !answer.is_closed() {
            if self.slice(hub, traffic) {
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(self.page);
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at names for as long as a slice lasts; true if the page is done.
    pub(super) fn slice(&mut self, hub: &RefCell<Hub>, traffic: &TrafficCounters) -> bool {
        let started = Instant::now();
        let hub = hub.borrow();
        let mut last = None;
        let mut done = true;
        let from = as_str(&self.next);
        for (index, name) in self.table.names(&hub, from).enumerate() {
            if self.page.entries.len() >= self.limit {
                break;
            }
            let is_over = index > 0 && index % ENTRIES_PER_LOOK == 0 && started.elapsed() >= SLICE;
            if is_over || self.bytes >= ANSWER_BYTES {
                done = false;
                break;
            }
            if let Some((entry, bytes)) = self.table.entry(&hub, name) {
                self.page.entries.insert(name.as_ref().to_owned(), entry);
                self.bytes += bytes;
            }
            self.looked_at += 1;
            last = Some(name);
        }
        let took = started.elapsed();
        self.spent += took;
        traffic.held(took);
        if !done && (self.bytes >= ANSWER_BYTES || self.spent >= PAGE_TIME) {
            self.page.cut_at = last.map(|name| name.as_ref().to_owned());
            done = true;
        }
        if let Some(last) = last.cloned() {
            self.next = Bound::Excluded(last);
        }
        done
    }
}

/// The same place as text.
pub(super) fn as_str(bound: &Bound<Arc<str>>) -> Bound<&str> {
    bound.as_ref().map(|name| &**name)
}
