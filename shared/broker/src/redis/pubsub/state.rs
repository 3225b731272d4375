//! The names that are wanted on one server and those that it has confirmed, and the callers that wait for a confirmation.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use crate::{BrokerError, redis::canary::Canary};

/// The kind of a Redis channel.
#[derive(Debug, Clone)]
pub(in crate::redis) enum SubscriptionKind {
    /// The events of a channel.
    Channel(Arc<str>),
    /// Messages of nodes.
    Messages,
}

/// A name that the node wants to be subscribed to.
#[derive(Debug)]
pub(in crate::redis) struct WantedChannel {
    pub(super) kind: SubscriptionKind,
    /// Confirmed by the server over the connection of now.
    pub(super) is_heard: bool,
    /// Something may have been missed; the sink gets the gap when the name is confirmed.
    pub(super) has_gap: bool,
    pub(super) waiters: Vec<Arc<Waiter>>,
}

impl WantedChannel {
    pub(in crate::redis) fn new(kind: SubscriptionKind) -> Self {
        Self { kind, is_heard: false, has_gap: false, waiters: Vec::new() }
    }
}

#[derive(Default)]
pub(super) struct PubSubState {
    /// The connection that counts; pushes of earlier ones are too late.
    pub(super) generation: u64,
    pub(super) wanted: HashMap<String, WantedChannel>,
    /// Those of them that are not confirmed.
    pub(super) unheard: HashSet<String>,
    /// Time since which something is unconfirmed that was confirmed before.
    pub(super) lost: Option<Instant>,
    /// Unsubscriptions that the server has not confirmed: until then no subscription of the name counts.
    pub(super) leaving: HashMap<String, u32>,
    pub(super) canary: Canary,
}

/// A call of the sink for one push.
pub(super) enum SinkEvent {
    /// A message of nodes.
    Message(Bytes),
    /// A message of a channel.
    Event(Arc<str>, Bytes),
    /// A channel is confirmed from now on, and may have missed something before.
    Gap(Arc<str>),
}

impl PubSubState {
    /// The server has confirmed a subscription: every later message will arrive, and the node can read what it missed. Returns
    /// the call of the sink, and the waiters.
    pub(super) fn on_subscribed(&mut self, name: &str) -> (Option<SinkEvent>, Vec<Arc<Waiter>>) {
        if self.leaving.contains_key(name) {
            return (None, Vec::new());
        }
        let Some(wanted) = self.wanted.get_mut(name).filter(|wanted| !wanted.is_heard) else {
            return (None, Vec::new());
        };
        wanted.is_heard = true;
        let has_gap = std::mem::take(&mut wanted.has_gap);
        let gap = match &wanted.kind {
            SubscriptionKind::Channel(channel) if has_gap => Some(SinkEvent::Gap(channel.clone())),
            _ => None,
        };
        let heard = std::mem::take(&mut wanted.waiters);
        self.mark_confirmed(name);
        (gap, heard)
    }

    pub(super) fn leave(&mut self, names: &[String]) {
        for name in names {
            *self.leaving.entry(name.clone()).or_default() += 1;
        }
    }

    /// The name no longer counts as unconfirmed.
    pub(super) fn mark_confirmed(&mut self, name: &str) {
        self.unheard.remove(name);
        if self.unheard.is_empty() {
            self.lost = None;
        }
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<WantedChannel> {
        self.mark_confirmed(name);
        self.wanted.remove(name)
    }

    pub(super) fn forget(&mut self, name: &str) {
        for waiter in self.remove(name).into_iter().flat_map(|wanted| wanted.waiters) {
            waiter.count_down();
        }
    }
}

/// A caller that waits until names are confirmed.
#[derive(Debug)]
pub(in crate::redis) struct Waiter {
    missing: AtomicUsize,
    reply: Mutex<Option<oneshot::Sender<Result<(), BrokerError>>>>,
}

impl Waiter {
    /// One that waits for so many names.
    pub(in crate::redis) fn new(names: usize) -> (Arc<Self>, oneshot::Receiver<Result<(), BrokerError>>) {
        let (reply, answer) = oneshot::channel();
        let waiter = Self { missing: AtomicUsize::new(names), reply: Mutex::new(Some(reply)) };
        if names == 0 {
            waiter.end(Ok(()));
        }
        (Arc::new(waiter), answer)
    }

    /// One of the names is confirmed.
    pub(in crate::redis) fn count_down(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end(Ok(()));
        }
    }

    /// True if the caller no longer waits.
    pub(in crate::redis) fn is_given_up(&self) -> bool {
        self.reply.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Only the first end counts.
    pub(in crate::redis) fn end(&self, answer: Result<(), BrokerError>) {
        if let Some(reply) = self.reply.lock().take() {
            let _ = reply.send(answer);
        }
    }
}
