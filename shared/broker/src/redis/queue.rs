//! Work queues in Redis: a stream with a consumer group each, every step one script. `Queues` in [`crate::queue`] is the
//! contract. All keys of a queue carry one hash tag.

use std::sync::Arc;

use futures_util::{FutureExt as _, future::BoxFuture};
use redis::{Cmd, Value};

use super::{
    replies,
    scripts::{Keys, LuaScript},
    shards::Shards,
    wire,
};
use crate::{
    BrokerError, Publication,
    queue::{
        DeliveryId, QUEUE_FULL, QUEUE_LEASE, QueueDelivery, QueueLimits, QueueWake, Queues, dead_letter,
        max_attempts,
    },
};

/// The queues of a server.
#[derive(Clone)]
pub(super) struct RedisQueues {
    pub(super) keys: Keys,
    pub(super) shards: Arc<Shards>,
}

/// The content of a wake: an empty publication.
fn wake_message() -> Vec<u8> {
    wire::publication_message(&[])
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

impl RedisQueues {
    fn call(&self, code: &LuaScript, queue: &str) -> Cmd {
        let keys = self.keys.queue(QueueWake { queue });
        code.call(&keys.each_ref().map(String::as_str))
    }

    fn ask(&self, call: Cmd) -> impl Future<Output = Result<Value, BrokerError>> + Send + 'static + use<> {
        self.shards.make(call)
    }

    /// The arguments by which a script wakes the consumers of all nodes.
    fn wake_with(&self, call: &mut Cmd, queue: &str) {
        call.arg(self.shards.pubsub_commands().publish())
            .arg(self.keys.events(&QueueWake { queue }.channel()))
            .arg(wake_message());
    }

    /// Moves the dead letters that a script gave: they leave this queue only when they are in their own. Those that
    /// cannot be, because their queue is full or its server away, stay pending under the node's name, and the error says so.
    async fn dead_letter(self, queue: String, answer: Value, limits: QueueLimits) -> Result<(), BrokerError> {
        let mut failed = None;
        for delivery in replies::deliveries(answer)? {
            let (name, letter) = dead_letter(&queue, &delivery);
            let buried = match self.push(&name, letter, &limits).await {
                Ok(()) => self.acknowledge(&queue, &[delivery.id]).await,
                Err(error) => Err(error),
            };
            match buried {
                Ok(()) => self.shards.counters().dead_letters.add(1),
                Err(error) => {
                    self.shards.counters().dead_letters_waiting.add(1);
                    failed = Some(error);
                }
            }
        }
        match failed {
            None => Ok(()),
            Some(error) => Err(BrokerError::UnknownOutcome(format!("a dead letter has to wait: {error}"))),
        }
    }
}

impl Queues for RedisQueues {
    fn push(
        &self,
        queue: &str,
        publication: Publication,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.call(&self.shards.scripts().queue_push, queue);
        call.arg(wire::encode_publication(&publication))
            .arg(limits.max_messages)
            .arg(limits.max_bytes)
            .arg(millis(limits.ttl));
        self.wake_with(&mut call, queue);
        let made = self.ask(call);
        async move {
            match made.await? {
                Value::Int(0) => Err(BrokerError::Limit(QUEUE_FULL)),
                _ => Ok(()),
            }
        }
        .boxed()
    }

    fn take(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<Vec<QueueDelivery>, BrokerError>> {
        let mut call = self.call(&self.shards.scripts().queue_take, queue);
        call.arg(node).arg(count).arg(millis(QUEUE_LEASE)).arg(millis(limits.ttl));
        let made = self.ask(call);
        async move { replies::deliveries(made.await?) }.boxed()
    }

    fn acknowledge(&self, queue: &str, ids: &[DeliveryId]) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.call(&self.shards.scripts().queue_ack, queue);
        for id in ids {
            call.arg(&**id);
        }
        let made = self.ask(call);
        async move { made.await.map(drop) }.boxed()
    }

    fn give_back(
        &self,
        queue: &str,
        node: &str,
        ids: &[DeliveryId],
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.call(&self.shards.scripts().queue_return, queue);
        call.arg(node).arg(max_attempts(queue, limits));
        self.wake_with(&mut call, queue);
        for id in ids {
            call.arg(&**id);
        }
        let made = self.ask(call);
        let (queues, queue, limits) = (self.clone(), queue.to_owned(), limits.clone());
        async move { queues.dead_letter(queue, made.await?, limits).await }.boxed()
    }

    fn keep(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.call(&self.shards.scripts().queue_keep, queue);
        call.arg(node).arg(max_attempts(queue, limits));
        self.wake_with(&mut call, queue);
        call.arg(millis(QUEUE_LEASE)).arg(millis(limits.ttl)).arg(u8::from(holds.is_some()));
        for id in holds.unwrap_or_default() {
            call.arg(&**id);
        }
        let made = self.ask(call);
        let (queues, queue, limits) = (self.clone(), queue.to_owned(), limits.clone());
        async move { queues.dead_letter(queue, made.await?, limits).await }.boxed()
    }
}
