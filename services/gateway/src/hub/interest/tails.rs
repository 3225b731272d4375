//! Tails: what operators watch of channels as it comes from the broker. A tail holds interest in its channel and is no subscription:
//! presence, limits, hooks and counts of subscribers do not know it. Decision record 63.
//!
//! The broker's delivery puts events into a queue of each tail, and never waits: what is above the tail's rate or does not fit is
//! skipped and counted. Where nobody listens, the delivery does nothing for tails: a channel with a tail has a bit in the interest of
//! the node, beside those of its workers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use gorani_broker::{BrokerError, ChannelEvent};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{Interest, TAILS};
use crate::clock::unix_ms;

/// Events that wait for a tail.
const WAITING_EVENTS: usize = 1024;
/// Bytes of their data.
const WAITING_BYTES: usize = 1024 * 1024;
/// The rate is counted in windows of so long: what a window lets through follows one another without holes.
const WINDOW: Duration = Duration::from_secs(1);

/// The tails of a node by channel.
pub struct ChannelTails {
    interest: Arc<Interest>,
    by_channel: Mutex<HashMap<Arc<str>, Vec<Arc<TailQueue>>>>,
}

/// One event for a tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailedEvent {
    /// Unix milliseconds at which it came to this node.
    pub arrived_ms: u64,
    /// Events before it that were skipped.
    pub skipped: u64,
    /// The event; none where some may have been lost between the broker and this node.
    pub event: Option<ChannelEvent>,
}

/// The end of a tail that reads; the tail ends when it is dropped.
pub struct ChannelTail {
    tails: Arc<ChannelTails>,
    channel: Arc<str>,
    queue: Arc<TailQueue>,
}

/// The queue of one tail.
struct TailQueue {
    waiting: Mutex<WaitingEvents>,
    arrived: Notify,
}

struct WaitingEvents {
    events: VecDeque<TailedEvent>,
    bytes: usize,
    /// Events that were skipped after the last one that waits.
    skipped: u64,
    /// Something was skipped since the queue was last emptied.
    has_skipped: bool,
    /// Of those that were skipped since then, the ones that no history has.
    unrecorded: u64,
    with_joins: bool,
    rate: u64,
    /// History is being read, so that whatever fits is kept, above the rate as well.
    is_replaying: bool,
    window: Instant,
    /// Events in the window.
    taken: u64,
}

impl ChannelTails {
    /// No tail yet.
    pub fn new(interest: Arc<Interest>) -> Self {
        Self { interest, by_channel: Mutex::default() }
    }

    /// Begins a tail: all that the broker accepts from now on comes to it, at most `rate` events a second, with joins and leaves if
    /// they are wanted. It begins as one that reads history: [`ChannelTail::set_replaying`].
    ///
    /// # Errors
    /// The broker does not deliver the channel.
    pub async fn listen(
        self: &Arc<Self>,
        channel: &str,
        rate: u64,
        with_joins: bool,
    ) -> Result<ChannelTail, BrokerError> {
        let channel: Arc<str> = channel.into();
        let waiting = WaitingEvents {
            events: VecDeque::new(),
            bytes: 0,
            skipped: 0,
            has_skipped: false,
            unrecorded: 0,
            with_joins,
            rate,
            is_replaying: true,
            window: Instant::now(),
            taken: 0,
        };
        let queue = Arc::new(TailQueue { waiting: Mutex::new(waiting), arrived: Notify::new() });
        self.by_channel.lock().entry(channel.clone()).or_default().push(queue.clone());
        // Gives everything back whichever way this ends.
        let tail = ChannelTail { tails: self.clone(), channel, queue };
        if let Some(in_effect) = self.interest.join(TAILS, &tail.channel) {
            in_effect.await?;
        }
        Ok(tail)
    }

    /// Tails that listen.
    #[cfg(test)]
    pub(crate) fn open_count(&self) -> usize {
        self.by_channel.lock().values().map(Vec::len).sum()
    }

    /// An event of a channel that has a tail.
    pub fn event(&self, channel: &str, event: &ChannelEvent) {
        self.each(channel, |waiting| waiting.push(Some(event)));
    }

    /// Events of the channel may have been lost.
    pub fn gap(&self, channel: &str) {
        self.each(channel, |waiting| waiting.push(None));
    }

    fn each(&self, channel: &str, tell: impl Fn(&mut WaitingEvents)) {
        if let Some(queues) = self.by_channel.lock().get(channel) {
            for queue in queues {
                tell(&mut queue.waiting.lock());
                queue.arrived.notify_one();
            }
        }
    }

    fn end(&self, channel: &Arc<str>, queue: &Arc<TailQueue>) {
        let mut by_channel = self.by_channel.lock();
        let Some(queues) = by_channel.get_mut(channel) else { return };
        queues.retain(|other| !Arc::ptr_eq(other, queue));
        if queues.is_empty() {
            by_channel.remove(channel);
            // Under the lock: a tail that begins now joins after it.
            self.interest.leave(TAILS, channel);
        }
    }
}

/// True for an event that history has: a publication that was given an offset.
fn is_recorded(event: &ChannelEvent) -> bool {
    matches!(event, ChannelEvent::Publication(publication) if publication.offset > 0)
}

impl WaitingEvents {
    fn push(&mut self, event: Option<&ChannelEvent>) {
        let bytes = match event {
            Some(ChannelEvent::Publication(publication)) => {
                usize::try_from(publication.content_bytes()).unwrap_or(usize::MAX)
            }
            Some(_) if !self.with_joins => return,
            Some(ChannelEvent::Join(info) | ChannelEvent::Leave(info)) => {
                usize::try_from(info.content_bytes()).unwrap_or(usize::MAX)
            }
            // One after the other says no more.
            None if self.events.back().is_some_and(|last| last.event.is_none()) => return,
            None => 0,
        };
        let fits = self.events.len() < WAITING_EVENTS
            && (self.events.is_empty() || self.bytes.saturating_add(bytes) <= WAITING_BYTES);
        if !fits || !self.is_within_rate() {
            self.skipped += 1;
            self.has_skipped = true;
            self.unrecorded += u64::from(!event.is_some_and(is_recorded));
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.events.push_back(TailedEvent {
            arrived_ms: unix_ms(),
            skipped: std::mem::take(&mut self.skipped),
            event: event.cloned(),
        });
    }

    fn is_within_rate(&mut self) -> bool {
        if self.is_replaying {
            return true;
        }
        if self.window.elapsed() >= WINDOW {
            self.window = Instant::now();
            self.taken = 0;
        }
        self.taken += 1;
        self.taken <= self.rate
    }

    fn pop(&mut self) -> Option<TailedEvent> {
        let event = self.events.pop_front()?;
        let bytes = match &event.event {
            Some(ChannelEvent::Publication(publication)) => publication.content_bytes(),
            Some(ChannelEvent::Join(info) | ChannelEvent::Leave(info)) => info.content_bytes(),
            None => 0,
        };
        self.bytes = self.bytes.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        if self.events.is_empty() {
            self.bytes = 0;
        }
        Some(event)
    }
}

impl ChannelTail {
    /// The channel.
    pub fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    /// The next event. It may be given up at any time: nothing is lost by that.
    pub async fn next(&self) -> TailedEvent {
        loop {
            if let Some(event) = self.queue.waiting.lock().pop() {
                return event;
            }
            self.queue.arrived.notified().await;
        }
    }

    /// The number of events that were skipped after all that was read, unless others wait after them.
    pub fn take_skipped(&self) -> u64 {
        let mut waiting = self.queue.waiting.lock();
        if waiting.events.is_empty() { std::mem::take(&mut waiting.skipped) } else { 0 }
    }

    /// While history is read, whatever fits is kept, above the rate as well.
    pub fn set_replaying(&self, is_replaying: bool) {
        let mut waiting = self.queue.waiting.lock();
        waiting.is_replaying = is_replaying;
        waiting.window = Instant::now();
        waiting.taken = 0;
    }

    /// Forgets all that waits, if something was skipped after the last call: it is in the history that is read from now on. The
    /// number of those that no history has.
    pub fn forget_holes(&self) -> Option<u64> {
        let mut waiting = self.queue.waiting.lock();
        if !std::mem::take(&mut waiting.has_skipped) {
            return None;
        }
        let forgotten = waiting.events.drain(..).filter_map(|waiting| waiting.event);
        let lost = forgotten.filter(|event| !is_recorded(event)).count() as u64;
        (waiting.bytes, waiting.skipped) = (0, 0);
        Some(lost + std::mem::take(&mut waiting.unrecorded))
    }
}

impl Drop for ChannelTail {
    fn drop(&mut self) {
        self.tails.end(&self.channel, &self.queue);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use gorani_broker::{ClientInfo, MemoryBroker, MemorySettings, Publication};

    use super::*;

    fn tails() -> Arc<ChannelTails> {
        let broker = Arc::new(MemoryBroker::new(MemorySettings::default()));
        Arc::new(ChannelTails::new(Arc::new(Interest::new(broker))))
    }

    fn publication(offset: u64, bytes: usize) -> ChannelEvent {
        let publication = Publication { offset, data: vec![b'x'; bytes].into(), ..Publication::default() };
        ChannelEvent::Publication(Arc::new(publication))
    }

    fn offset(event: &TailedEvent) -> u64 {
        match &event.event {
            Some(ChannelEvent::Publication(publication)) => publication.offset,
            _ => 0,
        }
    }

    #[actix_rt::test]
    async fn interest_is_held_while_one_of_several_tails_listens_and_no_longer() {
        let tails = tails();
        let first = tails.listen("a", 100, false).await.unwrap();
        let second = tails.listen("a", 100, false).await.unwrap();
        assert_eq!((tails.interest.workers("a"), tails.interest.wanted()), (1 << TAILS, 0));
        drop(first);
        assert_eq!(tails.interest.workers("a"), 1 << TAILS);
        drop(second);
        assert_eq!((tails.interest.workers("a"), tails.by_channel.lock().len()), (0, 0));
    }

    #[actix_rt::test]
    async fn above_the_rate_events_are_skipped_and_counted_before_the_next_one() {
        tokio::time::pause();
        let tails = tails();
        let tail = tails.listen("a", 3, false).await.unwrap();
        tail.set_replaying(false);
        (1..=10).for_each(|offset| tails.event("a", &publication(offset, 1)));
        for expected in 1..=3 {
            assert_eq!(offset(&tail.next().await), expected);
        }
        tokio::time::advance(WINDOW).await;
        tails.event("a", &publication(11, 1));
        let next = tail.next().await;
        assert_eq!((offset(&next), next.skipped), (11, 7));
        (12..=20).for_each(|offset| tails.event("a", &publication(offset, 1)));
        assert_eq!(tail.take_skipped(), 0, "two wait before them");
        assert_eq!((offset(&tail.next().await), offset(&tail.next().await)), (12, 13));
        assert_eq!((tail.take_skipped(), tail.take_skipped()), (7, 0));
    }

    #[actix_rt::test]
    async fn what_waits_for_one_that_does_not_read_is_bounded_in_events_and_in_bytes() {
        let tails = tails();
        let tail = tails.listen("a", 100, false).await.unwrap();
        (1..=3).for_each(|_| tails.event("a", &publication(0, 1)));
        (1..=5000).for_each(|offset| tails.event("a", &publication(offset, 1)));
        (1..=4).for_each(|_| tails.event("a", &publication(0, 1)));
        assert_eq!(tail.queue.waiting.lock().events.len(), WAITING_EVENTS);
        assert_eq!(
            (tail.forget_holes(), tail.forget_holes()),
            (Some(7), None),
            "no history has those without an offset"
        );
        (0..100).for_each(|offset| tails.event("a", &publication(offset, WAITING_BYTES / 4)));
        let waiting = |tail: &ChannelTail| tail.queue.waiting.lock().events.len();
        assert_eq!((waiting(&tail), tail.queue.waiting.lock().bytes), (4, WAITING_BYTES));
        for _ in 0..4 {
            tail.next().await;
        }
        tails.event("a", &publication(100, 10 * WAITING_BYTES));
        assert_eq!((waiting(&tail), tail.next().await.skipped), (1, 96), "one fits, whatever its size");
    }

    #[actix_rt::test]
    async fn joins_come_to_tails_that_want_them_and_a_gap_comes_in_its_place() {
        let tails = tails();
        let (with, without) =
            (tails.listen("a", 9, true).await.unwrap(), tails.listen("a", 9, false).await.unwrap());
        tails.event("a", &ChannelEvent::Join(Arc::new(ClientInfo::default())));
        tails.event("b", &publication(9, 1));
        tails.gap("a");
        tails.gap("a");
        tails.event("a", &publication(1, 1));
        assert!(matches!(with.next().await.event, Some(ChannelEvent::Join(_))));
        for tail in [with, without] {
            assert_eq!(tail.next().await.event, None);
            assert_eq!(offset(&tail.next().await), 1);
        }
    }
}
