//! The event log: what happened to the sessions and subscriptions of this node lately, so that it can be told afterwards why a
//! client did not get a publication. Decision record 55.
//!
//! Each worker has rings of its own ([`EventLog`]), so that nothing of it needs a lock; what belongs to no worker is in the
//! node's ([`NodeEventLog`]). An event is noted per connect, subscribe, gap or failure, never per delivery.
//!
//! - [`commands`]: commands of users that an operator follows.
//! - [`ring`]: a list that forgets its oldest entries.
//! - [`event`]: the entries.
//! - [`query`]: queries about them, and the answers of one node.
//! - [`trace`]: queries about traces, and their answers.

pub mod commands;
pub mod event;
pub mod query;
pub mod ring;
pub mod trace;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use self::{
    event::{FailedPublish, GapChange, GapEvent, SessionChange, SessionEvent, SubscriptionEvent},
    ring::Ring,
};
use crate::clock::unix_ms;

/// Refused connects have a ring of their own, this part of that of sessions: whoever guesses tokens must not wash out the others.
const REFUSED_PART: usize = 4;

/// The bounds of an event log; 0 entries: that ring keeps nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventLogSizes {
    /// Connects and disconnects.
    pub sessions: usize,
    /// Subscribes and unsubscribes.
    pub subscriptions: usize,
    /// Gaps.
    pub gaps: usize,
    /// Failed publishes.
    pub failed_publishes: usize,
    /// Bytes of all of them.
    pub max_bytes: usize,
}

impl EventLogSizes {
    /// The share of one of so many workers.
    fn of_worker(self, workers: usize) -> Self {
        let share = |all: usize| all.div_ceil(workers.max(1));
        Self {
            sessions: share(self.sessions),
            subscriptions: share(self.subscriptions),
            gaps: share(self.gaps),
            failed_publishes: share(self.failed_publishes),
            max_bytes: self.max_bytes / workers.max(1),
        }
    }

    fn refused(self) -> usize {
        self.sessions.div_ceil(REFUSED_PART)
    }

    /// A ring of so many entries, with its part of the bytes.
    fn ring<T: ring::RingEntry>(self, entries: usize) -> Ring<T> {
        // The gaps of the node itself have a second ring.
        let all = self.sessions + self.refused() + self.subscriptions + 2 * self.gaps + self.failed_publishes;
        let bytes = (self.max_bytes as u128 * entries as u128) / all.max(1) as u128;
        Ring::new(entries, usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// The events of one worker. By default it keeps nothing.
#[derive(Debug, Default)]
pub struct EventLog {
    /// The time of its beginning.
    pub began: u64,
    /// Connects and disconnects.
    pub sessions: Ring<SessionEvent>,
    /// Connections that ended before their client had connected.
    pub refused: Ring<SessionEvent>,
    /// Subscribes and unsubscribes.
    pub subscriptions: Ring<SubscriptionEvent>,
    /// Gaps of channels.
    pub gaps: Ring<GapEvent>,
    /// Disconnects by code since the beginning.
    pub disconnects: BTreeMap<u16, u64>,
}

impl EventLog {
    /// The log of one of so many workers of a node.
    pub fn of_worker(sizes: EventLogSizes, workers: usize) -> Self {
        let sizes = sizes.of_worker(workers);
        Self {
            began: unix_ms(),
            sessions: sizes.ring(sizes.sessions),
            refused: sizes.ring(sizes.refused()),
            subscriptions: sizes.ring(sizes.subscriptions),
            gaps: sizes.ring(sizes.gaps),
            disconnects: BTreeMap::new(),
        }
    }

    /// Notes a connect or a disconnect.
    pub fn note_session(&mut self, event: SessionEvent) {
        match &event.change {
            SessionChange::Refused(code) => {
                *self.disconnects.entry(*code).or_default() += 1;
                self.refused.push(event);
            }
            SessionChange::Ended(end) => {
                *self.disconnects.entry(end.code).or_default() += 1;
                self.sessions.push(event);
            }
            SessionChange::Connected => self.sessions.push(event),
        }
    }

    /// Notes a gap of a channel.
    pub fn note_gap(&mut self, channel: &Arc<str>, change: GapChange) {
        if !self.gaps.is_off() {
            self.gaps.push(GapEvent { at: unix_ms(), channel: channel.clone(), change });
        }
    }

    /// Bytes that its entries take.
    pub fn bytes(&self) -> usize {
        self.sessions.bytes() + self.refused.bytes() + self.subscriptions.bytes() + self.gaps.bytes()
    }
}

/// The events of a node that belong to none of its workers. They are rare, so a lock is no matter.
#[derive(Debug, Default)]
pub struct NodeEventLog {
    /// The sizes for the logs of its workers.
    pub sizes: EventLogSizes,
    began: u64,
    failures: Mutex<Ring<FailedPublish>>,
    gaps: Mutex<Ring<GapEvent>>,
}

impl NodeEventLog {
    /// An empty log with these bounds.
    pub fn new(sizes: EventLogSizes) -> Arc<Self> {
        Arc::new(Self {
            sizes,
            began: unix_ms(),
            failures: Mutex::new(sizes.ring(sizes.failed_publishes)),
            gaps: Mutex::new(sizes.ring(sizes.gaps)),
        })
    }

    /// True if failed publishes are kept.
    pub fn keeps_failures(&self) -> bool {
        self.sizes.failed_publishes > 0
    }

    /// Notes a publish that failed.
    pub fn note_failure(&self, channel: &str, by_client: bool, code: u32) {
        self.failures.lock().push(FailedPublish { at: unix_ms(), channel: channel.into(), by_client, code });
    }

    /// Notes what concerns the whole node.
    pub fn note(&self, change: GapChange) {
        self.gaps.lock().push(GapEvent { at: unix_ms(), channel: Arc::default(), change });
    }

    /// The newest failed publishes of a channel, newest first, at most `most`; and since when all are known.
    pub fn failures_of(&self, channel: &str, most: usize) -> (Vec<FailedPublish>, Option<u64>) {
        let failures = self.failures.lock();
        let of_channel = failures.newest_first().filter(|failure| *failure.channel == *channel);
        (of_channel.take(most).cloned().collect(), failures.known_since(self.began))
    }

    /// The newest events of the node, newest first, at most `most`; and since when all are known.
    pub fn gaps(&self, most: usize) -> (Vec<GapEvent>, Option<u64>) {
        let gaps = self.gaps.lock();
        (gaps.newest_first().take(most).cloned().collect(), gaps.known_since(self.began))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::event::{EndedSession, SubscriptionChange};

    const SIZES: EventLogSizes = EventLogSizes {
        sessions: 16_384,
        subscriptions: 32_768,
        gaps: 8_192,
        failed_publishes: 1_024,
        max_bytes: 4 * 1024 * 1024,
    };

    fn session(change: SessionChange) -> SessionEvent {
        SessionEvent {
            at: 1,
            client: "c".repeat(200).into(),
            user: "u".repeat(200).into(),
            transport: "websocket".into(),
            address: None,
            change,
        }
    }

    #[test]
    fn all_rings_of_all_workers_together_stay_within_the_bytes_of_the_setting() {
        let mut all = 0;
        for _ in 0..3 {
            let mut log = EventLog::of_worker(SIZES, 3);
            for _ in 0..40_000 {
                log.note_session(session(SessionChange::Connected));
                log.note_session(session(SessionChange::Refused(3500)));
                log.subscriptions.push(SubscriptionEvent {
                    at: 1,
                    client: "c".repeat(200).into(),
                    user: "u".into(),
                    channel: "a".repeat(255).into(),
                    change: SubscriptionChange::Refused(103),
                });
                log.note_gap(&"a".repeat(255).into(), GapChange::Missed);
            }
            all += log.bytes();
        }
        assert!((2 << 20..=SIZES.max_bytes).contains(&all), "{all}");
    }

    #[test]
    fn refused_connects_do_not_wash_out_the_others() {
        let mut log = EventLog::of_worker(SIZES, 1);
        log.note_session(session(SessionChange::Connected));
        (0..100_000).for_each(|_| log.note_session(session(SessionChange::Refused(3500))));
        assert_eq!(log.sessions.newest_first().count(), 1);
        assert_eq!(log.disconnects[&3500], 100_000);
    }

    #[test]
    fn a_log_without_sizes_keeps_only_the_counts() {
        let mut log = EventLog::of_worker(EventLogSizes::default(), 1);
        let end = EndedSession {
            code: 3008,
            reason: "slow".into(),
            connected_ms: 1,
            waiting_bytes: 1,
            waiting_ms: 1,
            channels: Vec::new(),
        };
        log.note_session(session(SessionChange::Ended(Box::new(end))));
        log.note_gap(&"a".into(), GapChange::Missed);
        assert_eq!((log.bytes(), log.disconnects[&3008]), (0, 1));
    }
}
