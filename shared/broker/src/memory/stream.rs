//! One channel's stream: its position and the publications it still remembers. `docs/architecture.md` §4.6, `docs/protocols/client.md` §6.1
//! and §6.11.

use std::{collections::VecDeque, mem::size_of, sync::Arc};

use rand::distr::{Alphanumeric, SampleString as _};

use super::clock::{Nanos, nanos};
use crate::{ClientInfo, HistoryPage, HistoryQuery, Position, Publication, Retention};

/// Characters of an epoch. 62^8 values: that a new life of one channel gets the name of an earlier one is as good as
/// excluded.
const EPOCH_CHARS: usize = 8;

/// A ring with more room than this is made smaller when it is mostly empty.
const SMALL_RING: usize = 32;

/// Bytes of one remembered publication beside what it points to: the shared value with its two counters, and its slot
/// in the ring, which may be twice as large as needed.
const ENTRY_BYTES: usize = size_of::<Publication>() + 2 * size_of::<usize>() + 2 * size_of::<StreamEntry>();

#[derive(Debug)]
struct StreamEntry {
    publication: Arc<Publication>,
    accepted: Nanos,
    bytes: usize,
}

/// Offsets of the entries are consecutive and end at `top`: they leave only at the old end.
#[derive(Debug)]
pub(super) struct ChannelStream {
    epoch: Arc<str>,
    top: u64,
    entries: VecDeque<StreamEntry>,
    bytes: usize,
    ttl: Nanos,
    /// Time of the last write or read.
    pub(super) last_used: Nanos,
    /// The deadline under which the shard's heap knows it.
    pub(super) armed: Option<Nanos>,
}

impl ChannelStream {
    /// A new life of a stream, under a new epoch.
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            epoch: Alphanumeric.sample_string(&mut rand::rng(), EPOCH_CHARS).into(),
            top: 0,
            entries: VecDeque::new(),
            bytes: 0,
            ttl: 0,
            last_used: now,
            armed: None,
        }
    }

    pub(super) fn position(&self) -> Position {
        Position { offset: self.top, epoch: Arc::clone(&self.epoch) }
    }

    /// Bytes of the remembered publications.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Gives the publication its position, remembers it, and forgets what `retention` no longer covers.
    pub(super) fn append(
        &mut self,
        mut publication: Publication,
        retention: Retention,
        longest_ttl: Nanos,
        now: Nanos,
    ) -> Arc<Publication> {
        self.ttl = nanos(retention.ttl).min(longest_ttl);
        self.expire(now);
        self.top += 1;
        publication.offset = self.top;
        publication.epoch = Arc::clone(&self.epoch);
        let publication = Arc::new(publication);
        let bytes = cost(&publication);
        self.bytes += bytes;
        self.entries.push_back(StreamEntry { publication: Arc::clone(&publication), accepted: now, bytes });
        let size = usize::try_from(retention.size).unwrap_or(usize::MAX);
        while self.entries.len() > size {
            self.forget_oldest();
        }
        publication
    }

    /// Forgets the publications whose time is over.
    pub(super) fn expire(&mut self, now: Nanos) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.forget_oldest();
        }
        self.give_back_room();
    }

    /// Time at which the oldest publication is to be forgotten.
    pub(super) fn next_deadline(&self) -> Option<Nanos> {
        self.entries.front().map(|entry| entry.accepted.saturating_add(self.ttl))
    }

    pub(super) fn forget_oldest(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= entry.bytes;
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
    }

    /// The ring's room is part of the accounted bytes only up to twice its entries.
    pub(super) fn give_back_room(&mut self) {
        if self.entries.capacity() > SMALL_RING && self.entries.capacity() / 4 > self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// A page as `query` asks. What expired must have been forgotten before.
    pub(super) fn page(&self, query: &HistoryQuery) -> HistoryPage {
        let count = self.entries.len();
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        // The number of remembered publications with an offset of at most `offset`.
        let up_to = |offset: u64| {
            let newer = usize::try_from(self.top.saturating_sub(offset)).unwrap_or(usize::MAX);
            count.saturating_sub(newer)
        };
        let mut budget = PageBudget::new(query.max_bytes);
        let publications: Vec<_> = if query.reverse {
            let end = match query.since {
                None => count,
                Some(0) => 0,
                Some(offset) => up_to(offset - 1),
            };
            let wanted = self.entries.range(..end).rev().take(limit);
            wanted.map_while(|entry| budget.take(&entry.publication)).collect()
        } else {
            let start = query.since.map_or(0, up_to);
            let wanted = self.entries.range(start..).take(limit);
            wanted.map_while(|entry| budget.take(&entry.publication)).collect()
        };
        HistoryPage { publications, top: self.position(), truncated: budget.is_spent, ancestors: Vec::new() }
    }
}

/// Bytes that a page may still take.
struct PageBudget {
    left_bytes: u64,
    is_first: bool,
    /// A publication did not fit.
    is_spent: bool,
}

impl PageBudget {
    fn new(max_bytes: Option<u64>) -> Self {
        Self { left_bytes: max_bytes.unwrap_or(u64::MAX), is_first: true, is_spent: false }
    }

    /// The publication, if it fits or is the first.
    fn take(&mut self, publication: &Arc<Publication>) -> Option<Arc<Publication>> {
        let bytes = publication.content_bytes();
        let is_first = std::mem::replace(&mut self.is_first, false);
        if bytes > self.left_bytes && !is_first {
            self.is_spent = true;
            return None;
        }
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        Some(Arc::clone(publication))
    }
}

/// Bytes that a remembered publication holds. A client's info is counted with each of its publications, although they
/// may share it: it lives as long as any of them.
pub(super) fn cost(publication: &Publication) -> usize {
    let tags: usize = publication.tags.iter().map(|(key, value)| key.capacity() + value.capacity()).sum();
    ENTRY_BYTES
        + publication.data.len()
        + publication.exclude_client.capacity()
        + publication.tags.capacity() * size_of::<(String, String)>()
        + tags
        + publication.info.as_deref().map_or(0, info_cost)
}

fn info_cost(info: &ClientInfo) -> usize {
    size_of::<ClientInfo>()
        + info.user.capacity()
        + info.client.capacity()
        + info.connection_info.len()
        + info.channel_info.len()
}
