//! Reads of history that are shared: of all on this node who want the same page at the same time, one asks the broker.
//!
//! Many come back at once (a node died, Redis was away), each at the same place of the same channel. A page may be shared only
//! by those to whom it cannot be too old: whoever subscribes must not miss what was published after the page was read and
//! before live events reach him; whoever fills a gap must not miss what was lost after the page was read. So everyone brings
//! a [`Moment`] from which on live events reach him, and takes only a page whose read was *begun* after it. Who comes while an
//! earlier read is under way waits for its end, and shares the next one with all who came meanwhile: at most two reads for any
//! number of askers. Design §5, "one read per channel per node".

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use gorani_broker::{Broker, BrokerError, HistoryPage, HistoryQuery, Retention};
use parking_lot::Mutex;

/// A point in the order of what happens on this node; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

type Page = Result<Arc<HistoryPage>, BrokerError>;

/// What is read: two askers with the same of everything can share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    channel: Arc<str>,
    since: Option<u64>,
    limit: u32,
}

/// A read under way.
struct Flight {
    begun: Moment,
    page: Shared<BoxFuture<'static, Page>>,
    /// Those who wait for it; the last one takes it out.
    askers: usize,
}

/// How a page is asked for. The request has its place in line when it returns.
type Ask = dyn Fn(&str, HistoryQuery, Retention) -> BoxFuture<'static, Result<HistoryPage, BrokerError>>
    + Send
    + Sync;

/// The reads of a node, for all its workers.
pub struct Reads {
    ask: Box<Ask>,
    clock: AtomicU64,
    flights: Mutex<HashMap<Key, Flight>>,
}

impl Reads {
    /// No read yet.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self::with(move |channel, query, retention| broker.history(channel, query, retention))
    }

    fn with(
        ask: impl Fn(&str, HistoryQuery, Retention) -> BoxFuture<'static, Result<HistoryPage, BrokerError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { ask: Box::new(ask), clock: AtomicU64::new(0), flights: Mutex::default() }
    }

    /// Now: what has happened before is seen by every read that is begun after.
    pub fn now(&self) -> Moment {
        Moment(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// The publications of a channel after an offset, in ascending order, read after that moment.
    pub async fn read(
        &self,
        channel: &Arc<str>,
        since: Option<u64>,
        limit: u32,
        retention: Retention,
        after: Moment,
    ) -> Page {
        let key = Key { channel: channel.clone(), since, limit };
        loop {
            let asking = self.ask(&key, retention, after);
            let page = asking.page.clone().await;
            if asking.begun > after {
                return page;
            }
        }
    }

    /// Joins the read under way, or begins one.
    fn ask(&self, key: &Key, retention: Retention, after: Moment) -> Asking<'_> {
        let mut flights = self.flights.lock();
        match flights.get_mut(key) {
            // One that is over and was too early is replaced; those who wait for it have it in their hands.
            Some(flight) if flight.begun > after || flight.page.peek().is_none() => {
                flight.askers += 1;
                Asking { reads: self, key: key.clone(), begun: flight.begun, page: flight.page.clone() }
            }
            _ => {
                let begun = self.now();
                let query = HistoryQuery { limit: key.limit, since: key.since, reverse: false };
                let reading = (self.ask)(&key.channel, query, retention);
                let page = reading.map(|page| page.map(Arc::new)).boxed().shared();
                flights.insert(key.clone(), Flight { begun, page: page.clone(), askers: 1 });
                Asking { reads: self, key: key.clone(), begun, page }
            }
        }
    }
}

/// One who waits for a read.
struct Asking<'a> {
    reads: &'a Reads,
    key: Key,
    begun: Moment,
    page: Shared<BoxFuture<'static, Page>>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut flights = self.reads.flights.lock();
        if let Some(flight) = flights.get_mut(&self.key)
            && flight.begun == self.begun
        {
            flight.askers -= 1;
            if flight.askers == 0 {
                flights.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
pub(in crate::hub) mod tests;
