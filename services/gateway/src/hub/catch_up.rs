//! After a gap: reads what was missed from history, and hands it to the hub before anything newer.
//!
//! One read for all subscribers of the channel on this worker; newer events wait meanwhile. Design §5.

use std::{rc::Rc, sync::Arc};

use gorani_broker::{Event, HistoryQuery, Position};

use crate::hub::{subscription::is_same_epoch, worker::Worker};

/// Publications read at a time while catching up.
const PAGE: u32 = 1000;

impl Worker {
    /// Reads the publications of a channel after `position` and delivers them.
    pub(super) fn catch_up(self: &Rc<Self>, channel: Arc<str>, position: Position) {
        let worker = Rc::clone(self);
        actix_rt::spawn(async move {
            let mut from = Some(position);
            while let Some(position) = from {
                let missed = worker.read_after(&channel, position).await;
                worker.metrics.catch_ups.inc();
                from = worker.hub_mut().caught_up(&channel, missed);
            }
        });
    }

    /// Everything after a position up to the top, without a hole; `None` if history cannot tell.
    async fn read_after(&self, channel: &str, position: Position) -> Option<Vec<Event>> {
        let retention = self.hub().retention(channel)?;
        let mut missed = Vec::new();
        let mut offset = position.offset;
        loop {
            let query = HistoryQuery { limit: PAGE, since: Some(offset), reverse: false };
            let page = match self.broker.history(channel, query, retention).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(channel, %error, "missed publications could not be read");
                    return None;
                }
            };
            if !is_same_epoch(&page.top.epoch, &position.epoch) {
                return None;
            }
            for publication in page.publications {
                if publication.offset != offset + 1 {
                    return None;
                }
                offset = publication.offset;
                missed.push(Event::Publication(publication));
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
}
