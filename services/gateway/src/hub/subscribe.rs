//! The steps of a subscription, in the order that loses nothing: hold live events back, join the hub and the broker,
//! read history, answer, release. `docs/protocols/client.md` §6.
//!
//! Reads of history for a worker's sessions, bounded by what one session may read at a time and by what one reply may hold: one
//! connection has only `client.max_reads` under way ([`ReadTurns`]), so that its many requests do not stand before those of others.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use gorani_broker::{Broker, BrokerError, HistoryPage, HistoryQuery, Position, Publication, Retention};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    disconnect::{ErrorCode, Unsubscribed},
    event_log::event::{RecoveryResult, SubscriptionChange},
    format::views::reply_bytes,
    hub::{
        Hub, RemovedSubscription,
        history_reads::{HistoryRead, HistoryReads, ReadSource},
        inbox::OwnInbox,
        interest::Interest,
        registry::{Generation, SessionKey},
        removals::{PRESENCE_TTL, Removal, Removals},
    },
    memory::{LARGE_REPLY_BYTES, MemoryBudget, ReplyPermit},
    metrics::commands::RecoveryOutcome,
    session::{SubscribeParams, Subscribed},
    telemetry::spans::{begin_recovery, end_recovery},
};

/// Publications that one recovery may bring, at most.
pub(super) const RECOVERY_PUBLICATIONS: u32 = 300;

/// The subscriptions of a worker's sessions, as the broker is to know them.
pub struct Subscriptions {
    /// Number of the worker.
    pub(super) index: usize,
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) broker: Arc<dyn Broker>,
    pub(crate) interest: Arc<Interest>,
    pub(super) history: Arc<HistoryReads>,
    pub(super) reads: Rc<ClientReads>,
    pub(super) removals: Rc<Removals>,
    pub(super) inbox: OwnInbox,
}

impl Subscriptions {
    /// Subscribes a session. Live events are held back until [`crate::hub::Hub::release`]. On an error nothing
    /// remains; if the session ends meanwhile, [`crate::hub::worker::Worker::deregister`] cleans up.
    pub async fn subscribe(
        self: Rc<Self>,
        key: SessionKey,
        request: SubscribeParams,
    ) -> Result<Subscribed, ErrorCode> {
        let Some(generation) = self.hub.borrow_mut().join(key, &request) else {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        };
        self.mark_begin(&request.channel);
        let mut recovery = RecoveryResult::NotAsked;
        let tracer = request.recover.as_ref().and_then(|_| self.hub.borrow().tracer.clone());
        let span = tracer.and_then(|tracer| begin_recovery(&tracer, &request.channel));
        let joined = self.join_broker(key, &request, generation, &mut recovery).await;
        if joined.is_err() && request.recover.is_some() {
            let hub = self.hub.borrow();
            hub.traffic.commands.count_recovery(&request.channel, RecoveryOutcome::Failed);
        }
        if let Some(span) = span {
            let result = joined.as_ref().map(|subscribed| subscribed.publications.len());
            end_recovery(span, result.map_err(|error| error.code));
        }
        let change = match &joined {
            Ok(subscribed) => {
                let hub = self.hub.borrow();
                hub.traffic.commands.count_recovered(subscribed.publications.len());
                SubscriptionChange::Began { asked: request.recover, top: subscribed.top.clone(), recovery }
            }
            Err(error) => SubscriptionChange::Refused(error.code),
        };
        self.hub.borrow_mut().note_subscription(key, &request.channel, change);
        if joined.is_err() && self.hub.borrow().is_current(key, &request.channel, generation) {
            self.leave(key, &request.channel);
        }
        joined
    }

    /// Nobody would take out what a session enters after it has left. So each step first checks that this
    /// subscription is still the one by which the session is in the channel.
    async fn join_broker(
        &self,
        key: SessionKey,
        request: &SubscribeParams,
        generation: Generation,
        recovery: &mut RecoveryResult,
    ) -> Result<Subscribed, ErrorCode> {
        let channel = &request.channel;
        if let Some(joined) = self.interest.join(self.index, channel) {
            joined.await?;
        }
        let mut subscribed =
            Subscribed { was_recovering: request.recover.is_some(), ..Subscribed::default() };
        if request.positioned {
            let page = self.read_joining(key, request).await?;
            if let Some(from) = &request.recover {
                *recovery = recovery_of(from, &page);
                let bytes =
                    page.publications.iter().map(|publication| reply_bytes(publication)).sum::<usize>();
                if *recovery != RecoveryResult::Recovered {
                    // The client learns that it missed something.
                } else if bytes > self.reads.reply_max_bytes(key, request.recover_max_bytes) {
                    *recovery = RecoveryResult::TooMuch;
                } else {
                    subscribed.permit = self.reads.reserve_reply(size_of(&page.publications))?;
                    subscribed.recovered = true;
                    subscribed.publications = page.publications.clone();
                }
            }
            if !self.hub.borrow().is_current(key, channel, generation) {
                return Err(ErrorCode::INTERNAL);
            }
            self.hub.borrow_mut().set_seen(key, channel, &page.top);
            subscribed.top = Some(page.top.clone());
        }
        if !request.presence && !request.announce {
            let is_current = self.hub.borrow().is_current(key, channel, generation);
            return if is_current { Ok(subscribed) } else { Err(ErrorCode::INTERNAL) };
        }
        if !self.hub.borrow_mut().registry_mut().enter(key, channel, generation) {
            return Err(ErrorCode::INTERNAL);
        }
        let entered = if request.presence {
            self.broker.presence_add(channel, request.info.clone(), PRESENCE_TTL, request.announce)
        } else {
            self.broker.publish_join(channel, request.info.clone())
        };
        let entered = entered.await;
        if matches!(&entered, Err(error) if !error.is_unknown_outcome()) {
            self.hub.borrow_mut().registry_mut().not_entered(key, channel, generation);
        }
        entered?;
        Ok(subscribed)
    }

    /// Reads what a subscription begins with, now that live events reach it.
    async fn read_joining(
        &self,
        key: SessionKey,
        request: &SubscribeParams,
    ) -> Result<Arc<HistoryPage>, BrokerError> {
        let channel = &request.channel;
        let since = request.recover.as_ref().map(|position| position.offset);
        let limit = if since.is_some() { RECOVERY_PUBLICATIONS } else { 0 };
        let query =
            HistoryQuery { limit, since, reverse: false, max_bytes: Some(request.recover_max_bytes as u64) };
        let read = HistoryRead { channel: channel.clone(), query, source: ReadSource::Client };
        // The position alone is no heavy read.
        let _turn = if since.is_some() { Some(self.reads.turn(key).await) } else { None };
        loop {
            let gaps = self.hub.borrow().gaps(channel);
            let page = self.history.read(read.clone(), request.retention, self.history.now()).await?;
            // A gap that is reported meanwhile may lie behind the page, and without a position the hub could not fill it.
            if self.hub.borrow().gaps(channel) == gaps {
                return Ok(page);
            }
        }
    }

    /// A channel may have its first subscription. What stands in the inbox already is of an earlier one, and what was to follow
    /// it did not come in: so its events count from here on. To be called before the worker wants the channel.
    pub(super) fn mark_begin(&self, channel: &Arc<str>) {
        let mark = self.hub.borrow_mut().await_mark(channel);
        if let Some(mark) = mark
            && !self.inbox.mark(channel, mark)
        {
            self.hub.borrow_mut().pass_mark(channel, mark);
        }
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, key: SessionKey, channel: &str, why: Unsubscribed) {
        let removed = self.leave(key, channel);
        if let Some((channel, seen)) = removed {
            let not_permitted = why == Unsubscribed::NOT_PERMITTED;
            let ended = SubscriptionChange::Ended { code: Some(why.code), seen, not_permitted };
            self.hub.borrow_mut().note_subscription(key, &channel, ended);
        }
    }

    /// Takes a session out of a channel; with the position that it had.
    fn leave(&self, key: SessionKey, channel: &str) -> Option<(Arc<str>, Option<Position>)> {
        let removed = self.hub.borrow_mut().leave(key, channel)?;
        let left = (removed.channel.clone(), removed.seen.clone());
        self.publish_leave(key, removed);
        Some(left)
    }

    /// Ends a subscription whose client is asked to come back at once, as after a gap. It stays present for a while: if it does
    /// come, nobody gets a leave and a join.
    pub fn interrupt(&self, key: SessionKey, channel: &str) {
        let removed = self.hub.borrow_mut().leave(key, channel);
        let Some(removed) = removed else { return };
        let ended = SubscriptionChange::Ended {
            code: Some(Unsubscribed::INSUFFICIENT_STATE.code),
            seen: removed.seen.clone(),
            not_permitted: false,
        };
        self.hub.borrow_mut().note_subscription(key, &removed.channel, ended);
        if !removed.presence || !removed.is_entered {
            return self.publish_leave(key, removed);
        }
        let RemovedSubscription { channel, info, last, .. } = removed;
        if last {
            self.interest.leave(self.index, &channel);
        }
        self.hub.borrow_mut().registry_mut().absent.expect(key, channel, info);
    }

    /// Passes a removed subscription to the broker. The request is put in line here; it is repeated where it fails.
    pub(super) fn publish_leave(&self, key: SessionKey, removed: RemovedSubscription) {
        let RemovedSubscription { channel, info, presence, announce, is_entered, last, .. } = removed;
        if last {
            self.interest.leave(self.index, &channel);
        }
        if is_entered && presence {
            self.removals.remove(Removal::Presence { key, channel, info });
        } else if is_entered && announce {
            self.removals.remove(Removal::Leave { channel, info });
        }
    }
}

/// Recovered if the page's publications are everything between what the client has seen and the top, else the reason why not.
fn recovery_of(from: &Position, page: &HistoryPage) -> RecoveryResult {
    if !page.continues(from) {
        return RecoveryResult::WrongEpoch;
    }
    let mut offset = from.offset;
    for publication in &page.publications {
        if publication.offset != offset + 1 {
            return RecoveryResult::TooOld;
        }
        offset = publication.offset;
    }
    if offset == page.top.offset {
        return RecoveryResult::Recovered;
    }
    // A client may come with a position that was never given out.
    let is_cut = page.truncated || page.publications.len() >= RECOVERY_PUBLICATIONS as usize;
    match offset.cmp(&page.top.offset) {
        std::cmp::Ordering::Greater => RecoveryResult::WrongEpoch,
        _ if is_cut => RecoveryResult::TooMuch,
        _ => RecoveryResult::TooOld,
    }
}

/// Over a transport of text, a reply holds this part of what others hold: all of it becomes a JSON string once more.
const TEXT_ONLY_DIVISOR: usize = 16;

/// Reads for a worker's sessions.
pub struct ClientReads {
    hub: Rc<RefCell<Hub>>,
    reads: Arc<HistoryReads>,
    turns: Rc<ReadTurns>,
    memory: Arc<MemoryBudget>,
}

impl ClientReads {
    /// No read yet.
    pub(super) fn new(
        hub: Rc<RefCell<Hub>>,
        reads: Arc<HistoryReads>,
        memory: Arc<MemoryBudget>,
    ) -> Rc<Self> {
        Rc::new(Self { hub, reads, turns: Rc::default(), memory })
    }

    /// Waits until another heavy read of the session may begin.
    pub async fn turn(&self, key: SessionKey) -> SessionReadTurn {
        self.turns.clone().wait(key, self.reads.budget().per_connection()).await
    }

    /// Reads history for a session, after its earlier reads. Equal requests at the same time share the read.
    ///
    /// # Errors
    /// As [`HistoryReads::read`]; [`ErrorCode::TOO_MANY_REQUESTS`] while there is no memory for a large reply.
    pub async fn history(
        self: Rc<Self>,
        key: SessionKey,
        channel: Arc<str>,
        query: HistoryQuery,
        retention: Retention,
    ) -> Result<(HistoryPage, Option<ReplyPermit>), ErrorCode> {
        let most_bytes =
            query.max_bytes.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let most_bytes = self.reply_max_bytes(key, most_bytes);
        let query = HistoryQuery { max_bytes: Some(most_bytes as u64), ..query };
        let _turn = self.turn(key).await;
        let read = HistoryRead { channel, query, source: ReadSource::Client };
        let page = self.reads.read(read, retention, self.reads.now()).await?;
        let mut page = Arc::unwrap_or_clone(page);
        // The first may be larger than that by itself; the client reads on from where the page ends.
        let mut bytes = 0_usize;
        let fitting = page.publications.iter().take_while(|publication| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(reply_bytes(publication));
            is_first || bytes <= most_bytes
        });
        let fitting = fitting.count();
        page.truncated |= fitting < page.publications.len();
        page.publications.truncate(fitting);
        let permit = self.reserve_reply(size_of(&page.publications))?;
        Ok((page, permit))
    }

    /// Of `most_bytes` that a reply may hold, what one to this session may: to write it takes at most a few milliseconds,
    /// however its transport writes it.
    pub(super) fn reply_max_bytes(&self, key: SessionKey, most_bytes: usize) -> usize {
        let is_text_only = |key| {
            self.hub.borrow().registry().get(key).is_some_and(|session| session.encoding.is_text_only())
        };
        if is_text_only(key) { most_bytes / TEXT_ONLY_DIVISOR } else { most_bytes }
    }

    /// A permit for a reply of so many bytes; a small one needs none. While there is none the error is temporary.
    pub fn reserve_reply(&self, bytes: usize) -> Result<Option<ReplyPermit>, ErrorCode> {
        if bytes < LARGE_REPLY_BYTES {
            return Ok(None);
        }
        self.memory.try_reply(bytes).map(Some).ok_or(ErrorCode::TOO_MANY_REQUESTS)
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

/// Bytes of publications.
pub fn size_of(publications: &[Arc<Publication>]) -> usize {
    publications.iter().map(|publication| publication.data.len()).sum()
}

impl From<BrokerError> for ErrorCode {
    fn from(error: BrokerError) -> Self {
        match error {
            BrokerError::NoHistory => Self::NOT_AVAILABLE,
            // A client that gave up here would stay away; one that gets the wait comes back when the queue is shorter.
            BrokerError::Limit(_) => Self::TOO_MANY_REQUESTS,
            BrokerError::BadCursor => Self::BAD_REQUEST,
            BrokerError::Unavailable(_) => Self::UNAVAILABLE,
            BrokerError::UnknownOutcome(_) => Self::UNKNOWN_OUTCOME,
        }
    }
}
