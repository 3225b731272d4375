//! The node's budget of heavy reads: history, presence, recovery. A short request may bring megabytes; however many clients
//! ask, only so many reads are under way, and the others wait in the order in which they came.
//!
//! Each read begins with a page of at most [`PAGE_BYTES`]. Most end there. One that brings more takes a permit for large
//! reads, of which there are few, so what all reads hold together is bounded in bytes. Reads for clients, for backends and
//! for gaps have permits of their own: none of them stands in another's line. Decision record 26.
//!
//! One connection has only `client.max_reads` at a time ([`ReadTurns`]), so that many requests of one do not stand before
//! those of others.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use gorani_broker::BrokerError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    hub::registry::SessionKey,
    metrics::memory::{Counted, ReadMetrics},
    settings::{ClientSettings, ReadSettings},
};

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

/// The heavy reads of a worker's sessions, by session. One that reads nothing has no entry, and costs nothing.
#[derive(Default)]
pub struct ReadTurns(RefCell<HashMap<SessionKey, SessionReads>>);

struct SessionReads {
    permits: Arc<Semaphore>,
    /// Reads under way and waiting; the last one takes the entry out.
    reads: usize,
}

/// A session's read that waits for its turn or has it.
pub struct SessionReadTurn {
    turns: Rc<ReadTurns>,
    key: SessionKey,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ReadTurns {
    /// Waits until fewer than `most` reads of the session are under way, in the order of arrival.
    pub async fn wait(self: Rc<Self>, key: SessionKey, most: usize) -> SessionReadTurn {
        let permits = {
            let mut sessions = self.0.borrow_mut();
            let entry = sessions
                .entry(key)
                .or_insert_with(|| SessionReads { permits: Arc::new(Semaphore::new(most)), reads: 0 });
            entry.reads += 1;
            Arc::clone(&entry.permits)
        };
        let mut turn = SessionReadTurn { turns: self, key, _permit: None };
        // It is never closed.
        turn._permit = permits.acquire_owned().await.ok();
        turn
    }

    /// Sessions with reads under way.
    #[cfg(test)]
    pub fn sessions(&self) -> usize {
        self.0.borrow().len()
    }
}

impl Drop for SessionReadTurn {
    fn drop(&mut self) {
        let mut sessions = self.turns.0.borrow_mut();
        if let Some(entry) = sessions.get_mut(&self.key) {
            entry.reads -= 1;
            if entry.reads == 0 {
                sessions.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
