//! After a gap: reads what was missed from history, and hands it to the hub before anything newer.
//!
//! One read for all subscribers of the channel on this node ([`crate::hub::reads`]); newer events wait meanwhile. Design §5.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use gorani_broker::{BrokerError, Event, HistoryPage, Position};

use crate::hub::{reads::Moment, subscription::is_same_epoch, worker::Worker};

/// Publications read at a time while catching up.
const PAGE: u32 = 1000;
/// How long a broker that cannot be reached is tried again; then the subscribers are told, and come back by themselves.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before the second try; it doubles…
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// …up to this.
const LAST_PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    /// Reads the publications of a channel after `position` and delivers them. What was missed was published before
    /// `moment`; whatever was after it reaches the inbox.
    pub(super) fn catch_up(self: &Rc<Self>, channel: Arc<str>, position: Position, mut moment: Moment) {
        let worker = Rc::clone(self);
        actix_rt::spawn(async move {
            let mut from = Some(position);
            while let Some(position) = from {
                let missed = worker.read_after(&channel, position, moment).await;
                worker.metrics.catch_ups.inc();
                from = worker.hub_mut().caught_up(&channel, missed);
                moment = worker.reads.now();
            }
        });
    }

    /// Everything after a position up to the top, without a hole; `None` if history cannot tell.
    async fn read_after(&self, channel: &Arc<str>, position: Position, moment: Moment) -> Option<Vec<Event>> {
        let mut missed = Vec::new();
        let mut offset = position.offset;
        loop {
            let page = self.read_page(channel, offset, moment).await?;
            if !is_same_epoch(&page.top.epoch, &position.epoch) {
                return None;
            }
            for publication in &page.publications {
                if publication.offset != offset + 1 {
                    return None;
                }
                offset = publication.offset;
                missed.push(Event::Publication(publication.clone()));
            }
            if offset >= page.top.offset {
                return Some(missed);
            }
            if missed.len() % PAGE as usize != 0 || missed.is_empty() {
                // The page was short of the top: what is missing has left the history already.
                return None;
            }
        }
    }

    /// One read. While the broker cannot be reached it is tried again, as after a loss of its connection, when all channels
    /// are read at once; what is published meanwhile waits. `None` when nobody here wants the channel any more, or patience
    /// is at its end.
    async fn read_page(&self, channel: &Arc<str>, since: u64, moment: Moment) -> Option<Arc<HistoryPage>> {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            let retention = self.hub().retention(channel)?;
            match self.reads.read(channel, Some(since), PAGE, retention, moment).await {
                Ok(page) => return Some(page),
                Err(BrokerError::Unavailable(_) | BrokerError::UnknownOutcome(_) | BrokerError::Limit(_))
                    if Instant::now() < give_up =>
                {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                Err(error) => {
                    tracing::warn!(%channel, %error, "missed publications could not be read");
                    return None;
                }
            }
        }
    }
}
