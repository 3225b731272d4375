//! Which channels this node wants from the broker, and which of its workers want them.
//!
//! A node subscribes a channel on its first local subscriber and unsubscribes late, so that a page reload costs the
//! broker nothing. Shared by all workers and by the broker's delivery. Design §5, "Interest".

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use gorani_broker::{Broker, BrokerError, queue::woken_queue};
use parking_lot::{Mutex, RwLock};

use crate::settings::http::MAX_WORKERS;

/// A set of workers, a bit for each of up to [`MAX_WORKERS`].
pub type WorkerSet = u128;

const _: () = assert!(MAX_WORKERS <= WorkerSet::BITS as usize, "a worker needs its bit");

/// How long a channel without subscribers is still received.
const LEAVE_AFTER: Duration = Duration::from_secs(1);

struct Entry {
    workers: WorkerSet,
    /// Which entry of this name it is: an answer of the broker to an earlier one does not count.
    generation: u64,
    /// The broker has confirmed the subscription.
    confirmed: bool,
    /// Since when nobody here wants it.
    unwanted_since: Option<Instant>,
}

/// The node's interest in channels.
pub struct Interest {
    broker: Arc<dyn Broker>,
    /// Held while the broker is told of a change, so that it hears changes in the order in which they were made. It is
    /// not the lock of `entries`: the broker may hold its own locks while it asks for [`Interest::workers`].
    order: Mutex<()>,
    entries: RwLock<HashMap<Arc<str>, Entry>>,
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
        if let Some(entry) = self.entries.read().get(channel)
            && entry.confirmed
            && entry.workers & bit != 0
        {
            return None;
        }
        let order = self.order.lock();
        let generation = {
            let mut entries = self.entries.write();
            let entry = entries.entry(channel.clone()).or_insert_with(|| Entry {
                workers: 0,
                generation: self.generations.fetch_add(1, Ordering::Relaxed),
                confirmed: false,
                unwanted_since: None,
            });
            if entry.workers == 0 && woken_queue(channel).is_none() {
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
            if let Some(entry) = interest.entries.write().get_mut(&channel)
                && entry.generation == generation
            {
                entry.confirmed = true;
            }
            Ok(())
        }))
    }

    /// A worker no longer wants a channel. The broker is told later, by [`Interest::sweep`].
    pub fn leave(&self, worker: usize, channel: &str) {
        if let Some(entry) = self.entries.write().get_mut(channel) {
            let before = entry.workers;
            entry.workers &= !(1 << worker);
            if entry.workers == 0 {
                if before != 0 && woken_queue(channel).is_none() {
                    self.wanted.fetch_sub(1, Ordering::Relaxed);
                }
                entry.unwanted_since = Some(Instant::now());
            }
        }
    }

    /// The workers that want a channel; none if nobody does.
    pub fn workers(&self, channel: &str) -> WorkerSet {
        self.entries.read().get(channel).map_or(0, |entry| entry.workers)
    }

    /// Channels that somebody here wants.
    pub fn channels(&self) -> Vec<Arc<str>> {
        let entries = self.entries.read();
        entries.iter().filter(|(_, entry)| entry.workers != 0).map(|(channel, _)| channel.clone()).collect()
    }

    /// Number of channels that have subscribers here.
    pub fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Channels that this node receives.
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Whether it receives none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells the broker of the channels that nobody has wanted for a while. To be called about once a second.
    pub async fn sweep(&self, now: Instant) -> Result<(), BrokerError> {
        let unsubscribed = {
            let _order = self.order.lock();
            let mut unwanted = Vec::new();
            self.entries.write().retain(|channel, entry| {
                let leave =
                    entry.unwanted_since.is_some_and(|since| now.duration_since(since) >= LEAVE_AFTER);
                if leave {
                    unwanted.push(channel.clone());
                }
                !leave
            });
            if unwanted.is_empty() {
                return Ok(());
            }
            self.broker.unsubscribe(&unwanted)
        };
        unsubscribed.await
    }
}
