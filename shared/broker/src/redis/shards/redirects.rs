//! Requests that a server of a cluster did not carry out, until their server is known. `docs/architecture.md` §4.4; record 11.
//!
//! A slot is *open* while requests of it wait here, or while its owner has changed and the old one still has requests of
//! it. All new requests of an open slot wait here too, behind the others. When no server has any request of the slot left,
//! those that wait are sent, in the order in which they were made, and the slot is closed. A request that was overtaken (a
//! later one of its slot was carried out, or may have been) is never sent again: it is answered with
//! [`crate::BrokerError::Unavailable`], which is true, and the order of its channel is kept.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use redis::ServerError;
use tokio::sync::Notify;

use super::{
    super::{counters::Counters, request::Request},
    slots::{RedirectTicket, SLOTS, Slot, StandingRequest},
};

/// Waiting requests of one slot, by their numbers.
type RedirectQueue = BTreeMap<u64, Request>;

/// The requests of open slots, until it is known which server takes them.
#[derive(Debug)]
pub(in crate::redis) struct Redirects {
    /// Numbers the requests in the order in which they are made.
    next: AtomicU64,
    /// Requests of each slot that a server has.
    standing: Arc<[AtomicU32]>,
    /// The open slots.
    waiting: Mutex<HashMap<Slot, RedirectQueue>>,
    /// The number of open slots: nothing is locked while there are none.
    open: AtomicUsize,
    unverified_slots: Notify,
    counters: Arc<Counters>,
}

impl Redirects {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self {
            next: AtomicU64::new(0),
            standing: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
            waiting: Mutex::default(),
            open: AtomicUsize::new(0),
            unverified_slots: Notify::new(),
            counters,
        }
    }

    /// The ticket of a request that is made now.
    pub(super) fn join(&self, slot: Slot) -> RedirectTicket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RedirectTicket { slot, number, at_server: Some(self.stand(slot)) }
    }

    fn stand(&self, slot: Slot) -> StandingRequest {
        if let Some(count) = self.standing.get(usize::from(slot)) {
            count.fetch_add(1, Ordering::AcqRel);
        }
        StandingRequest { slot, counts: Arc::clone(&self.standing) }
    }

    fn is_standing(&self, slot: Slot) -> bool {
        self.standing.get(usize::from(slot)).is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    /// Gives the request back if its slot is closed; else it waits here.
    pub(super) fn pass(&self, request: Request) -> Option<Request> {
        if self.has_open() {
            let mut lines = self.waiting.lock();
            if let Some(line) = request.redirect.as_ref().and_then(|place| lines.get_mut(&place.slot)) {
                enter(line, request);
                return None;
            }
        }
        Some(request)
    }

    /// A server did not carry this out.
    pub(in crate::redis) fn take_back(&self, mut request: Request, error: &ServerError) {
        self.counters.redirected.add(1);
        request.take_back();
        let Some(slot) = request.redirect.as_ref().map(|place| place.slot) else {
            return request.fail(&format!("{} {}", error.code(), error.details().unwrap_or_default()));
        };
        enter(self.line(&mut self.waiting.lock(), slot), request);
        self.mark_unverified();
    }

    /// A request was carried out, or may have been: those before it must not be any more.
    pub(in crate::redis) fn carried_out(&self, place: &RedirectTicket) {
        if !self.has_open() {
            return;
        }
        if let Some(line) = self.waiting.lock().get_mut(&place.slot) {
            let later = line.split_off(&place.number);
            for (_, overtaken) in std::mem::replace(line, later) {
                overtaken.fail("its slot is being moved, and a later request was carried out");
            }
        }
    }

    /// The slot's owner has changed: what the old one still has comes first.
    pub(super) fn owner_changed(&self, slot: Slot) {
        if self.is_standing(slot) {
            self.line(&mut self.waiting.lock(), slot);
        }
    }

    fn line<'a>(&self, lines: &'a mut HashMap<Slot, RedirectQueue>, slot: Slot) -> &'a mut RedirectQueue {
        lines.entry(slot).or_insert_with(|| {
            self.open.fetch_add(1, Ordering::AcqRel);
            RedirectQueue::new()
        })
    }

    /// Closes the slots of which no server has a request. Nobody may join meanwhile.
    pub(super) fn close_slots(&self, send: impl Fn(Slot, Request)) {
        let mut lines = self.waiting.lock();
        let settled: Vec<Slot> = lines.keys().copied().filter(|slot| !self.is_standing(*slot)).collect();
        for slot in settled {
            self.open.fetch_sub(1, Ordering::AcqRel);
            for (_, mut request) in lines.remove(&slot).unwrap_or_default() {
                if let Some(place) = &mut request.redirect {
                    place.at_server = Some(self.stand(slot));
                }
                send(slot, request);
            }
        }
    }

    pub(super) fn has_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Something happened after which the servers may be others.
    pub(in crate::redis) fn mark_unverified(&self) {
        self.unverified_slots.notify_one();
    }

    /// Resolves when the map is marked as unverified.
    pub(super) async fn unverified(&self) {
        self.unverified_slots.notified().await;
    }
}

fn enter(line: &mut RedirectQueue, mut request: Request) {
    if let Some(place) = &mut request.redirect {
        place.at_server = None;
        line.insert(place.number, request);
    }
}

#[cfg(test)]
mod tests;
