//! The steps of a subscription, in the order that loses nothing: hold live events back, join the hub and the broker,
//! read history, answer, release. `specs/client-protocol.md`, "Recovery".

use std::{rc::Rc, sync::Arc, time::Duration};

use crate::{
    disconnect::ErrorCode,
    hub::{
        Departure, read_budget::ReadSource, reads::HistoryRead, roster::SessionKey,
        subscription::is_same_epoch, worker::Worker,
    },
    session::{SubscribeRequest, Subscribed, client::views::reply_bytes},
};
use gorani_broker::{BrokerError, HistoryPage, HistoryQuery, Position, Publication};

/// Publications that one recovery may bring, at most (design §6).
pub(super) const RECOVERY_PUBLICATIONS: u32 = 300;
/// Over a transport of text, a reply holds this part of what others hold: all of it becomes a JSON string once more.
const TEXT_ONLY_DIVISOR: usize = 8;
/// Presence is forgotten this long after the last sign of the client's node.
pub const PRESENCE_TTL: Duration = Duration::from_secs(60);

impl Worker {
    /// Subscribes a session. Live events are held back until [`crate::hub::Hub::release`]. On an error nothing
    /// remains; if the session ends meanwhile, [`Worker::deregister`] cleans up.
    pub async fn subscribe(
        self: Rc<Self>,
        key: SessionKey,
        request: SubscribeRequest,
    ) -> Result<Subscribed, ErrorCode> {
        if !self.hub_mut().join(key, &request) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        match self.join_broker(key, &request).await {
            Ok(subscribed) => Ok(subscribed),
            Err(error) => {
                self.unsubscribe(key, &request.channel);
                Err(error)
            }
        }
    }

    /// Of `most_bytes` that a reply may hold, what one to this session may: to write it takes at most a few milliseconds,
    /// however its transport writes it.
    pub(super) fn reply_max_bytes(&self, key: SessionKey, most_bytes: usize) -> usize {
        let is_text_only =
            |key| self.hub().roster().get(key).is_some_and(|session| session.encoding.framing.is_text_only());
        if is_text_only(key) { most_bytes / TEXT_ONLY_DIVISOR } else { most_bytes }
    }

    async fn join_broker(
        &self,
        key: SessionKey,
        request: &SubscribeRequest,
    ) -> Result<Subscribed, ErrorCode> {
        let channel = &request.channel;
        if let Some(joined) = self.interest.join(self.index, channel) {
            joined.await?;
        }
        let mut subscribed =
            Subscribed { was_recovering: request.recover.is_some(), ..Subscribed::default() };
        if request.positioned {
            let page = self.read_joining(key, request).await?;
            if let Some(from) = &request.recover
                && is_recovered(from, &page.publications, &page.top)
                && page.publications.iter().map(|publication| reply_bytes(publication)).sum::<usize>()
                    <= self.reply_max_bytes(key, request.recover_max_bytes)
            {
                subscribed.permit = self.reserve_reply(size_of(&page.publications))?;
                subscribed.recovered = true;
                subscribed.publications = page.publications.clone();
            }
            self.hub_mut().set_seen(key, channel, &page.top);
            subscribed.top = Some(page.top.clone());
        }
        if !self.hub().is_member(key, channel) {
            // The session has ended meanwhile: what it enters now, nobody would take out again.
            return Err(ErrorCode::INTERNAL);
        }
        if request.presence {
            self.broker.presence_add(channel, request.info.clone(), PRESENCE_TTL).await?;
        }
        if request.announce {
            self.broker.publish_join(channel, request.info.clone()).await?;
        }
        Ok(subscribed)
    }

    /// Reads what a subscription begins with, now that live events reach it.
    async fn read_joining(
        &self,
        key: SessionKey,
        request: &SubscribeRequest,
    ) -> Result<Arc<HistoryPage>, BrokerError> {
        let channel = &request.channel;
        let since = request.recover.as_ref().map(|position| position.offset);
        let limit = if since.is_some() { RECOVERY_PUBLICATIONS } else { 0 };
        let query =
            HistoryQuery { limit, since, reverse: false, max_bytes: Some(request.recover_max_bytes as u64) };
        let read = HistoryRead { channel: channel.clone(), query, source: ReadSource::Client };
        // The position alone is no heavy read.
        let _turn = if since.is_some() { Some(self.read_turn(key).await) } else { None };
        loop {
            let gaps = self.hub().gaps(channel);
            let page = self.reads.read(read.clone(), request.retention, self.reads.now()).await?;
            // A gap that is told meanwhile may lie behind the page, and without a place the hub could not fill it.
            if self.hub().gaps(channel) == gaps {
                return Ok(page);
            }
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(self: &Rc<Self>, key: SessionKey, channel: &str) {
        let departure = self.hub_mut().leave(key, channel);
        if let Some(departure) = departure {
            self.depart(departure);
        }
    }

    /// Tells the broker what a departure means. Requests take their place in line here; only their failure is waited
    /// for, and told to the log: presence expires by itself.
    pub(super) fn depart(self: &Rc<Self>, departure: Departure) {
        let Departure { channel, info, presence, announce, last } = departure;
        if last {
            self.interest.leave(self.index, &channel);
        }
        let removed = presence.then(|| self.broker.presence_remove(&channel, &info.client));
        let left = announce.then(|| self.broker.publish_leave(&channel, info));
        if removed.is_none() && left.is_none() {
            return;
        }
        actix_rt::spawn(async move {
            for request in removed.into_iter().chain(left) {
                if let Err(error) = request.await {
                    tracing::warn!(%channel, %error, "the broker was not told that a client left");
                }
            }
        });
    }
}

/// Bytes of publications.
pub fn size_of(publications: &[Arc<Publication>]) -> usize {
    publications.iter().map(|publication| publication.data.len()).sum()
}

/// Whether `publications` are everything between what the client has seen and the top.
fn is_recovered(from: &Position, publications: &[Arc<Publication>], top: &Position) -> bool {
    if !from.epoch.is_empty() && !is_same_epoch(&from.epoch, &top.epoch) {
        return false;
    }
    let mut offset = from.offset;
    for publication in publications {
        if publication.offset != offset + 1 {
            return false;
        }
        offset = publication.offset;
    }
    offset == top.offset
}

impl From<BrokerError> for ErrorCode {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoHistory => Self::NOT_AVAILABLE,
            // A client that gave up here would stay away; one that is told to wait comes back when the queue is shorter.
            BrokerError::Limit(_) => Self::TOO_MANY_REQUESTS,
            BrokerError::BadCursor => Self::BAD_REQUEST,
            BrokerError::Unavailable(_) => Self::UNAVAILABLE,
            BrokerError::UnknownOutcome(_) => Self::UNKNOWN_OUTCOME,
        }
    }
}
