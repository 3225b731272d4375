//! Messages that a subscription of a work queue has taken and not yet acknowledged. `docs/protocols/stomp.md` §7.

use std::{collections::VecDeque, sync::Arc};

use gorani_broker::queue::DeliveryId;

use crate::session::Ticket;

/// A subscription's side of a queue.
pub(super) struct QueueConsumer {
    pub(super) queue: Arc<str>,
    /// Unacknowledged messages at most.
    pub(super) prefetch: usize,
    pub(super) taking: Option<Ticket>,
    /// In the order in which they were sent: serials rise.
    pub(super) unacknowledged: VecDeque<Unacknowledged>,
}

/// A message that was sent to the client.
pub(super) struct Unacknowledged {
    /// The number that names it within the session.
    pub(super) serial: u64,
    pub(super) message_id: Box<str>,
    pub(super) id: DeliveryId,
}

impl QueueConsumer {
    pub(super) fn new(queue: Arc<str>, prefetch: usize) -> Self {
        Self { queue, prefetch, taking: None, unacknowledged: VecDeque::new() }
    }

    pub(super) fn find(&self, is_it: impl Fn(&Unacknowledged) -> bool) -> Option<u64> {
        self.unacknowledged.iter().find(|message| is_it(message)).map(|message| message.serial)
    }

    /// The index of the unacknowledged message with this serial.
    pub(super) fn position(&self, serial: u64) -> Option<usize> {
        self.unacknowledged.binary_search_by_key(&serial, |message| message.serial).ok()
    }

    /// Takes out the message of this serial, and with `and_earlier` all before it.
    pub(super) fn fetch(&mut self, serial: u64, and_earlier: bool) -> Vec<DeliveryId> {
        let Some(index) = self.position(serial) else { return Vec::new() };
        let first = if and_earlier { 0 } else { index };
        self.unacknowledged.drain(first..=index).map(|message| message.id).collect()
    }

    /// All that is not acknowledged.
    pub(super) fn fetch_all(&mut self) -> Vec<DeliveryId> {
        self.unacknowledged.drain(..).map(|message| message.id).collect()
    }
}

/// The message that an ACK or NACK is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Acknowledged {
    /// A message of a channel: nothing waits for it.
    Channel,
    /// The message of a queue with this serial.
    Queue(u64),
}
