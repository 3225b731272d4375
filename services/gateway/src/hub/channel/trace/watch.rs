//! The part of a channel in traces: it looks at each run of publications, and counts the deliveries of those that are followed.

use std::{
    cell::{RefCell, RefMut},
    collections::HashMap,
    rc::Rc,
};

use gorani_broker::{ChannelEvent, ClientInfo, Publication};
use tokio::time::Instant;

use super::log::{NotedDelivery, TraceEntry, TraceLog};
use crate::{
    event_log::trace::{TraceCounts, TraceOutcome, TracedPublication},
    hub::{
        registry::SessionKey,
        subscription::{RunObserver, Unobserved},
    },
    outbox::Outbox,
};

/// Single deliveries of one run that are noted, beside those of users that are followed. The others are counted.
const NOTED_PER_RUN: usize = 64;

/// The traces that concern a channel.
#[derive(Debug)]
pub(in crate::hub) struct TraceWatch {
    log: Rc<RefCell<TraceLog>>,
    /// The number of the channel in the log.
    channel: u16,
    /// The bits of the traces that follow all of the channel.
    traces: u16,
    /// Sessions of users that are followed, with the bits of their traces.
    sessions: HashMap<SessionKey, u16>,
    /// The bits of their keys: a session with another one is not among them, so that few are looked for in the table.
    session_bits: u64,
    /// Publications that are followed, with the bits of their traces.
    publications: Vec<(TracedPublication, u16)>,
}

/// Receives the outcomes of a run for all subscribers of a channel.
pub(in crate::hub) trait FanOutObserver: RunObserver {
    /// A subscriber has been served; `is_lost`: its subscription has just lost its position.
    fn served(&mut self, key: SessionKey, info: &ClientInfo, outbox: &Outbox, is_lost: bool);
}

impl FanOutObserver for Unobserved {
    #[inline]
    fn served(&mut self, _: SessionKey, _: &ClientInfo, _: &Outbox, _: bool) {}
}

/// Counts the deliveries of one run.
pub(in crate::hub) struct ObservedRun<'w> {
    watch: &'w TraceWatch,
    log: RefMut<'w, TraceLog>,
    /// The bits of the traces that follow the whole run.
    traces: u16,
    offset: u64,
    length: usize,
    began: Instant,
    at: u32,
    /// Subscribers that got all of it. They are most, and cost an addition each: what follows is of the others.
    whole: u64,
    /// The bytes of those.
    whole_bytes: u64,
    /// Bytes for the subscriber that is being served.
    bytes: usize,
    /// The outcome for it, where it did not get all.
    other: Option<TraceOutcome>,
    counts: TraceCounts,
    noted: usize,
}

fn publication(event: &ChannelEvent) -> Option<&Publication> {
    match event {
        ChannelEvent::Publication(publication) => Some(publication),
        ChannelEvent::Join(_) | ChannelEvent::Leave(_) => None,
    }
}

impl TraceWatch {
    /// The part of a channel in the traces that are on; `None` if none concerns it.
    pub(in crate::hub) fn begin(
        log: &Rc<RefCell<TraceLog>>,
        name: &str,
        sessions: HashMap<SessionKey, u16>,
    ) -> Option<Self> {
        let (traces, publications) = (log.borrow().of_whole_channel(name), log.borrow().publications(name));
        if traces == 0 && publications.is_empty() && sessions.is_empty() {
            return None;
        }
        let channel = log.borrow_mut().number_of(name);
        let session_bits = sessions.keys().fold(0, |bits, key| bits | key.bit());
        Some(Self { log: log.clone(), channel, traces, sessions, session_bits, publications })
    }

    /// Follows another session, if these bits have any.
    pub(in crate::hub) fn follow(&mut self, key: SessionKey, traces: u16) {
        if traces != 0 {
            self.sessions.insert(key, traces);
            self.session_bits |= key.bit();
        }
    }

    /// Forgets a session that has left. False if nothing is left to follow.
    pub(in crate::hub) fn forget(&mut self, key: SessionKey) -> bool {
        self.sessions.remove(&key);
        self.traces != 0 || !self.publications.is_empty() || !self.sessions.is_empty()
    }

    /// Cuts a run of this length at the head of `events`, so that a publication that is followed stands alone.
    pub(in crate::hub) fn cut(&self, events: &[ChannelEvent], length: usize) -> usize {
        if self.publications.is_empty() {
            return length;
        }
        match events.iter().take(length).position(|event| self.bits_of(event) != 0) {
            None => length,
            Some(0) => 1,
            Some(before) => before,
        }
    }

    /// The bits of the traces that follow this publication alone.
    fn bits_of(&self, event: &ChannelEvent) -> u16 {
        let Some(publication) = publication(event) else { return 0 };
        let meant = self.publications.iter().filter(|(own, _)| own.is(publication));
        meant.fold(0_u16, |bits, (_, bit)| bits | bit)
    }

    /// Follows a run, unless no trace concerns it.
    pub(in crate::hub) fn observe(&self, run: &[ChannelEvent]) -> Option<ObservedRun<'_>> {
        let first = run.first()?;
        let offset = publication(first)?.offset;
        let traces = self.traces | self.bits_of(first);
        if traces == 0 && self.sessions.is_empty() {
            return None;
        }
        let log = self.log.borrow_mut();
        let at = log.now();
        Some(ObservedRun {
            watch: self,
            log,
            traces,
            offset,
            length: run.len(),
            began: Instant::now(),
            at,
            whole: 0,
            whole_bytes: 0,
            bytes: 0,
            other: None,
            counts: TraceCounts::default(),
            noted: 0,
        })
    }

    /// Notes what happens to events for all subscribers of the channel.
    pub(in crate::hub) fn note_all(&self, outcome: TraceOutcome, events: &[ChannelEvent]) {
        let of_sessions = self.sessions.values().fold(0_u16, |bits, bit| bits | bit);
        for event in events {
            let Some(publication) = publication(event) else { continue };
            let traces = self.traces | of_sessions | self.bits_of(event);
            if traces != 0 {
                let offset = publication.offset;
                let noted = NotedDelivery { traces, channel: self.channel, offset, outcome, detail: 0 };
                self.log.borrow_mut().note(noted, SessionKey::NOBODY, None);
            }
        }
    }

    /// Notes that a subscription got what was held back for it, up to this offset; or that it lost its position with that.
    pub(in crate::hub) fn note_released(
        &self,
        key: SessionKey,
        info: &ClientInfo,
        offset: u64,
        is_lost: bool,
    ) {
        let of_publications = self.publications.iter().fold(0_u16, |bits, (_, bit)| bits | bit);
        let of_session = self.sessions.get(&key).copied().unwrap_or_default();
        let traces = self.traces | of_publications | of_session;
        if traces != 0 {
            let outcome = if is_lost { TraceOutcome::Lost } else { TraceOutcome::Released };
            let noted = NotedDelivery { traces, channel: self.channel, offset, outcome, detail: 0 };
            self.log.borrow_mut().note(noted, key, Some(info));
        }
    }
}

impl RunObserver for ObservedRun<'_> {
    #[inline]
    fn delivered(&mut self, outcome: TraceOutcome, bytes: usize) {
        self.bytes = bytes;
        if outcome == TraceOutcome::Whole {
            self.whole += 1;
            self.whole_bytes += bytes as u64;
        } else {
            self.other = Some(outcome);
        }
    }
}

impl FanOutObserver for ObservedRun<'_> {
    #[inline]
    fn served(&mut self, key: SessionKey, info: &ClientInfo, outbox: &Outbox, is_lost: bool) {
        let is_plain = self.other.is_none() && !is_lost;
        if !is_plain || self.watch.session_bits & key.bit() != 0 || outbox.is_blocked() {
            self.served_otherwise(key, info, outbox, is_lost);
        }
    }
}

impl ObservedRun<'_> {
    /// Counts a delivery that is no plain success, and notes it or that of a session that is followed.
    #[cold]
    fn served_otherwise(&mut self, key: SessionKey, info: &ClientInfo, outbox: &Outbox, is_lost: bool) {
        let (outcome, bytes) = match self.other.take() {
            _ if is_lost => (TraceOutcome::Lost, 0),
            other => (other.unwrap_or(TraceOutcome::Whole), self.bytes),
        };
        // What was delivered whole is counted already.
        if outcome != TraceOutcome::Whole {
            self.counts.count(outcome, bytes);
        }
        let of_session = self.watch.sessions.get(&key).copied().unwrap_or_default();
        if outcome == TraceOutcome::Whole && of_session == 0 && !outbox.is_blocked() {
            return;
        }
        // What the traces of the run count is counted there.
        let alone = of_session & !self.traces;
        if alone != 0 {
            let mut counts = TraceCounts::default();
            counts.count(outcome, bytes);
            self.log.count(alone, &counts);
        }
        let traces = self.traces | of_session;
        if traces == 0 || (of_session == 0 && self.noted >= NOTED_PER_RUN) {
            return;
        }
        self.noted += 1;
        let detail = u32::try_from(outbox.len_bytes()).unwrap_or(u32::MAX);
        let noted =
            NotedDelivery { traces, channel: self.watch.channel, offset: self.offset, outcome, detail };
        self.log.note(noted, key, Some(info));
        if matches!(outcome, TraceOutcome::Whole | TraceOutcome::Part) {
            self.log.await_write(&noted, key, outbox);
        }
    }

    /// Notes the run, once all subscribers have been served.
    pub(in crate::hub) fn finish(mut self) {
        if self.traces == 0 {
            return;
        }
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counts.matched += self.whole;
        self.counts.whole = self.whole;
        self.counts.bytes += self.whole_bytes;
        self.counts.runs = 1;
        self.counts.publications = self.length as u64;
        self.counts.micros = micros;
        let counts = self.counts;
        self.log.count(self.traces, &counts);
        let short = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        self.log.push(TraceEntry::Run {
            traces: self.traces,
            channel: self.watch.channel,
            length: u16::try_from(self.length).unwrap_or(u16::MAX),
            at: self.at,
            whole: short(counts.whole),
            bytes: short(counts.bytes),
            micros: short(micros),
            offset: self.offset,
        });
    }
}
