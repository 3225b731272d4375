//! After a gap: reads what was missed from history, and hands it to the hub before anything newer.
//!
//! One read for all subscribers of the channel on this node ([`crate::hub::history_reads`]); newer events wait meanwhile.
//! `docs/architecture.md` §5.4.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use gorani_broker::{Broker, BrokerError, ChannelEvent, HistoryPage, HistoryQuery, Position, Publication};
use rand::RngExt as _;
use tokio::time::Instant;

use crate::{
    hub::{
        Hub,
        channel::{CatchUpResult, Fingerprint, MissingRange},
        history_reads::ReadSource,
        history_reads::{HistoryRead, HistoryReads, ReadVersion},
        subscription::is_same_epoch,
    },
    metrics::Metrics,
    tasks::Tasks,
};

/// Publications read at a time while catching up.
const PAGE: u32 = 1000;
/// Longest time to retry a broker that cannot be reached. Then subscribers are notified, and come back by themselves.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Longest pause before the second try; it doubles…
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// …up to this.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// Fills the gaps of a worker's channels from history.
pub(super) struct CatchUp {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) reads: Arc<HistoryReads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: Tasks,
}

impl CatchUp {
    /// Reads the publications of a channel that are missing and delivers them. They were published before `moment`; whatever was
    /// after it reaches the inbox.
    pub(super) fn run(self: &Rc<Self>, channel: Arc<str>, missing: MissingRange, mut moment: ReadVersion) {
        let catch_up = Rc::clone(self);
        self.tasks.spawn(async move {
            let mut next = Some(missing);
            while let Some(MissingRange { after, read }) = next {
                let missed = catch_up.read_after(&channel, after.clone(), moment).await;
                catch_up.metrics.catch_ups.inc();
                let mut hub = catch_up.hub.borrow_mut();
                hub.note_catch_up(&channel, after, missed.as_ref());
                next = hub.caught_up(&channel, read, missed);
                drop(hub);
                moment = catch_up.reads.now();
            }
        });
    }

    /// Everything after a position up to the top, without a hole; `None` if history cannot tell. The stream may have another
    /// epoch meanwhile, if it is the same up to the position.
    ///
    /// Begins with the publication that was delivered last, to see that it is still there: a failover may have forgotten it,
    /// and given its offset to another one. Then the epoch is ended, so that everybody learns that it is another stream.
    async fn read_after(
        &self,
        channel: &Arc<str>,
        position: Position,
        moment: ReadVersion,
    ) -> Option<CatchUpResult> {
        let fingerprint = self.hub.borrow().fingerprint(channel, &position);
        let mut missed = Vec::new();
        let mut epoch = position.epoch.clone();
        let mut offset = position.offset;
        let mut since = offset.saturating_sub(fingerprint.is_some().into());
        loop {
            let page = self.read_page(channel, since, moment).await?;
            if !page.continues(&position) {
                return None;
            }
            if !is_same_epoch(&page.top.epoch, &epoch) {
                // What was read before has the old epoch.
                epoch = page.top.epoch.clone();
                missed.clear();
                if offset > position.offset {
                    offset = position.offset;
                    since = offset.saturating_sub(fingerprint.is_some().into());
                    continue;
                }
            }
            let is_other = |publication: &Arc<Publication>| {
                publication.offset == position.offset && fingerprint != Some(Fingerprint::of(publication))
            };
            if page.top.offset < offset || page.publications.first().is_some_and(is_other) {
                self.renew(channel, &page.top.epoch).await;
                return None;
            }
            for publication in page.publications.iter().filter(|read| read.offset != position.offset) {
                if publication.offset != offset + 1 {
                    return None;
                }
                offset = publication.offset;
                missed.push(ChannelEvent::Publication(publication.clone()));
            }
            if offset >= page.top.offset {
                return Some(CatchUpResult { events: missed, epoch, ancestors: page.ancestors.clone() });
            }
            if page.publications.len() < PAGE as usize && !page.truncated {
                // The page was short of the top: what is missing has left the history already.
                return None;
            }
            since = offset;
        }
    }

    /// Ends an epoch whose stream has gone back. Until then a client that comes back must not learn that all is well.
    async fn renew(&self, channel: &Arc<str>, epoch: &str) {
        tracing::warn!(%channel, "broker forgot accepted publications; beginning a new epoch");
        let mut retry_policy = RetryPolicy::new();
        while let Err(error) = self.broker.renew(channel, epoch).await {
            if !retry_policy.again_after(&error).await {
                return tracing::warn!(%channel, %error, "beginning a new epoch failed");
            }
        }
    }

    /// One read. While the broker cannot be reached it is tried again, as after a loss of its connection, when all channels
    /// are read at once; what is published meanwhile waits. `None` when nobody here wants the channel any more, or the retries
    /// are used up.
    async fn read_page(
        &self,
        channel: &Arc<str>,
        since: u64,
        moment: ReadVersion,
    ) -> Option<Arc<HistoryPage>> {
        let mut retry_policy = RetryPolicy::new();
        loop {
            let retention = self.hub.borrow().retention(channel)?;
            let query = HistoryQuery { limit: PAGE, since: Some(since), ..HistoryQuery::default() };
            let read = HistoryRead { channel: channel.clone(), query, source: ReadSource::CatchUp };
            match self.reads.read(read, retention, moment).await {
                Ok(page) => return Some(page),
                Err(error) => {
                    if !retry_policy.again_after(&error).await {
                        tracing::warn!(%channel, %error, "reading missed publications failed");
                        return None;
                    }
                }
            }
        }
    }
}

/// The pauses between retries of a broker that cannot be reached, and their end.
struct RetryPolicy {
    give_up: Instant,
    pause: Duration,
}

impl RetryPolicy {
    fn new() -> Self {
        Self { give_up: Instant::now() + TIME_LIMIT, pause: FIRST_PAUSE }
    }

    /// A time between half of the pause and all of it. After a loss of the broker every channel of every node begins to read at
    /// once; without jitter they would all come again at once too.
    fn jittered(&self) -> Duration {
        crate::random::rng().random_range(self.pause / 2..=self.pause)
    }

    /// Pauses; false if there is no use in asking again.
    async fn again_after(&mut self, error: &BrokerError) -> bool {
        if matches!(error, BrokerError::NoHistory) || Instant::now() >= self.give_up {
            return false;
        }
        tokio::time::sleep(self.jittered()).await;
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests;
