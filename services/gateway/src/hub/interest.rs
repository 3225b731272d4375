//! The channels that this node wants from the broker, and the workers that want them.
//!
//! A node subscribes a channel on its first local subscriber and unsubscribes late, so that a page reload costs the
//! broker nothing. Shared by all workers and by the broker's delivery. `docs/architecture.md` §5.1.

pub mod tails;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use gorani_broker::{Broker, BrokerError, queue::QueueWake};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::settings::http::MAX_WORKERS;

/// A set of workers, a bit for each of up to [`MAX_WORKERS`], and one for [`TAILS`].
pub type WorkerSet = u128;

/// In place of a worker: tails of operators want the channel. They are no subscribers, and count as none.
pub const TAILS: usize = MAX_WORKERS;

const _: () = assert!(TAILS < WorkerSet::BITS as usize, "a worker needs its bit, and so do tails");

/// The workers in a set, without tails.
const fn subscribers(set: WorkerSet) -> WorkerSet {
    set & !(1 << TAILS)
}

/// Time for which a channel without subscribers is still received.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

struct InterestEntry {
    workers: WorkerSet,
    /// The number of this entry: an answer of the broker to an earlier entry of the name does not count.
    generation: u64,
    /// The broker has confirmed the subscription.
    confirmed: bool,
    /// The time since which nobody here wants it.
    unwanted_since: Option<Instant>,
    /// It stands in [`InterestEntries::unwanted`].
    is_queued: bool,
}

#[derive(Default)]
struct InterestEntries {
    by_name: HashMap<Arc<str>, InterestEntry>,
    /// Channels that nobody wanted at some time, and since when, the oldest first: a sweep looks at these alone, however many
    /// there are. Each stands here once, though it may be wanted again.
    unwanted: VecDeque<(Instant, Arc<str>)>,
}

impl InterestEntries {
    /// Takes those out that nobody has wanted for long enough.
    fn take_unwanted(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut left = Vec::new();
        while let Some((_, channel)) =
            self.unwanted.pop_front_if(|(since, _)| now.duration_since(*since) >= LEAVE_AFTER)
        {
            let Some(entry) = self.by_name.get_mut(&channel) else { continue };
            match entry.unwanted_since {
                // It was wanted again meanwhile, and no longer is.
                Some(since) if now.duration_since(since) < LEAVE_AFTER => {
                    self.unwanted.push_back((since, channel));
                }
                Some(_) => {
                    self.by_name.remove(&channel);
                    left.push(channel);
                }
                None => entry.is_queued = false,
            }
        }
        left
    }
}

/// The node's interest in channels.
pub struct Interest {
    broker: Arc<dyn Broker>,
    /// Held while the broker gets a change, so that it gets changes in the order in which they were made. It is
    /// not the lock of `entries`: the broker may hold its own locks while it asks for [`Interest::workers`].
    order: Mutex<()>,
    entries: RwLock<InterestEntries>,
    generations: AtomicU64,
    /// Channels that a worker wants, without those that are woken for a queue; changed under the lock of `entries`.
    wanted: AtomicUsize,
}

impl Interest {
    /// No interest yet.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self {
            broker,
            order: Mutex::new(()),
            entries: RwLock::default(),
            generations: AtomicU64::new(0),
            wanted: AtomicUsize::new(0),
        }
    }

    /// A worker wants a channel. `None` if it is in effect already; else in effect when the future resolves.
    pub fn join(
        self: &Arc<Self>,
        worker: usize,
        channel: &Arc<str>,
    ) -> Option<BoxFuture<'static, Result<(), BrokerError>>> {
        let bit = 1 << worker;
        if let Some(entry) = self.entries.read().by_name.get(channel)
            && entry.confirmed
            && entry.workers & bit != 0
        {
            return None;
        }
        let order = self.order.lock();
        let generation = {
            let mut entries = self.entries.write();
            let entry = entries.by_name.entry(channel.clone()).or_insert_with(|| InterestEntry {
                workers: 0,
                generation: self.generations.fetch_add(1, Ordering::Relaxed),
                confirmed: false,
                unwanted_since: None,
                is_queued: false,
            });
            if worker != TAILS && subscribers(entry.workers) == 0 && QueueWake::parse(channel).is_none() {
                self.wanted.fetch_add(1, Ordering::Relaxed);
            }
            entry.workers |= bit;
            entry.unwanted_since = None;
            if entry.confirmed {
                return None;
            }
            entry.generation
        };
        let subscribed = self.broker.subscribe(std::slice::from_ref(channel));
        drop(order);
        let interest = Arc::clone(self);
        let channel = channel.clone();
        Some(Box::pin(async move {
            subscribed.await?;
            if let Some(entry) = interest.entries.write().by_name.get_mut(&channel)
                && entry.generation == generation
            {
                entry.confirmed = true;
            }
            Ok(())
        }))
    }

    /// A worker no longer wants a channel. [`Interest::sweep`] passes it to the broker later.
    pub fn leave(&self, worker: usize, channel: &Arc<str>) {
        let mut entries = self.entries.write();
        let InterestEntries { by_name, unwanted } = &mut *entries;
        if let Some(entry) = by_name.get_mut(&**channel) {
            let before = entry.workers;
            entry.workers &= !(1 << worker);
            if subscribers(before) != 0
                && subscribers(entry.workers) == 0
                && QueueWake::parse(channel).is_none()
            {
                self.wanted.fetch_sub(1, Ordering::Relaxed);
            }
            if entry.workers == 0 {
                let now = Instant::now();
                entry.unwanted_since = Some(now);
                if !std::mem::replace(&mut entry.is_queued, true) {
                    unwanted.push_back((now, channel.clone()));
                }
            }
        }
    }

    /// The workers that want a channel, and [`TAILS`]; none if nobody does.
    pub fn workers(&self, channel: &str) -> WorkerSet {
        self.entries.read().by_name.get(channel).map_or(0, |entry| entry.workers)
    }

    /// Channels that a worker here wants.
    pub fn channels(&self) -> Vec<Arc<str>> {
        let entries = self.entries.read();
        let wanted = entries.by_name.iter().filter(|(_, entry)| subscribers(entry.workers) != 0);
        let mut channels: Vec<Arc<str>> = wanted.map(|(channel, _)| channel.clone()).collect();
        // The table has another order in each process; a simulation has to do the same again.
        if cfg!(test) {
            channels.sort();
        }
        channels
    }

    /// Number of channels that have subscribers here.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Channels that this node receives.
    pub fn len(&self) -> usize {
        self.entries.read().by_name.len()
    }

    /// True if it receives none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Unsubscribes from the broker the channels that nobody has wanted for a while. To be called about once a second.
    pub async fn sweep(&self, now: Instant) -> Result<(), BrokerError> {
        let unsubscribed = {
            let _order = self.order.lock();
            let unwanted = self.entries.write().take_unwanted(now);
            if unwanted.is_empty() {
                return Ok(());
            }
            self.broker.unsubscribe(&unwanted)
        };
        unsubscribed.await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use gorani_auth::{CHANNEL_NAME_MAX_BYTES, check_channel_name};
    use gorani_broker::{MemoryBroker, MemorySettings};
    use proptest::prelude::*;

    use super::*;

    fn interest() -> Arc<Interest> {
        Arc::new(Interest::new(Arc::new(MemoryBroker::new(MemorySettings::default()))))
    }

    fn queued(interest: &Interest) -> usize {
        interest.entries.read().unwanted.len()
    }

    #[actix_rt::test]
    async fn a_channel_is_left_once_nobody_has_wanted_it_for_a_while_however_often_it_was_wanted_before() {
        let interest = interest();
        let names: Vec<Arc<str>> = (0..100).map(|number| number.to_string().into()).collect();
        for name in &names {
            drop(interest.join(0, name));
        }
        let channel = &names[0];
        for _ in 0..10 {
            interest.leave(0, channel);
            drop(interest.join(0, channel));
        }
        assert_eq!(queued(&interest), 1, "a sweep looks at what was left, once");
        interest.sweep(Instant::now() + 2 * LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.len(), queued(&interest)), (100, 0), "it is wanted");
        interest.leave(0, channel);
        interest.sweep(Instant::now() + LEAVE_AFTER / 2).await.unwrap();
        assert_eq!(
            (interest.len(), queued(&interest)),
            (100, 1),
            "a page that is loaded again costs nothing"
        );
        interest.sweep(Instant::now() + 2 * LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.len(), interest.wanted(), queued(&interest)), (99, 99, 0));
    }

    #[actix_rt::test]
    async fn a_channel_that_was_wanted_again_meanwhile_waits_as_long_as_any_other() {
        let interest = interest();
        let channel: Arc<str> = "a".into();
        drop(interest.join(0, &channel));
        interest.leave(0, &channel);
        let first = Instant::now();
        drop(interest.join(0, &channel));
        while first.elapsed() < Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
        interest.leave(0, &channel);
        // Long enough for the first time, not for the second.
        interest.sweep(first + LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.len(), queued(&interest)), (1, 1));
        interest.sweep(Instant::now() + LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.len(), queued(&interest)), (0, 0));
    }

    #[actix_rt::test]
    async fn each_worker_is_told_of_the_channels_that_it_wants_and_the_broker_is_asked_once() {
        let interest = interest();
        assert!(interest.is_empty() && interest.channels().is_empty());
        let channel: Arc<str> = "a".into();
        interest.join(1, &channel).unwrap().await.unwrap();
        assert_eq!((interest.workers("a"), interest.workers("b"), interest.is_empty()), (0b10, 0, false));
        assert!(interest.join(1, &channel).is_none() && interest.join(3, &channel).is_none());
        assert_eq!((interest.workers("a"), interest.wanted()), (0b1010, 1));
        interest.leave(1, &channel);
        interest.leave(1, &channel);
        assert_eq!((interest.workers("a"), interest.wanted()), (0b1000, 1));
        assert_eq!(interest.channels(), std::slice::from_ref(&channel));
        interest.leave(3, &channel);
        interest.leave(3, &channel);
        assert_eq!((interest.workers("a"), interest.wanted(), interest.len()), (0, 0, 1));
        assert!(interest.channels().is_empty(), "it is received still, and nobody wants it");
    }

    #[actix_rt::test]
    async fn an_answer_to_an_earlier_subscription_does_not_confirm_the_next_one() {
        let interest = interest();
        let channel: Arc<str> = "a".into();
        let first = interest.join(0, &channel).unwrap();
        interest.leave(0, &channel);
        interest.sweep(Instant::now() + 2 * LEAVE_AFTER).await.unwrap();
        let next = interest.join(0, &channel).unwrap();
        first.await.unwrap();
        assert!(interest.join(0, &channel).is_some(), "the broker may not have it yet");
        next.await.unwrap();
        assert!(interest.join(0, &channel).is_none());
    }

    #[actix_rt::test]
    async fn queues_that_wake_a_worker_are_no_channels_of_subscribers() {
        let interest = interest();
        let channel = QueueWake { queue: "jobs" }.channel();
        drop(interest.join(0, &channel));
        assert_eq!((interest.wanted(), interest.len()), (0, 1));
        interest.leave(0, &channel);
        assert_eq!(interest.wanted(), 0);
    }

    #[actix_rt::test]
    async fn a_tail_holds_interest_and_is_no_subscriber() {
        let interest = interest();
        let channel: Arc<str> = "a".into();
        interest.join(TAILS, &channel).unwrap().await.unwrap();
        assert_eq!((interest.workers("a"), interest.wanted(), interest.len()), (1 << TAILS, 0, 1));
        assert!(interest.channels().is_empty());
        assert!(interest.join(0, &channel).is_none(), "the broker delivers it already");
        assert_eq!((interest.wanted(), interest.channels().len()), (1, 1));
        interest.leave(0, &channel);
        interest.sweep(Instant::now() + 2 * LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.wanted(), interest.len()), (0, 1), "the tail still wants it");
        interest.leave(TAILS, &channel);
        interest.sweep(Instant::now() + 2 * LEAVE_AFTER).await.unwrap();
        assert_eq!((interest.wanted(), interest.len()), (0, 0));
    }

    proptest! {
        #[test]
        fn no_channel_that_a_client_or_a_backend_may_name_is_the_wake_of_a_queue(queue in ".{0,40}") {
            let channel = QueueWake { queue: &queue }.channel();
            prop_assert!(check_channel_name(&channel, CHANNEL_NAME_MAX_BYTES).is_err());
        }
    }

    #[actix_rt::test]
    async fn a_channel_is_left_to_the_moment() {
        tokio::time::pause();
        let interest = interest();
        let channel: Arc<str> = "a".into();
        for _ in 0..2 {
            drop(interest.join(0, &channel));
            interest.leave(0, &channel);
            tokio::time::advance(LEAVE_AFTER / 2).await;
        }
        // Half a second after the second time.
        interest.sweep(Instant::now() + LEAVE_AFTER / 2 - Duration::from_nanos(1)).await.unwrap();
        assert_eq!(interest.len(), 1);
        interest.sweep(Instant::now() + LEAVE_AFTER / 2).await.unwrap();
        assert_eq!(interest.len(), 0);
    }
}
