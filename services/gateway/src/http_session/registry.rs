//! The registry of sessions that requests come for, on any thread: nothing else knows where they are.
//!
//! A session that outlives its requests, or takes commands in requests of their own, enters here under an id that
//! nobody can guess. A request for it may land on any worker of the node. `docs/protocols/http.md` §12.3, §13.3.
//! For a while after its end such a request gets the reason, though the session's actor and its slot are gone.
//!
//! Here too: the requests that come for a session, and the node and its worker as a request meets them.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    mem,
    rc::Rc,
    sync::Arc,
};

use actix::{Recipient, dev::SendError, prelude::*};
use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng;
use tokio::{sync::oneshot, time::Instant};

use super::writer::Response;
use crate::{
    disconnect::Disconnect,
    hub::worker::Worker,
    node::{
        Node,
        client_network::{ClientNetwork, Exhausted, FairShare},
    },
    session::Incoming,
};

/// Parts of the table, each under a lock of its own: workers rarely meet in one.
const PARTS: usize = 64;

/// Whose a session is.
pub enum SessionOwner {
    /// This node's: requests for it go there by [`HttpSessionRegistry::deliver`].
    Here,
    /// The node with this id's.
    Elsewhere(Arc<str>),
    /// This node's, but it has ended a moment ago, for this reason.
    Ended(Disconnect),
    /// Nobody's: it never was, or is over.
    Nobody,
}

/// Why a request was not brought to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// Its mailbox is full.
    #[error("too many requests wait for this session")]
    Busy,
    /// It is over.
    #[error("the session is over")]
    Over,
}

struct HttpSessionEntry {
    mailbox: Recipient<SessionRequest>,
    opened_by: OpenedBy,
}

/// The client that opened a session, as far as its request tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenedBy {
    /// The principal that the endpoint named.
    pub principal: Option<Arc<str>>,
    /// The network that it came from.
    pub network: Option<ClientNetwork>,
}

/// The sessions of a node that requests come for, by id. Bounded by the slots of the node, of which each has one.
pub struct HttpSessionRegistry {
    node: Arc<str>,
    parts: Vec<Mutex<HashMap<Arc<str>, HttpSessionEntry>>>,
    hasher: RandomState,
    /// Sessions that have just ended.
    ended: EndedSessions,
    /// Sessions that wait for their next response.
    waiting: FairShare,
    /// Polls that wait for something new.
    polls: Arc<FairShare>,
}

/// One of the polls that wait; it does no more when this is dropped.
#[derive(Debug)]
pub struct WaitingPoll {
    polls: Arc<FairShare>,
    network: Option<ClientNetwork>,
}

impl Drop for WaitingPoll {
    fn drop(&mut self) {
        self.polls.give_back(self.network);
    }
}

impl HttpSessionRegistry {
    /// An empty registry of the node with this id.
    pub fn new(node: Arc<str>) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self {
            node,
            parts,
            hasher: RandomState::new(),
            ended: EndedSessions::default(),
            waiting: FairShare::default(),
            polls: Arc::default(),
        }
    }

    /// An id for a session of this node: 128 random bits, since who knows it speaks for the session.
    pub fn new_id() -> Arc<str> {
        let mut random = [0; 16];
        rand::rng().fill_bytes(&mut random);
        format!("{:032x}", u128::from_be_bytes(random)).into()
    }

    /// Whose a session is. `node` is the node that the request names; empty: it does not say.
    pub fn owner(&self, node: &str, session: &str) -> SessionOwner {
        if !node.is_empty() && *node != *self.node {
            return SessionOwner::Elsewhere(node.into());
        }
        if self.part(session).lock().contains_key(session) {
            return SessionOwner::Here;
        }
        self.ended.get(session).map_or(SessionOwner::Nobody, SessionOwner::Ended)
    }

    /// Brings a request to a session of this node, without waiting. All requests share the one sender of its mailbox that is kept
    /// here, since every further one would have room for one more.
    pub fn deliver(&self, session: &str, request: SessionRequest) -> Result<(), DeliveryError> {
        let part = self.part(session).lock();
        let entry = part.get(session).ok_or(DeliveryError::Over)?;
        entry.mailbox.try_send(request).map_err(|error| match error {
            SendError::Full(_) => DeliveryError::Busy,
            SendError::Closed(_) => DeliveryError::Over,
        })
    }

    /// True if a session is here, or has ended here a moment ago.
    pub fn has(&self, session: &str) -> bool {
        self.part(session).lock().contains_key(session) || self.ended.get(session).is_some()
    }

    /// The client that opened a session of this node.
    pub fn opened_by(&self, session: &str) -> Option<OpenedBy> {
        Some(self.part(session).lock().get(session)?.opened_by.clone())
    }

    /// Enters a session. False if the id is taken: then another request was faster, and the session is its.
    pub fn register(
        &self,
        session: &Arc<str>,
        mailbox: Recipient<SessionRequest>,
        opened_by: OpenedBy,
    ) -> bool {
        let mut part = self.part(session).lock();
        if part.contains_key(session) || self.ended.get(session).is_some() {
            return false;
        }
        part.insert(session.clone(), HttpSessionEntry { mailbox, opened_by });
        true
    }

    /// Takes a session out.
    pub fn deregister(&self, session: &str) {
        self.part(session).lock().remove(session);
    }

    /// Takes a session out that has ended; until `by` a request for it gets the reason.
    pub(super) fn expire(&self, session: Arc<str>, reason: Disconnect, by: Instant) {
        self.ended.put(session.clone(), reason, by);
        self.deregister(&session);
    }

    /// Sessions.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One more poll waits, unless `most` do already, or too many of this network among them.
    pub(crate) fn begin_poll(
        &self,
        network: Option<ClientNetwork>,
        most: usize,
    ) -> Result<WaitingPoll, Exhausted> {
        self.polls.take(network, most)?;
        Ok(WaitingPoll { polls: self.polls.clone(), network })
    }

    /// One more session waits for its next response, unless `most` do already, or too many of this network among them.
    pub(super) fn begin_waiting(&self, network: Option<ClientNetwork>, most: usize) -> Result<(), Exhausted> {
        self.waiting.take(network, most)
    }

    /// One fewer does.
    pub(super) fn end_waiting(&self, network: Option<ClientNetwork>) {
        self.waiting.give_back(network);
    }

    /// Polls that wait, and sessions that wait for their next response.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.polls.total() + self.waiting.total()
    }

    fn part(&self, session: &str) -> &Mutex<HashMap<Arc<str>, HttpSessionEntry>> {
        let hash = self.hasher.hash_one(session);
        let index = usize::try_from(hash % PARTS as u64).unwrap_or_default();
        // There are as many parts as the remainder can be.
        #[allow(clippy::indexing_slicing, reason = "the remainder of the division by the length")]
        &self.parts[index]
    }
}

/// The node as a request on one of its workers meets it.
#[derive(Clone)]
pub struct WorkerContext {
    /// The node.
    pub node: Arc<Node>,
    /// The worker of this thread.
    pub worker: Rc<Worker>,
    /// The node's sessions over HTTP.
    pub registry: Arc<HttpSessionRegistry>,
    /// True if the listener speaks TLS.
    pub is_secure: bool,
}

/// A request that comes for a session.
#[derive(Message)]
#[rtype(result = "()")]
pub enum SessionRequest {
    /// It brings messages of the client.
    Send(InboundMessages),
    /// It wants to carry what waits for the client.
    Attach(Response),
}

/// A message of a client that a request brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundMessage {
    /// Text.
    Text(String),
    /// Any bytes.
    Binary(Bytes),
}

impl InboundMessage {
    /// Its payload as a session takes it.
    pub(super) fn incoming(&self) -> Incoming<'_> {
        match self {
            Self::Text(text) => Incoming::Text(text),
            Self::Binary(data) => Incoming::Binary(data),
        }
    }

    /// Bytes that it holds while it waits, near enough.
    fn size(&self) -> usize {
        self.incoming().len() + size_of::<Self>()
    }
}

impl From<String> for InboundMessage {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Messages of a client.
pub struct InboundMessages {
    /// In their order.
    messages: VecDeque<InboundMessage>,
    /// Their bytes.
    bytes: usize,
    /// Sent to once the session has taken them all. Dropped: the session is over.
    taken: oneshot::Sender<Result<(), Busy>>,
}

impl InboundMessages {
    /// Messages, and the receiver that learns when they are taken.
    pub fn new(
        messages: impl IntoIterator<Item = impl Into<InboundMessage>>,
    ) -> (Self, oneshot::Receiver<Result<(), Busy>>) {
        let (taken, answer) = oneshot::channel();
        let messages: VecDeque<InboundMessage> = messages.into_iter().map(Into::into).collect();
        let bytes = messages.iter().map(InboundMessage::size).sum();
        (Self { messages, bytes, taken }, answer)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if all its messages are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Tells the sender of the messages: all is taken, or it may not wait. The sender may have gone; then nobody misses it.
    pub(super) fn answer(self, answer: Result<(), Busy>) {
        let _ = self.taken.send(answer);
    }

    /// Takes the next message out.
    pub(super) fn pop(&mut self) -> Option<InboundMessage> {
        let message = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(message.size());
        Some(message)
    }
}

/// Too many requests with messages wait for this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for this session")]
pub struct Busy;

/// Ended sessions that are remembered, in each of two generations. Of a flood only the latest are.
const REMEMBERED: usize = 16 * 1024;

/// Ended sessions by id.
#[derive(Default)]
pub(super) struct EndedSessions(Mutex<EndedGenerations>);

#[derive(Default)]
struct EndedGenerations {
    young: HashMap<Arc<str>, SessionEnd>,
    old: HashMap<Arc<str>, SessionEnd>,
}

struct SessionEnd {
    reason: Disconnect,
    /// The time until which the reason is kept.
    by: Instant,
}

impl EndedSessions {
    /// Remembers why a session has ended, until `by`.
    pub(super) fn put(&self, session: Arc<str>, reason: Disconnect, by: Instant) {
        let mut generations = self.0.lock();
        if generations.young.len() >= REMEMBERED {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(session, SessionEnd { reason, by });
    }

    /// Why a session has ended, if that is still remembered.
    pub(super) fn get(&self, session: &str) -> Option<Disconnect> {
        let generations = self.0.lock();
        let end = generations.young.get(session).or_else(|| generations.old.get(session))?;
        (end.by > Instant::now()).then(|| end.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    #[test]
    fn an_end_is_told_for_its_time() {
        let (ended, now) = (EndedSessions::default(), Instant::now());
        ended.put(id(1), Disconnect::SLOW, now + Duration::from_secs(60));
        ended.put(id(2), Disconnect::SLOW, now);
        assert_eq!(ended.get("1"), Some(Disconnect::SLOW));
        assert_eq!((ended.get("2"), ended.get("3")), (None, None));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_are_kept() {
        let (ended, by) = (EndedSessions::default(), Instant::now() + Duration::from_secs(60));
        let last = 5 * REMEMBERED;
        (0..=last).for_each(|number| ended.put(id(number), Disconnect::STALE, by));
        assert!(ended.get(&id(last)).is_some() && ended.get(&id(last - REMEMBERED)).is_some());
        assert_eq!(ended.get("0"), None);
        let generations = ended.0.lock();
        assert!(generations.young.len() <= REMEMBERED && generations.old.len() <= REMEMBERED);
    }
}
