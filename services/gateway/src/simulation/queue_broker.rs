//! The work queues of a node's broker in the simulation: every call is a request on its link, and a dead letter two of them, as
//! it is where the two queues are on different servers.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use gorani_broker::{
    BrokerError, Publication,
    queue::{DEAD_ATTEMPTS_TAG, DEAD_FROM_TAG, DEAD_SUFFIX, DeliveryId, QueueDelivery, QueueLimits, Queues},
};

use super::{
    broker::{SimAnswer, SimBroker},
    server::SimServer,
};

fn line(queue: &str) -> String {
    format!("(queue){queue}")
}

/// Dead letters stay where they are.
fn most(queue: &str, limits: &QueueLimits) -> u32 {
    if queue.ends_with(DEAD_SUFFIX) { 0 } else { limits.max_attempts }
}

impl SimBroker {
    fn queue<T: Send + 'static>(
        &self,
        queue: &str,
        label: String,
        run: impl FnOnce(&mut SimServer, &str) -> Result<T, BrokerError> + Send + 'static,
    ) -> SimAnswer<T> {
        let name: Arc<str> = queue.into();
        self.fallible(&line(queue), label, None, move |server| run(server, &name))
    }

    /// Dead letters go to their queue first, and leave this one then.
    fn bury(
        &self,
        queue: &str,
        dead: SimAnswer<Vec<QueueDelivery>>,
        limits: &QueueLimits,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let (broker, queue, limits) = (self.clone(), queue.to_owned(), limits.clone());
        async move {
            let mut failed = None;
            for delivery in dead.await? {
                let mut letter = Publication::clone(&delivery.publication);
                letter.tags.push((DEAD_FROM_TAG.to_owned(), queue.clone()));
                letter.tags.push((DEAD_ATTEMPTS_TAG.to_owned(), delivery.attempt.to_string()));
                let pushed = Queues::push(&broker, &format!("{queue}{DEAD_SUFFIX}"), letter, &limits).await;
                let buried = match pushed {
                    Ok(()) => broker.acknowledge(&queue, &[delivery.id]).await,
                    Err(error) => Err(error),
                };
                failed = failed.or(buried.err());
            }
            match failed {
                None => Ok(()),
                Some(error) => {
                    Err(BrokerError::UnknownOutcome(format!("a dead letter has to wait: {error}")))
                }
            }
        }
        .boxed()
    }
}

impl Queues for SimBroker {
    fn push(&self, queue: &str, publication: Publication, limits: &QueueLimits) -> SimAnswer<()> {
        let label = format!("push {queue} {}", String::from_utf8_lossy(&publication.data));
        let limits = limits.clone();
        self.queue(queue, label, move |server, name| server.queue_push(name, publication, &limits))
    }

    fn take(
        &self,
        queue: &str,
        node: &str,
        count: u32,
        _limits: &QueueLimits,
    ) -> SimAnswer<Vec<QueueDelivery>> {
        let node = node.to_owned();
        self.queue(queue, format!("take {queue} for {node}, {count}"), move |server, name| {
            Ok(server.queue_take(name, &node, count))
        })
    }

    fn acknowledge(&self, queue: &str, ids: &[DeliveryId]) -> SimAnswer<()> {
        let ids = ids.to_vec();
        self.queue(queue, format!("acknowledge {queue} {ids:?}"), move |server, name| {
            server.queue_acknowledge(name, &ids);
            Ok(())
        })
    }

    fn give_back(&self, queue: &str, node: &str, ids: &[DeliveryId], limits: &QueueLimits) -> SimAnswer<()> {
        let (node, ids, most) = (node.to_owned(), ids.to_vec(), most(queue, limits));
        let label = format!("give back {queue} of {node} {ids:?}");
        let dead =
            self.queue(queue, label, move |server, name| Ok(server.queue_give_back(name, &node, &ids, most)));
        self.bury(queue, dead, limits)
    }

    fn keep(
        &self,
        queue: &str,
        node: &str,
        holds: Option<&[DeliveryId]>,
        limits: &QueueLimits,
    ) -> SimAnswer<()> {
        let (node, most) = (node.to_owned(), most(queue, limits));
        let holds = holds.map(<[DeliveryId]>::to_vec);
        let label = format!("keep {queue} of {node} {holds:?}");
        let dead = self.queue(queue, label, move |server, name| {
            Ok(server.queue_keep(name, &node, holds.as_deref(), most))
        });
        self.bury(queue, dead, limits)
    }
}
