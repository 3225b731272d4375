//! Subscriptions of work queues: messages are taken, shown, acknowledged and given back. `docs/protocols/stomp.md` §7.

use std::sync::Arc;

use gorani_auth::{Operation, check_channel_name};
use gorani_broker::queue::{DEAD_SUFFIX, DeliveryId, QueueDelivery};
use gorani_protocol::stomp::{StompCommand, StompFrame, Version};

use super::{
    StompSession,
    failure::Failure,
    state::{AckMode, Acknowledged, StompSubscription, SubscriptionSource, Unacknowledged},
    transactions::PendingCommit,
};
use crate::{
    disconnect::ErrorCode,
    format::message_headers::{self, CHANNEL_ACK, DeliveryHeaders},
    session::{Action, Actions, Now, Ticket},
};

/// Prefix of the `ack` header of a message of a queue.
const QUEUE_ACK: &str = "q-";

impl StompSession {
    /// Checks that this session may use a queue.
    pub(super) fn check_queue(&self, queue: &str, is_send: bool, now: Now) -> Result<(), Failure> {
        let most = self.policy.settings.channel_max_bytes.saturating_sub(DEAD_SUFFIX.len());
        check_channel_name(queue, most)
            .map_err(|error| Failure::from(ErrorCode::BAD_REQUEST).because(error.to_string()))?;
        if self.is_backend() {
            self.policy.options_for_backend(queue)?;
            return Ok(());
        }
        if !self.settings.queue.allow_clients {
            let closed = Failure::from(ErrorCode::PERMISSION_DENIED);
            return Err(closed.because("set stomp.queue.allow_clients, or log in as one of stomp.users"));
        }
        let allowed = if is_send {
            self.policy.may(Operation::Publish, queue, &self.identity.user, false).map(drop)
        } else {
            self.policy.may_subscribe(queue, &self.identity, None, now, |_| ())
        };
        Ok(allowed?)
    }

    /// Asks for as many messages as the subscriptions have room for.
    pub(super) fn ask_for_more(&mut self, actions: &mut Actions) {
        for subscription in &mut self.subscriptions {
            let SubscriptionSource::Queue(consumer) = &mut subscription.source else { continue };
            let room = consumer.prefetch.saturating_sub(consumer.unacknowledged.len());
            if consumer.taking.is_none() && room > 0 {
                let ticket = self.receipts.ticket();
                consumer.taking = Some(ticket);
                let count = u32::try_from(room).unwrap_or(u32::MAX);
                actions.push(Action::Fetch(ticket, consumer.queue.clone(), count));
            }
        }
    }

    /// Messages came.
    pub(super) fn on_fetched(
        &mut self,
        ticket: Ticket,
        fetched: Result<Vec<QueueDelivery>, ErrorCode>,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        if let Some(index) = self.left_queues.iter().position(|(left, _)| *left == ticket) {
            let (_, queue) = self.left_queues.swap_remove(index);
            let ids: Vec<DeliveryId> =
                fetched.unwrap_or_default().into_iter().map(|fetched| fetched.id).collect();
            self.acknowledge_ids(queue, ids, false, actions);
            return Ok(());
        }
        let fetched = fetched?;
        let style = self.style();
        let is_it = |known: &&mut StompSubscription| matches!(&known.source, SubscriptionSource::Queue(consumer) if consumer.taking == Some(ticket));
        let Some(subscription) = self.subscriptions.iter_mut().find(is_it) else { return Ok(()) };
        let SubscriptionSource::Queue(consumer) = &mut subscription.source else { return Ok(()) };
        consumer.taking = None;
        let mut handled = Vec::new();
        for delivery in fetched {
            self.serial += 1;
            let serial = self.serial;
            let message_id = format!("{}:{}", consumer.queue, delivery.id);
            let ack = format!("{QUEUE_ACK}{serial}");
            let headers = DeliveryHeaders { ack: Some(&ack), redelivered: delivery.attempt > 1, more: &[] };
            let publication = &delivery.publication;
            actions.message(message_headers::message_kind(publication, style), |out| {
                subscription.shown.write_delivery(style, publication, &message_id, headers, out);
            });
            if subscription.ack_mode == AckMode::Auto {
                handled.push(delivery.id);
            } else {
                let message_id = message_id.into();
                consumer.unacknowledged.push_back(Unacknowledged { serial, message_id, id: delivery.id });
            }
        }
        let queue = consumer.queue.clone();
        self.acknowledge_ids(queue, handled, true, actions);
        self.ask_for_more(actions);
        Ok(())
    }

    /// Acknowledges or rejects messages for which no receipt is asked.
    pub(super) fn acknowledge_ids(
        &mut self,
        queue: Arc<str>,
        ids: Vec<DeliveryId>,
        is_handled: bool,
        actions: &mut Actions,
    ) {
        if !ids.is_empty() {
            let ticket = self.receipts.ticket();
            actions.push(Action::Acknowledge(ticket, queue, ids, is_handled));
        }
    }

    /// ACK and NACK.
    pub(super) fn acknowledge(&mut self, frame: &StompFrame, actions: &mut Actions) -> Result<(), Failure> {
        let about = self.acknowledged(frame)?;
        let is_handled = frame.command == StompCommand::Ack;
        let receipt = frame.headers.get("receipt");
        if let Some(transaction) = frame.headers.get("transaction") {
            let step = PendingCommit::Settle(about, is_handled);
            self.transactions.keep(transaction, step, &self.settings)?;
            self.receipts.expect(0, receipt, false);
            return Ok(());
        }
        match about {
            Acknowledged::Channel => {
                self.receipts.expect(0, receipt, false);
            }
            Acknowledged::Queue(serial) => {
                let ticket = self.receipts.expect(1, receipt, false);
                self.acknowledge_serial(serial, is_handled, ticket, actions);
            }
        }
        Ok(())
    }

    /// Acknowledges or rejects the message of a serial, and those acknowledged with it. False if that was done already.
    pub(super) fn acknowledge_serial(
        &mut self,
        serial: u64,
        is_handled: bool,
        ticket: Ticket,
        actions: &mut Actions,
    ) -> bool {
        let mut is_found = false;
        for subscription in &mut self.subscriptions {
            let and_earlier = subscription.ack_mode == AckMode::Client;
            let SubscriptionSource::Queue(consumer) = &mut subscription.source else { continue };
            let ids = consumer.fetch(serial, and_earlier);
            if !ids.is_empty() {
                actions.push(Action::Acknowledge(ticket, consumer.queue.clone(), ids, is_handled));
                is_found = true;
                break;
            }
        }
        self.ask_for_more(actions);
        is_found
    }

    /// True if the message of this serial is still to be acknowledged.
    pub(super) fn is_unacknowledged(&self, serial: u64) -> bool {
        self.subscriptions.iter().any(|known| match &known.source {
            SubscriptionSource::Queue(consumer) => consumer.position(serial).is_some(),
            SubscriptionSource::Channel(_) | SubscriptionSource::Replies => false,
        })
    }

    /// The message that an ACK or NACK frame names. A message of a channel goes to every subscriber: acknowledging it means
    /// nothing, but it must be one.
    fn acknowledged(&self, frame: &StompFrame) -> Result<Acknowledged, Failure> {
        let headers = &frame.headers;
        let unknown = || {
            Failure::bad(match frame.command {
                StompCommand::Nack => "NACK of an unknown message",
                _ => "ACK of an unknown message",
            })
        };
        let mut acknowledging = self.subscriptions.iter().filter(|known| known.ack_mode != AckMode::Auto);
        if self.version == Version::V1_2 {
            let id = headers.get("id").ok_or(Failure::bad("no id"))?;
            if let Some(serial) = id.strip_prefix(QUEUE_ACK) {
                let serial = serial.parse().map_err(|_| unknown())?;
                return if self.is_unacknowledged(serial) {
                    Ok(Acknowledged::Queue(serial))
                } else {
                    Err(unknown())
                };
            }
            let is_of_channel =
                |known: &StompSubscription| !matches!(known.source, SubscriptionSource::Queue(_));
            return match id.starts_with(CHANNEL_ACK) && acknowledging.any(is_of_channel) {
                true => Ok(Acknowledged::Channel),
                false => Err(unknown()),
            };
        }
        let message_id = headers.get("message-id").ok_or(Failure::bad("no message-id"))?;
        let name = match self.version {
            Version::V1_1 => Some(headers.get("subscription").ok_or(Failure::bad("no subscription"))?),
            _ => None,
        };
        let mut found = Err(unknown());
        for subscription in acknowledging.filter(|known| name.is_none_or(|name| known.name() == name)) {
            match &subscription.source {
                SubscriptionSource::Channel(_) | SubscriptionSource::Replies => {
                    found = Ok(Acknowledged::Channel);
                }
                SubscriptionSource::Queue(consumer) => {
                    if let Some(serial) = consumer.find(|message| *message.message_id == *message_id) {
                        return Ok(Acknowledged::Queue(serial));
                    }
                }
            }
        }
        found
    }
}

/// The prefetch that a client asks for with `prefetch-count`, within the limit of the settings.
pub(super) fn prefetch(asked: Option<&str>, most: u32) -> Result<usize, Failure> {
    let most = most as usize;
    match asked.map(str::parse::<usize>) {
        None => Ok(most),
        Some(Ok(count)) if count > 0 => Ok(count.min(most)),
        Some(_) => Err(Failure::bad("prefetch-count is not a number above 0")),
    }
}
