//! Slots: the TCP connections of one worker, and which of them are closed to make room for others. Record 22.
//!
//! A connection is *new* from its accept to its first request: through TLS, and through the request's head. New ones are
//! bounded, by address and in all; over a bound the oldest is closed, so silent clients never keep others out. Over the
//! bound in all it has a second first, as long as the node has connections left: in a storm of returning clients, each that was
//! closed before the worker came to read its request would come again, and so would everybody (record 36). Between
//! two requests a connection is *kept*, and is closed only when the node holds as many connections as it may. When no other
//! can make room, one more gets a *reserved* slot, in which only health and metrics are served ([`super::request`]).
//!
//! A worker has its share of each bound: the server deals connections out to the workers in turn.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::time::Instant;

use super::limits::ConnectionLimits;
use crate::{
    metrics::clients::Shed,
    node::{Node, client_network::ClientNetwork},
    settings::HttpSettings,
};

/// A worker warns of connections that it closes or reserves at most so often.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// A new connection has so long for its first request before it is closed for newer ones: a few round trips of a far client, and
/// the time that a worker needs to come to it.
const NEW_FOR: Duration = Duration::from_secs(1);
/// Connections that are closed in one turn of the worker.
const SHED_AT_ONCE: usize = 256;

/// The slots of one worker.
pub(super) struct Slots {
    node: Arc<Node>,
    limits: ConnectionLimits,
    pub(super) settings: HttpSettings,
    new: RefCell<IdleList<Rc<Watched>>>,
    kept: RefCell<IdleList<Rc<Watched>>>,
    reserved: RefCell<Vec<Rc<Watched>>>,
    is_draining: Cell<bool>,
    /// A task waits until the oldest of too many new ones have had their time.
    is_clearing: Cell<bool>,
    warned: Cell<Option<Instant>>,
}

impl Slots {
    /// The slots of this thread's worker, its share of `limits`.
    pub(super) fn new(node: &Arc<Node>, settings: &HttpSettings, limits: ConnectionLimits) -> Rc<Self> {
        node.metrics.accept.limit.set(i64::try_from(limits.connections).unwrap_or(i64::MAX));
        let slots = Rc::new(Self {
            node: node.clone(),
            limits,
            settings: settings.clone(),
            new: RefCell::default(),
            kept: RefCell::default(),
            reserved: RefCell::default(),
            is_draining: Cell::new(false),
            is_clearing: Cell::new(false),
            warned: Cell::new(None),
        });
        let (draining, of_drain) = (node.lifecycle.draining(), Rc::downgrade(&slots));
        actix_rt::spawn(async move {
            draining.await;
            if let Some(slots) = of_drain.upgrade() {
                slots.drain();
            }
        });
        slots
    }

    /// A slot for a connection that was accepted from `peer`; `None` when the node drains. Closes others where a bound is
    /// reached.
    pub(super) fn open(self: &Rc<Self>, peer: Option<IpAddr>) -> Option<ConnectionSlot> {
        if self.is_draining.get() {
            return None;
        }
        let network = peer.filter(|peer| !self.node.admission.trusts(*peer)).map(ClientNetwork::from);
        let before = usize::try_from(self.node.metrics.accept.open.inc()).unwrap_or(0);
        let is_reserved = before >= self.limits.connections && !self.shed_for_another();
        if is_reserved {
            self.warn("as many connections as the node may hold: new ones get health and metrics alone");
            if self.reserved.borrow().len() >= self.share(self.limits.reserved) {
                self.shed_reserved();
            }
        } else {
            self.make_room_for_new(network);
        }
        let watched = Rc::new(Watched {
            slots: self.clone(),
            network,
            is_reserved,
            since: Instant::now(),
            state: Cell::new(SlotState::UnderWay),
            waker: RefCell::default(),
        });
        if is_reserved {
            self.reserved.borrow_mut().push(watched.clone());
        } else {
            watched.state.set(SlotState::New(self.new.borrow_mut().insert(network, watched.clone())));
        }
        Some(ConnectionSlot { slots: self.clone(), watched: Some(watched) })
    }

    /// This worker's share of a bound of the node.
    fn share(&self, bound: usize) -> usize {
        bound.div_ceil(self.settings.worker_count().max(1)).max(1)
    }

    fn make_room_for_new(self: &Rc<Self>, network: Option<ClientNetwork>) {
        let of_address = network.and_then(|network| {
            let new = self.new.borrow();
            let is_full = new.count_of(network) >= self.share(self.limits.handshakes_per_address);
            is_full.then(|| new.oldest_of(network).cloned()).flatten()
        });
        if let Some(oldest) = of_address {
            self.warn("http.max_handshakes_per_address reached: the address's oldest is closed");
            oldest.shed(Shed::Address);
        }
        let most = self.share(self.limits.handshakes);
        // One more is about to come.
        if let Some(first) = self.shed_surplus(most - 1)
            && !self.is_clearing.replace(true)
        {
            let slots = Rc::downgrade(self);
            actix_rt::spawn(async move {
                let mut next = Some(first);
                while let Some(until) = next {
                    tokio::time::sleep_until(until).await;
                    let Some(slots) = slots.upgrade() else { return };
                    next = slots.shed_surplus(most);
                    slots.is_clearing.set(next.is_some());
                }
            });
        }
    }

    /// Closes the oldest new ones, until there are so many or the oldest has not had its time. Gives when to look again.
    fn shed_surplus(&self, most: usize) -> Option<Instant> {
        let now = Instant::now();
        for _ in 0..SHED_AT_ONCE {
            let oldest = {
                let new = self.new.borrow();
                if new.len() <= most {
                    return None;
                }
                new.oldest().cloned()?
            };
            let until = oldest.since + NEW_FOR;
            if until > now {
                return Some(until);
            }
            self.warn("http.max_handshakes reached: the oldest is closed");
            oldest.shed(Shed::Handshakes);
        }
        Some(now)
    }

    /// Closes the connection that has waited for its next request for the longest time, else the oldest new one. False if
    /// there is none.
    fn shed_for_another(&self) -> bool {
        let kept = self.kept.borrow().oldest().cloned();
        let Some(oldest) = kept.or_else(|| self.new.borrow().oldest().cloned()) else { return false };
        self.warn("as many connections as the node may hold: idle ones are closed");
        oldest.shed(Shed::Full);
        true
    }

    /// Closes the oldest reserved connection of the network that has the most of them, so that one address cannot push out
    /// the probes of another.
    fn shed_reserved(&self) {
        let victim = {
            let reserved = self.reserved.borrow();
            let count_of = |network| reserved.iter().filter(|watched| watched.network == network).count();
            let most = reserved.iter().map(|watched| count_of(watched.network)).max();
            reserved.iter().find(|watched| Some(count_of(watched.network)) == most).cloned()
        };
        if let Some(victim) = victim {
            victim.shed(Shed::Reserved);
        }
    }

    /// Takes no more connections, and closes the new ones: a handshake that is under way must not hold up the end of the
    /// node. The others are ended by what serves them.
    fn drain(&self) {
        self.is_draining.set(true);
        let new: Vec<_> = self.new.borrow().iter().cloned().collect();
        for watched in new {
            watched.shed(Shed::Drain);
        }
    }

    fn warn(&self, sentence: &'static str) {
        let now = Instant::now();
        if self.warned.get().is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) {
            self.warned.set(Some(now));
            let open = self.node.metrics.accept.open.get();
            tracing::warn!(open, "{sentence}");
        }
    }
}

/// One accepted connection's slot, given back when dropped.
pub(super) struct ConnectionSlot {
    slots: Rc<Slots>,
    watched: Option<Rc<Watched>>,
}

impl ConnectionSlot {
    /// True when the connection is to be closed; else `task` is woken when that changes.
    pub(super) fn is_shed(&self, task: &Context<'_>) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.is_shed(task))
    }

    /// The state that its requests change when they begin and end.
    pub(super) fn watched(&self) -> Option<Rc<Watched>> {
        self.watched.clone()
    }

    /// True for a reserved slot.
    pub(super) fn is_reserved(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.is_reserved)
    }

    /// From here on a session has the connection, to its end: it is not closed to make room.
    pub(super) fn keep_for_session(&mut self) {
        if let Some(watched) = self.watched.take_if(|watched| !watched.is_reserved) {
            watched.close();
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(watched) = &self.watched {
            watched.close();
        }
        self.slots.node.metrics.accept.open.dec();
    }
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// It has not come to its first request; its number among the new ones.
    New(u64),
    /// It waits for its next request; its number among those that do.
    Kept(u64),
    /// A request, or its slot is a reserved one.
    UnderWay,
    /// It is to be closed.
    Shed,
    /// It is closed, or a session has it.
    Closed,
}

/// A connection that may have to make room for others.
pub(super) struct Watched {
    slots: Rc<Slots>,
    network: Option<ClientNetwork>,
    pub(super) is_reserved: bool,
    since: Instant,
    state: Cell<SlotState>,
    waker: RefCell<Option<Waker>>,
}

impl Watched {
    /// A request begins, which is over when the guard is dropped.
    pub(super) fn begin(self: Rc<Self>) -> RequestUnderWay {
        if matches!(self.state.get(), SlotState::New(_) | SlotState::Kept(_)) {
            self.forget(SlotState::UnderWay);
        }
        RequestUnderWay(self)
    }

    fn end(self: &Rc<Self>) {
        if self.state.get() == SlotState::UnderWay && !self.is_reserved {
            self.state.set(SlotState::Kept(self.slots.kept.borrow_mut().insert(None, self.clone())));
        }
    }

    fn is_shed(&self, task: &Context<'_>) -> bool {
        if self.state.get() == SlotState::Shed {
            return true;
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(task.waker())) {
            *waker = Some(task.waker().clone());
        }
        false
    }

    fn shed(&self, reason: Shed) {
        self.forget(SlotState::Shed);
        self.slots.node.metrics.accept.count_shed(reason);
        tracing::debug!(?reason, network = self.network.map(tracing::field::display), "connection closed");
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn close(&self) {
        self.forget(SlotState::Closed);
    }

    /// Takes it out of the list that it is in.
    fn forget(&self, next: SlotState) {
        match self.state.replace(next) {
            SlotState::New(number) => self.slots.new.borrow_mut().remove(self.network, number),
            SlotState::Kept(number) => self.slots.kept.borrow_mut().remove(None, number),
            SlotState::UnderWay if self.is_reserved => {
                self.slots.reserved.borrow_mut().retain(|other| !std::ptr::eq(&raw const **other, self));
            }
            SlotState::UnderWay | SlotState::Shed | SlotState::Closed => {}
        }
    }
}

/// A request that is under way on a connection.
pub(super) struct RequestUnderWay(Rc<Watched>);

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// New or kept connections, in the order in which they became so. Those without a network count in all, and for no address.
struct IdleList<T> {
    next: u64,
    by_age: BTreeMap<u64, T>,
    by_network: HashMap<ClientNetwork, BTreeSet<u64>>,
}

impl<T> Default for IdleList<T> {
    fn default() -> Self {
        Self { next: 0, by_age: BTreeMap::new(), by_network: HashMap::new() }
    }
}

impl<T> IdleList<T> {
    /// Adds one as the youngest, and gives its number.
    fn insert(&mut self, network: Option<ClientNetwork>, connection: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.by_age.insert(number, connection);
        if let Some(network) = network {
            self.by_network.entry(network).or_default().insert(number);
        }
        number
    }

    /// Takes one out; nothing is kept of a network without any.
    fn remove(&mut self, network: Option<ClientNetwork>, number: u64) {
        self.by_age.remove(&number);
        if let Some(network) = network
            && let Some(numbers) = self.by_network.get_mut(&network)
        {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_network.remove(&network);
            }
        }
    }

    fn len(&self) -> usize {
        self.by_age.len()
    }

    fn count_of(&self, network: ClientNetwork) -> usize {
        self.by_network.get(&network).map_or(0, BTreeSet::len)
    }

    /// The one that has been idle for the longest time.
    fn oldest(&self) -> Option<&T> {
        self.by_age.first_key_value().map(|(_, connection)| connection)
    }

    fn oldest_of(&self, network: ClientNetwork) -> Option<&T> {
        self.by_age.get(self.by_network.get(&network)?.first()?)
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_age.values()
    }
}

#[cfg(test)]
mod tests;
