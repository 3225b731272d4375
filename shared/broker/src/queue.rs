//! Work queues: each message goes to one consumer, waits while there is none, and comes again until it is acknowledged.
//! `docs/protocols/stomp.md` §7; `docs/architecture.md` §4.9.
//!
//! A queue is made by its first message or consumer and forgotten when it is not used for a while. Consumers are nodes: what
//! a node took and did not acknowledge is given to others when the node says so, or when its lease has expired.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use crate::{BrokerError, Publication};

/// The limits of a queue. The same for every call on one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLimits {
    /// Messages at most, those taken and not acknowledged included.
    pub max_messages: u32,
    /// Bytes of them at most.
    pub max_bytes: u64,
    /// Deliveries of a message after which it goes to the queue of dead letters instead; 0: never.
    pub max_attempts: u32,
    /// Time for which an unused queue is kept.
    pub ttl: Duration,
}

/// Names a message of a queue until it is acknowledged.
pub type DeliveryId = Arc<str>;

/// A message that a consumer was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDelivery {
    /// For its acknowledgement.
    pub id: DeliveryId,
    /// 1 for the first consumer that gets it.
    pub attempt: u32,
    /// The message.
    pub publication: Arc<Publication>,
}

/// Time for which a silent node keeps the messages that it took.
pub const QUEUE_LEASE: Duration = Duration::from_secs(9);

/// The interval at which a node with consumers or unacknowledged messages calls [`Queues::keep`].
pub const QUEUE_KEEP_EVERY: Duration = Duration::from_secs(3);

/// The text of [`BrokerError::Limit`] for a queue that is full.
pub const QUEUE_FULL: &str = "messages in a queue";

/// Ends the name of the queue of dead letters: those of `jobs` are in `jobs.dead`, and stay there until they are taken.
pub const DEAD_SUFFIX: &str = ".dead";

/// Tags of a dead letter: the queue that it comes from, and how often it was delivered.
pub const DEAD_FROM_TAG: &str = "dead-letter-from";
/// See [`DEAD_FROM_TAG`].
pub const DEAD_ATTEMPTS_TAG: &str = "dead-letter-attempts";

/// The wake of a queue's consumers: an event on its channel, whatever its content, means that the queue may have messages.
///
/// No client's channel is one: the check of channel names refuses those that begin as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueWake<'a> {
    /// The queue.
    pub queue: &'a str,
}

impl<'a> QueueWake<'a> {
    /// Begins the channel's name. All nodes of a cluster, of every version, and the keys of Redis agree on it.
    const PREFIX: &'static str = "queue wake ";

    /// The channel on which the broker carries it.
    pub fn channel(self) -> Arc<str> {
        format!("{}{}", Self::PREFIX, self.queue).into()
    }

    /// The wake that this channel carries; `None` for the channels of clients.
    pub fn parse(channel: &'a str) -> Option<Self> {
        channel.strip_prefix(Self::PREFIX).map(|queue| Self { queue })
    }
}

/// The most often that a message of this queue is delivered: dead letters stay where they are.
pub(crate) fn max_attempts(queue: &str, limits: &QueueLimits) -> u32 {
    if queue.ends_with(DEAD_SUFFIX) { 0 } else { limits.max_attempts }
}

/// A dead letter, and the queue that it belongs in.
pub(crate) fn dead_letter(queue: &str, delivery: &QueueDelivery) -> (String, Publication) {
    let mut publication = Publication::clone(&delivery.publication);
    publication.tags.push((DEAD_FROM_TAG.to_owned(), queue.to_owned()));
    publication.tags.push((DEAD_ATTEMPTS_TAG.to_owned(), delivery.attempt.to_string()));
    (format!("{queue}{DEAD_SUFFIX}"), publication)
}

/// Work queues of a broker.
///
/// # Order
/// Messages are given out in the order in which they were accepted; those that come again, before newer ones. Calls of one
/// node take effect in the order of the calls.
///
/// # Delivery
/// At least once: a message leaves the queue when it is acknowledged, and not before. What [`Queues::give_back`] or a
/// node's death returns is delivered again, with a higher attempt.
///
/// # Blocking
/// As [`crate::Broker`].
pub trait Queues: Send + Sync + 'static {
    /// Adds a message, and wakes the consumers of all nodes. [`BrokerError::Limit`] when the queue is full.
    fn push(
        &self,
        queue: &str,
        publication: Publication,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Gives up to `count` messages to a node, which holds them from now on. None when there are none: a subscriber of
    /// [`QueueWake::channel`] is woken for the next.
    fn take(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<Vec<QueueDelivery>, BrokerError>>;

    /// These were handled and are forgotten. Unknown ones are no error.
    fn acknowledge(&self, queue: &str, ids: &[DeliveryId]) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// A node does not handle these: they are for others, or dead letters after their last attempt. Those that it does not
    /// hold are no error. After an error [`Queues::keep`] under this name, with what the node holds, gives them back.
    fn give_back(
        &self,
        queue: &str,
        node: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// A node says that it is alive, and gives back what dead nodes hold. To be called every [`QUEUE_KEEP_EVERY`].
    ///
    /// `holds`: all that the node still holds, where it takes no more under this name. The broker gives the rest back: what a
    /// lost answer did not bring to the node, and what could not be acknowledged or given back while the broker was away.
    /// Dead letters that find no room in their queue wait in this one and are tried again with each call;
    /// [`BrokerError::UnknownOutcome`] says that something under this name still has to be given back.
    fn keep(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_channel_of_a_wake_is_the_one_that_other_versions_listen_to() {
        assert_eq!(&*QueueWake { queue: "jobs" }.channel(), "queue wake jobs");
    }

    proptest! {
        #[test]
        fn a_wake_is_read_from_its_channel_and_from_no_name_without_a_space(queue in ".*", name in "[!-~]{0,255}") {
            let channel = QueueWake { queue: &queue }.channel();
            prop_assert_eq!(QueueWake::parse(&channel), Some(QueueWake { queue: &queue }));
            prop_assert_eq!(QueueWake::parse(&name), None);
        }
    }
}
