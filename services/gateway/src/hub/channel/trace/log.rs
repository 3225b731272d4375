//! The traces that are on, and what they note: a ring of the worker's own thread, which is there while a trace is.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    rc::Weak,
    sync::Arc,
    time::Duration,
};

use gorani_broker::ClientInfo;
use indexmap::IndexSet;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    clock::unix_ms,
    event_log::trace::{
        SAMPLED_TRACES_MAX, TRACED_MAX, TRACES_MAX, TraceCounts, TraceOutcome, TraceReport, TraceSpec,
        TraceTarget, TracedDelivery, TracedPublication, TracedRun,
    },
    hub::registry::SessionKey,
    outbox::Outbox,
};

/// Entries of a worker's ring: 2 MiB.
const ENTRIES: usize = 65_536;
/// Channels and clients whose names are kept with a ring, at most of each; those of others are not told.
const NAMES_MAX: usize = 4096;
/// Deliveries whose bytes are followed until they leave, at a time.
const FOLLOWED_MAX: usize = 64;
/// Bytes are followed for so long.
const FOLLOWED_FOR: Duration = Duration::from_secs(60);

/// The number of a channel in the ring whose name is not kept.
const UNNAMED: u16 = u16::MAX;

/// An entry of the ring, 32 bytes. `at` is in milliseconds after the log began; `traces` has a bit for each trace that it is of.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) enum TraceEntry {
    /// A run of publications.
    Run { traces: u16, channel: u16, length: u16, at: u32, whole: u32, bytes: u32, micros: u32, offset: u64 },
    /// One delivery, or what concerns all subscribers of a channel ([`SessionKey::NOBODY`]).
    Delivery {
        outcome: TraceOutcome,
        traces: u16,
        channel: u16,
        at: u32,
        detail: u32,
        offset: u64,
        session: SessionKey,
    },
}

impl TraceEntry {
    fn traces(&self) -> u16 {
        match self {
            Self::Run { traces, .. } | Self::Delivery { traces, .. } => *traces,
        }
    }
}

/// A trace that is on.
#[derive(Debug)]
struct ActiveTrace {
    spec: TraceSpec,
    /// Its bit in the entries.
    bit: u16,
    /// The number of the first entry that may be of it: an earlier trace had the same bit.
    from: u64,
    counts: TraceCounts,
    /// Tells that it has ended.
    ended: oneshot::Sender<()>,
}

/// A delivery whose bytes are in an outbox.
#[derive(Debug)]
pub(in crate::hub) struct PendingWrite {
    outbox: Outbox,
    /// All bytes of the outbox up to the end of the delivery.
    queued: u64,
    began: Instant,
    traces: u16,
    channel: u16,
    offset: u64,
    session: SessionKey,
}

/// The traces of a worker.
#[derive(Debug)]
pub(in crate::hub) struct TraceLog {
    traces: Vec<ActiveTrace>,
    entries: VecDeque<TraceEntry>,
    /// The number of the oldest entry that is kept.
    first: u64,
    began_ms: u64,
    channels: IndexSet<Arc<str>>,
    /// User and client of the sessions in the entries.
    clients: HashMap<SessionKey, (Box<str>, Box<str>)>,
    pending: Vec<PendingWrite>,
    /// Deliveries that are followed, those of `pending` included.
    followed: usize,
}

impl Default for TraceLog {
    fn default() -> Self {
        Self {
            traces: Vec::new(),
            entries: VecDeque::with_capacity(ENTRIES),
            first: 0,
            began_ms: unix_ms(),
            channels: IndexSet::new(),
            clients: HashMap::new(),
            pending: Vec::new(),
            followed: 0,
        }
    }
}

/// The beginning of a delivery that is noted.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct NotedDelivery {
    pub(in crate::hub) traces: u16,
    pub(in crate::hub) channel: u16,
    pub(in crate::hub) offset: u64,
    pub(in crate::hub) outcome: TraceOutcome,
    pub(in crate::hub) detail: u32,
}

impl TraceLog {
    /// Begins a trace; the receiver hears of its end. `None` if there are as many as may be, or as sampled contexts may begin.
    pub(in crate::hub) fn begin(&mut self, spec: TraceSpec) -> Option<oneshot::Receiver<()>> {
        if spec.trace_id.is_some() {
            let sampled = self.traces.iter().filter(|trace| trace.spec.trace_id.is_some());
            if sampled.count() >= SAMPLED_TRACES_MAX {
                return None;
            }
        }
        let taken = self.traces.iter().fold(0_u16, |taken, trace| taken | trace.bit);
        let free = (0..TRACES_MAX).map(|slot| 1_u16 << slot).find(|bit| taken & bit == 0);
        let bit = free?;
        let from = self.first + self.entries.len() as u64;
        let (ended, receiver) = oneshot::channel();
        self.traces.push(ActiveTrace { spec, bit, from, counts: TraceCounts::default(), ended });
        Some(receiver)
    }

    /// Ends a trace; with its target, if it was on.
    pub(in crate::hub) fn end(&mut self, id: &str) -> Option<TraceTarget> {
        let index = self.traces.iter().position(|trace| trace.spec.id == id)?;
        let ActiveTrace { spec, ended, .. } = self.traces.swap_remove(index);
        // Nobody waits for the end if that was its time.
        let _ = ended.send(());
        Some(spec.target)
    }

    /// True if no trace is on.
    pub(in crate::hub) fn is_idle(&self) -> bool {
        self.traces.is_empty()
    }

    /// The bits of the traces that follow a user.
    pub(in crate::hub) fn of_user(&self, user: &str) -> u16 {
        self.bits(|target| matches!(target, TraceTarget::User(own) if own == user))
    }

    /// The bits of the traces that follow a channel, or publications of it.
    pub(in crate::hub) fn of_channel(&self, name: &str) -> u16 {
        let of_publications = self.bits(
            |target| matches!(target, TraceTarget::Publication(publication) if publication.channel == name),
        );
        self.of_whole_channel(name) | of_publications
    }

    /// The bits of the traces that follow all publications of a channel.
    pub(super) fn of_whole_channel(&self, name: &str) -> u16 {
        self.bits(|target| matches!(target, TraceTarget::Channel(own) if own == name))
    }

    fn bits(&self, is_meant: impl Fn(&TraceTarget) -> bool) -> u16 {
        let meant = self.traces.iter().filter(|trace| is_meant(&trace.spec.target));
        meant.fold(0_u16, |bits, trace| bits | trace.bit)
    }

    /// The users that are followed, each with the bit of its trace.
    pub(in crate::hub) fn users(&self) -> Vec<(String, u16)> {
        let user = |trace: &ActiveTrace| match &trace.spec.target {
            TraceTarget::User(user) => Some((user.clone(), trace.bit)),
            _ => None,
        };
        self.traces.iter().filter_map(user).collect()
    }

    /// Publications of a channel that are followed, each with the bit of its trace.
    pub(super) fn publications(&self, name: &str) -> Vec<(TracedPublication, u16)> {
        let publication = |trace: &ActiveTrace| match &trace.spec.target {
            TraceTarget::Publication(own) if own.channel == name => Some((own.clone(), trace.bit)),
            _ => None,
        };
        self.traces.iter().filter_map(publication).collect()
    }

    /// The number of a channel in the entries.
    pub(super) fn number_of(&mut self, name: &str) -> u16 {
        let index = match self.channels.get_index_of(name) {
            None if self.channels.len() < NAMES_MAX => self.channels.insert_full(name.into()).0,
            None => return UNNAMED,
            Some(index) => index,
        };
        u16::try_from(index).unwrap_or(UNNAMED)
    }

    /// The time of an entry.
    pub(super) fn now(&self) -> u32 {
        u32::try_from(unix_ms().saturating_sub(self.began_ms)).unwrap_or(u32::MAX)
    }

    /// Adds an entry; the oldest one goes where there is no room.
    pub(super) fn push(&mut self, entry: TraceEntry) {
        if self.entries.len() >= ENTRIES {
            self.entries.pop_front();
            self.first += 1;
        }
        self.entries.push_back(entry);
    }

    /// Notes one delivery to a session.
    pub(super) fn note(&mut self, noted: NotedDelivery, session: SessionKey, info: Option<&ClientInfo>) {
        if let Some(info) = info
            && (self.clients.len() < NAMES_MAX && !self.clients.contains_key(&session))
        {
            self.clients.insert(session, (info.client.as_str().into(), info.user.as_str().into()));
        }
        let NotedDelivery { traces, channel, offset, outcome, detail } = noted;
        let at = self.now();
        self.push(TraceEntry::Delivery { outcome, traces, channel, at, detail, offset, session });
    }

    /// Adds to the counts of traces.
    pub(super) fn count(&mut self, traces: u16, counts: &TraceCounts) {
        for trace in self.traces.iter_mut().filter(|trace| trace.bit & traces != 0) {
            trace.counts.add(counts);
        }
    }

    /// Follows the bytes of a delivery until they leave, if there is room for another one.
    pub(super) fn await_write(&mut self, noted: &NotedDelivery, session: SessionKey, outbox: &Outbox) {
        if self.followed >= FOLLOWED_MAX {
            return;
        }
        self.followed += 1;
        self.pending.push(PendingWrite {
            queued: outbox.queued(),
            outbox: outbox.clone(),
            began: Instant::now(),
            traces: noted.traces,
            channel: noted.channel,
            offset: noted.offset,
            session,
        });
    }

    /// The deliveries that are to be followed since the last call.
    pub(in crate::hub) fn take_pending(&mut self) -> Vec<PendingWrite> {
        std::mem::take(&mut self.pending)
    }

    /// All traces that are on.
    pub(in crate::hub) fn list(&self) -> TraceReport {
        let traces = self.traces.iter().map(|trace| trace.spec.clone()).collect();
        TraceReport { traces, ..TraceReport::default() }
    }

    /// All that a trace has noted.
    pub(in crate::hub) fn report(&self, id: &str) -> TraceReport {
        let Some(trace) = self.traces.iter().find(|trace| trace.spec.id == id) else {
            return TraceReport::default();
        };
        let mut report = TraceReport {
            traces: vec![trace.spec.clone()],
            counts: trace.counts,
            forgotten: self.first.saturating_sub(trace.from),
            ..TraceReport::default()
        };
        for entry in self.newest_from(trace.from).filter(|entry| entry.traces() & trace.bit != 0) {
            match *entry {
                TraceEntry::Run { channel, length, at, whole, bytes, micros, offset, .. } => {
                    if report.runs.len() < TRACED_MAX {
                        report.runs.push(TracedRun {
                            at: self.began_ms.saturating_add(at.into()),
                            channel: self.channel(channel),
                            offset,
                            length: length.into(),
                            whole: whole.into(),
                            bytes: bytes.into(),
                            micros: micros.into(),
                        });
                    }
                }
                TraceEntry::Delivery { .. } if report.deliveries.len() < TRACED_MAX => {
                    report.deliveries.extend(self.delivery(entry));
                }
                TraceEntry::Delivery { .. } => {}
            }
        }
        report
    }

    /// Deliveries in a channel, newest first: to the clients that are meant, and what concerned all subscribers.
    pub(in crate::hub) fn deliveries_of(
        &self,
        name: &str,
        is_meant: impl Fn(&str, &str) -> bool,
        most: usize,
    ) -> Vec<TracedDelivery> {
        let deliveries = self.newest_from(0).filter_map(|entry| self.delivery(entry));
        let is_meant = |one: &TracedDelivery| {
            one.channel == name && (one.client.is_empty() || is_meant(&one.user, &one.client))
        };
        deliveries.filter(is_meant).take(most).collect()
    }

    /// The entries from this number on, newest first.
    fn newest_from(&self, number: u64) -> impl Iterator<Item = &TraceEntry> {
        let skipped = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.entries.range(skipped.min(self.entries.len())..).rev()
    }

    fn delivery(&self, entry: &TraceEntry) -> Option<TracedDelivery> {
        let TraceEntry::Delivery { outcome, channel, at, detail, offset, session, .. } = *entry else {
            return None;
        };
        let (client, user) = match self.clients.get(&session) {
            Some((client, user)) => (client.to_string(), user.to_string()),
            None if session == SessionKey::NOBODY => (String::new(), String::new()),
            None => ("?".to_owned(), String::new()),
        };
        Some(TracedDelivery {
            at: self.began_ms.saturating_add(at.into()),
            channel: self.channel(channel),
            offset,
            client,
            user,
            outcome,
            detail: detail.into(),
        })
    }

    fn channel(&self, number: u16) -> String {
        self.channels.get_index(number.into()).map_or_else(String::new, |name| name.to_string())
    }
}

impl PendingWrite {
    /// Notes when the bytes have left, unless the last trace has ended before.
    pub(in crate::hub) async fn follow(self, log: Weak<RefCell<TraceLog>>) {
        let Self { outbox, queued, began, traces, channel, offset, session } = self;
        let is_written = timeout(FOLLOWED_FOR, outbox.written_to(queued)).await == Ok(true);
        let Some(log) = log.upgrade() else { return };
        let mut log = log.borrow_mut();
        log.followed = log.followed.saturating_sub(1);
        if is_written {
            let detail = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
            let noted = NotedDelivery { traces, channel, offset, outcome: TraceOutcome::Written, detail };
            log.note(noted, session, None);
        }
    }
}
