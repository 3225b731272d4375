//! The requests of a STOMP client: channels, queues, sending, acknowledging, the end.

use std::{fmt::Write as _, sync::Arc};

use super::{
    AwaitedReceipt, SimAckMode, StompChannel, StompClient,
    consumer::{self, SimConsumer},
    frame,
    transaction::NAME,
};
use crate::simulation::{
    jobs::Job,
    server::SimServer,
    subscription::{SimSubscription, SubscriptionPhase},
};

impl StompClient {
    pub(super) fn ask(&mut self, asked: AwaitedReceipt) -> u32 {
        self.next_receipt += 1;
        self.pending.insert(self.next_receipt, asked);
        self.next_receipt
    }

    /// Asks for a channel; from where it stands, if it has stood somewhere. False if that makes no sense now.
    pub(in crate::simulation) fn subscribe(&mut self, name: &Arc<str>) -> bool {
        let is_connected = self.is_connected();
        let next = self.next_receipt + 1;
        let channel = self.channels.entry(name.clone()).or_insert_with(|| StompChannel {
            subscription: SimSubscription::new(false),
            id: String::new(),
            early: Vec::new(),
        });
        let subscription = &mut channel.subscription;
        if subscription.phase != SubscriptionPhase::Idle {
            return false;
        }
        let was_wanted = std::mem::replace(&mut subscription.is_wanted, true);
        if !is_connected {
            return !was_wanted;
        }
        subscription.phase = SubscriptionPhase::Subscribing;
        subscription.command = next;
        channel.id = format!("c{next}");
        let mut frame =
            format!("SUBSCRIBE\nid:{}\ndestination:/topic/{}\n", channel.id, frame::escaped(name));
        if let Some((epoch, offset)) = &subscription.position {
            let _ = writeln!(frame, "epoch:{epoch}\noffset:{offset}");
        }
        let receipt = self.ask(AwaitedReceipt::Subscribe(name.clone()));
        self.send(format!("{frame}receipt:{receipt}\n\n\0"));
        true
    }

    /// Leaves a channel for good. False if it is not in it.
    pub(in crate::simulation) fn unsubscribe(&mut self, name: &Arc<str>) -> bool {
        let next = self.next_receipt + 1;
        let Some(channel) = self.channels.get_mut(name).filter(|found| found.subscription.is_wanted) else {
            return false;
        };
        let subscription = &mut channel.subscription;
        subscription.is_wanted = false;
        (subscription.position, subscription.last) = (None, None);
        if matches!(subscription.phase, SubscriptionPhase::Subscribing | SubscriptionPhase::Subscribed)
            && !self.is_leaving
        {
            subscription.phase = SubscriptionPhase::Unsubscribing;
            subscription.command = next;
            let id = channel.id.clone();
            let receipt = self.ask(AwaitedReceipt::Unsubscribe(name.clone()));
            self.send(format!("UNSUBSCRIBE\nid:{id}\nreceipt:{receipt}\n\n\0"));
        }
        true
    }

    /// Publishes to a channel, or sends to a queue.
    pub(in crate::simulation) fn publish(
        &mut self,
        name: &Arc<str>,
        number: u64,
        is_queue: bool,
        server: &mut SimServer,
    ) -> bool {
        if !self.is_connected() {
            return false;
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.send(name, number, is_queue);
            server.log.uncommitted.insert(number);
            let prefix = if is_queue { "queue" } else { "topic" };
            self.send(format!(
                "SEND\ndestination:/{prefix}/{}\ncontent-type:application/json\ntransaction:{NAME}\n\n{{\"n\":{number}}}\0",
                frame::escaped(name),
            ));
            return true;
        }
        let (prefix, asked) = match is_queue {
            true => ("queue", AwaitedReceipt::Send(name.clone(), number)),
            false => ("topic", AwaitedReceipt::Publish(name.clone(), number)),
        };
        let receipt = self.ask(asked);
        self.send(format!(
            "SEND\ndestination:/{prefix}/{}\ncontent-type:application/json\nreceipt:{receipt}\n\n{{\"n\":{number}}}\0",
            frame::escaped(name),
        ));
        true
    }

    /// Queues that it consumes.
    pub(in crate::simulation) fn consumed(&self) -> Vec<Arc<str>> {
        let open = self.consumers.values().filter(|consumer| !consumer.is_left);
        open.map(|consumer| consumer.queue.clone()).collect()
    }

    /// Begins to consume a queue.
    pub(in crate::simulation) fn consume(&mut self, queue: &Arc<str>, mode: SimAckMode) -> bool {
        if !self.is_connected() || self.consumed().contains(queue) {
            return false;
        }
        self.next_receipt += 1;
        let id = format!("q{}", self.next_receipt);
        let consumer = SimConsumer::new(queue.clone(), mode);
        self.send(format!(
            "SUBSCRIBE\nid:{id}\ndestination:/queue/{}\nack:{}\nprefetch-count:{}\n\n\0",
            frame::escaped(queue),
            consumer.mode.name(),
            consumer::PREFETCH,
        ));
        self.consumers.insert(id, consumer);
        true
    }

    /// Ends that.
    pub(in crate::simulation) fn leave(&mut self, queue: &Arc<str>) -> bool {
        let is_connected = self.is_connected();
        let is_it = |consumer: &SimConsumer| consumer.queue == *queue && !consumer.is_left;
        let found = self.consumers.iter_mut().find(|(_, consumer)| is_connected && is_it(consumer));
        let Some((id, consumer)) = found else { return false };
        consumer.leave();
        let id = id.clone();
        let receipt = self.ask(AwaitedReceipt::Leave(id.clone()));
        self.send(format!("UNSUBSCRIBE\nid:{id}\nreceipt:{receipt}\n\n\0"));
        true
    }

    /// Messages that it has to acknowledge.
    pub(in crate::simulation) fn held(&self) -> impl Iterator<Item = &Job> {
        self.consumers.values().flat_map(SimConsumer::held)
    }

    /// Acknowledges one of the messages that it holds, or refuses it. False if there is no such message.
    pub(in crate::simulation) fn settle(
        &mut self,
        index: usize,
        is_handled: bool,
        server: &mut SimServer,
    ) -> bool {
        let Some(job) = self.held().nth(index).cloned() else { return false };
        if !self.is_connected() {
            return false;
        }
        let holder = self.consumers.iter_mut().find(|(_, consumer)| consumer.held().any(|held| *held == job));
        let Some((id, consumer)) = holder else { return false };
        let Some((ack, settled)) = consumer.settle(&job) else { return false };
        if let (true, Some(transaction)) = (is_handled, &mut self.transaction) {
            transaction.settle(id, settled);
            self.send(format!("ACK\nid:{ack}\ntransaction:{NAME}\n\n\0"));
            return true;
        }
        let settled = settled.into_iter().map(|(job, _)| job).collect();
        let (command, settled) = match is_handled {
            true => ("ACK", settled),
            false => ("NACK", Vec::new()),
        };
        for job in &settled {
            server.log.jobs.handled(job);
        }
        let receipt = self.ask(AwaitedReceipt::Settle(settled));
        self.send(format!("{command}\nid:{ack}\nreceipt:{receipt}\n\n\0"));
        true
    }

    /// Sends DISCONNECT: the connection ends when that is confirmed.
    pub(in crate::simulation) fn send_disconnect(&mut self) -> bool {
        if !self.is_connected() {
            return false;
        }
        self.is_leaving = true;
        self.consumers.values_mut().for_each(SimConsumer::leave);
        let receipt = self.ask(AwaitedReceipt::Disconnect);
        self.send(format!("DISCONNECT\nreceipt:{receipt}\n\n\0"));
        true
    }
}
