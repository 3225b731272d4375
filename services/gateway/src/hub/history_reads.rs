//! Heavy reads of the broker by this node: history, presence, recovery. Equal reads of history are shared, and all of them have a
//! budget. `docs/architecture.md` §5.4.
//!
//! # Sharing
//! Of all readers on this node that want the same page at the same time, one asks the broker. Many come back at once (a node died,
//! Redis was away), each at the same position of the same channel. A page may be shared only by readers for which it cannot be
//! too old: a subscriber must not miss what was published after the page was read and before live events reach it; a reader that
//! fills a gap must not miss what was lost after the page was read. So each brings a [`ReadVersion`] from which on live events
//! reach it, and takes only a page whose read was *begun* after it. Who comes during an earlier read waits for its end, and
//! shares the next one with all that came meanwhile: at most two reads for any number of readers.
//!
//! # Budget
//! A short request may bring megabytes; however many clients ask, only so many reads are under way, and the others wait in the
//! order in which they came. Each read begins with a page of at most [`PAGE_BYTES`]. Most end there. One that brings more takes a
//! permit for large reads, of which there are few, so what all reads hold together is bounded in bytes. Reads for clients, for
//! backends and for gaps have permits of their own: none of them stands in another's line. Decision record 26.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use gorani_broker::{Broker, BrokerError, HistoryPage, HistoryQuery, Retention};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    metrics::clients::{Counted, ReadMetrics},
    settings::{ClientSettings, ReadSettings},
};

/// A point in the order of what happens on this node; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadVersion(u64);

type SharedPage = Result<Arc<HistoryPage>, BrokerError>;

/// The parameters of a read: two readers with the same parameters can share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HistoryRead {
    /// The channel.
    pub channel: Arc<str>,
    /// The publications that it reads.
    pub query: HistoryQuery,
    /// The requester of the read.
    pub source: ReadSource,
}

/// A read under way.
struct InFlightRead {
    begun: ReadVersion,
    page: Shared<BoxFuture<'static, SharedPage>>,
    /// Those who wait for it; the last one takes it out.
    askers: usize,
}

/// The function that reads a page.
type PageReader = dyn Fn(&str, HistoryQuery, Retention) -> BoxFuture<'static, Result<HistoryPage, BrokerError>>
    + Send
    + Sync;

/// The reads of a node, for all its workers.
pub struct HistoryReads {
    ask: Arc<PageReader>,
    budget: Arc<ReadBudget>,
    clock: AtomicU64,
    in_flight: Mutex<HashMap<HistoryRead, InFlightRead>>,
}

impl HistoryReads {
    /// No read yet.
    pub fn new(broker: Arc<dyn Broker>, budget: Arc<ReadBudget>) -> Self {
        Self::with(budget, move |channel, query, retention| broker.history(channel, query, retention))
    }

    fn with(
        budget: Arc<ReadBudget>,
        ask: impl Fn(&str, HistoryQuery, Retention) -> BoxFuture<'static, Result<HistoryPage, BrokerError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { ask: Arc::new(ask), budget, clock: AtomicU64::new(0), in_flight: Mutex::default() }
    }

    /// The budget that bounds them.
    pub fn budget(&self) -> &Arc<ReadBudget> {
        &self.budget
    }

    /// Now: what has happened before is seen by every read that is begun after.
    pub fn now(&self) -> ReadVersion {
        ReadVersion(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    /// A read that was begun after that moment.
    ///
    /// # Errors
    /// The broker's; [`BrokerError::Limit`] where too many reads are under way for too long.
    pub async fn read(&self, read: HistoryRead, retention: Retention, after: ReadVersion) -> SharedPage {
        loop {
            let asking = self.ask(&read, retention, after);
            let page = asking.page.clone().await;
            if asking.begun > after {
                return page;
            }
        }
    }

    /// The same for all that happened up to now; the page is the caller's own.
    pub async fn history(
        &self,
        source: ReadSource,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, BrokerError> {
        let read = HistoryRead { channel: channel.into(), query, source };
        self.read(read, retention, self.now()).await.map(Arc::unwrap_or_clone)
    }

    /// Joins the read under way, or begins one.
    fn ask(&self, key: &HistoryRead, retention: Retention, after: ReadVersion) -> ReadWaiter<'_> {
        let mut in_flight = self.in_flight.lock();
        match in_flight.get_mut(key) {
            // One that is over and was too early is replaced; those who wait for it have it in their hands.
            Some(read) if read.begun > after || read.page.peek().is_none() => {
                read.askers += 1;
                ReadWaiter { reads: self, key: key.clone(), begun: read.begun, page: read.page.clone() }
            }
            _ => {
                let begun = self.now();
                let reading =
                    read_pages(Arc::clone(&self.ask), Arc::clone(&self.budget), key.clone(), retention);
                let page = reading.map(|page| page.map(Arc::new)).boxed().shared();
                in_flight.insert(key.clone(), InFlightRead { begun, page: page.clone(), askers: 1 });
                ReadWaiter { reads: self, key: key.clone(), begun, page }
            }
        }
    }
}

/// One who waits for a read.
struct ReadWaiter<'a> {
    reads: &'a HistoryReads,
    key: HistoryRead,
    begun: ReadVersion,
    page: Shared<BoxFuture<'static, SharedPage>>,
}

impl Drop for ReadWaiter<'_> {
    fn drop(&mut self) {
        let mut in_flight = self.reads.in_flight.lock();
        if let Some(read) = in_flight.get_mut(&self.key)
            && read.begun == self.begun
        {
            read.askers -= 1;
            if read.askers == 0 {
                in_flight.remove(&self.key);
            }
        }
    }
}

/// Reads in pages: one first, which mostly is all; then, as a large read, the rest up to the query's limit and bytes.
async fn read_pages(
    ask: Arc<PageReader>,
    budget: Arc<ReadBudget>,
    HistoryRead { channel, mut query, source }: HistoryRead,
    retention: Retention,
) -> Result<HistoryPage, BrokerError> {
    if query.limit == 0 {
        // The position alone is no heavy read.
        return ask(&channel, query, retention).await;
    }
    let most_bytes = query.max_bytes.unwrap_or(u64::MAX);
    let permit = budget.page(source).await?;
    query.max_bytes = Some(most_bytes.min(PAGE_BYTES));
    let mut whole = ask(&channel, query.clone(), retention).await?;
    drop(permit);
    // The reader fills a gap page by page.
    if source == ReadSource::CatchUp {
        return Ok(whole);
    }
    let mut bytes = bytes_of(&whole);
    let mut large = None;
    while whole.truncated && bytes < most_bytes {
        let Some(last) = whole.publications.last().map(|publication| publication.offset) else { break };
        if large.is_none() {
            large = Some(budget.large(source).await?);
        }
        let left =
            usize::try_from(query.limit).unwrap_or(usize::MAX).saturating_sub(whole.publications.len());
        let next = HistoryQuery {
            limit: u32::try_from(left).unwrap_or(u32::MAX),
            since: Some(last),
            reverse: query.reverse,
            max_bytes: Some((most_bytes - bytes).min(PAGE_BYTES)),
        };
        let page = ask(&channel, next, retention).await?;
        let follows = if query.reverse { last.checked_sub(1) } else { last.checked_add(1) };
        let joins = page.publications.first().is_none_or(|first| Some(first.offset) == follows);
        if page.top.epoch != whole.top.epoch || !joins {
            // What followed has left the history between two pages. The reader learns that there is more, and sees why when it
            // reads on.
            break;
        }
        let page_bytes = bytes_of(&page);
        if bytes.saturating_add(page_bytes) > most_bytes {
            // A first publication is given whatever its size; here it is not the first.
            break;
        }
        bytes += page_bytes;
        whole.publications.extend(page.publications);
        whole.truncated = page.truncated;
        whole.top = page.top;
    }
    Ok(whole)
}

fn bytes_of(page: &HistoryPage) -> u64 {
    page.publications.iter().map(|publication| publication.content_bytes()).sum()
}

/// Bytes of a page at most. Redis does nothing else meanwhile: a page takes it about 0.4 ms, and one of 1 MiB took about 3, in
/// which every publication waited.
pub const PAGE_BYTES: u64 = 128 * 1024;

/// The requester of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReadSource {
    /// A client: a command, a recovery, a poll.
    Client,
    /// A backend.
    Api,
    /// The subscribers of a channel that missed something. Nobody else can fill their gap, so it waits as long as it takes.
    CatchUp,
}

impl ReadSource {
    /// As the metrics have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Api => "api",
            Self::CatchUp => "catch_up",
        }
    }
}

/// Permits of one source. Tokio's semaphore is fair: who comes first goes first.
struct Lane {
    pages: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Lane {
    fn new(pages: usize, large: usize) -> Self {
        Self { pages: Arc::new(Semaphore::new(pages)), large: Arc::new(Semaphore::new(large)) }
    }
}

/// The budget of the node's reads, with permits of their own for clients, for backends and for gaps.
pub struct ReadBudget {
    client: Lane,
    api: Lane,
    catch_up: Lane,
    max_wait: Duration,
    per_connection: usize,
    metrics: ReadMetrics,
}

/// A read under way; dropping it lets the next one begin.
pub struct ReadPermit {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Default for ReadBudget {
    fn default() -> Self {
        Self::new(&ReadSettings::default(), ClientSettings::default().max_reads, ReadMetrics::default())
    }
}

impl ReadBudget {
    /// All permits free. `per_connection` is `client.max_reads`.
    pub fn new(settings: &ReadSettings, per_connection: usize, metrics: ReadMetrics) -> Self {
        Self {
            client: Lane::new(settings.clients, settings.large),
            api: Lane::new(settings.api, settings.large),
            catch_up: Lane::new(settings.catch_up, settings.catch_up),
            max_wait: settings.max_wait,
            per_connection,
            metrics,
        }
    }

    /// Reads of one connection at a time.
    pub fn per_connection(&self) -> usize {
        self.per_connection
    }

    fn lane(&self, source: ReadSource) -> &Lane {
        match source {
            ReadSource::Client => &self.client,
            ReadSource::Api => &self.api,
            ReadSource::CatchUp => &self.catch_up,
        }
    }

    /// Waits for the turn of a read of one page.
    ///
    /// # Errors
    /// [`BrokerError::Limit`] after `reads.max_wait`: nothing was read, and a moment later it may be.
    pub async fn page(&self, source: ReadSource) -> Result<ReadPermit, BrokerError> {
        self.permit(source, &self.lane(source).pages).await
    }

    /// Waits for the turn of a read of more. Its first page's permit must be given back before: who holds one and waits for
    /// the other would be waited for.
    ///
    /// # Errors
    /// As [`ReadBudget::page`].
    pub async fn large(&self, source: ReadSource) -> Result<ReadPermit, BrokerError> {
        self.permit(source, &self.lane(source).large).await
    }

    async fn permit(&self, source: ReadSource, permits: &Arc<Semaphore>) -> Result<ReadPermit, BrokerError> {
        let refused = BrokerError::Limit("heavy reads under way");
        let permit = match Arc::clone(permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.metrics.count(source.label(), "waiting");
                let turn = Arc::clone(permits).acquire_owned();
                let turn = match source {
                    ReadSource::CatchUp => turn.await,
                    ReadSource::Client | ReadSource::Api => {
                        let Ok(turn) = tokio::time::timeout(self.max_wait, turn).await else {
                            self.metrics.count_refused(source.label());
                            return Err(refused);
                        };
                        turn
                    }
                };
                turn.map_err(|_| refused)?
            }
        };
        Ok(ReadPermit { _permit: permit, _counted: self.metrics.count(source.label(), "under_way") })
    }
}

#[cfg(test)]
pub(in crate::hub) mod tests;
