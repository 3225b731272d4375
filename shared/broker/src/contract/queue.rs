//! Work queues: one consumer each, in order, again until acknowledged, bounded, dead letters.

use std::time::Duration;

use super::{ContractNode, Harness};
use crate::{
    BrokerError, DataKind, Publication,
    queue::{DeliveryId, QueueDelivery, QueueLimits, Queues},
};

const QUEUE: &str = "jobs";

fn limits() -> QueueLimits {
    QueueLimits { max_messages: 1000, max_bytes: 1 << 20, max_attempts: 3, ttl: Duration::from_secs(60) }
}

/// A node by its name.
struct NamedNode {
    node: ContractNode,
    name: &'static str,
}

impl NamedNode {
    async fn join(harness: &impl Harness, name: &'static str) -> Self {
        Self { node: harness.node().await, name }
    }

    fn queues(&self) -> &dyn Queues {
        self.node.broker.queues().expect("this broker has queues")
    }

    async fn push(&self, data: &str) {
        self.try_push(QUEUE, data, &limits()).await.unwrap();
    }

    async fn try_push(&self, queue: &str, data: &str, limits: &QueueLimits) -> Result<(), BrokerError> {
        let publication = Publication {
            data: data.to_owned().into(),
            kind: DataKind::Text,
            time_ms: 7,
            ..Publication::default()
        };
        self.queues().push(queue, publication, limits).await
    }

    async fn take(&self, count: u32) -> Vec<QueueDelivery> {
        self.queues().take(QUEUE, self.name, count, &limits()).await.unwrap()
    }

    async fn acknowledge(&self, deliveries: &[QueueDelivery]) {
        self.queues().acknowledge(QUEUE, &ids(deliveries)).await.unwrap();
    }

    async fn give_back(&self, deliveries: &[QueueDelivery]) {
        self.queues().give_back(QUEUE, self.name, &ids(deliveries), &limits()).await.unwrap();
    }
}

fn ids(deliveries: &[QueueDelivery]) -> Vec<DeliveryId> {
    deliveries.iter().map(|delivery| delivery.id.clone()).collect()
}

fn data(deliveries: &[QueueDelivery]) -> Vec<(String, u32)> {
    let text = |delivery: &QueueDelivery| String::from_utf8(delivery.publication.data.to_vec()).unwrap();
    deliveries.iter().map(|delivery| (text(delivery), delivery.attempt)).collect()
}

fn first(texts: &[&str]) -> Vec<(String, u32)> {
    texts.iter().map(|text| ((*text).to_owned(), 1)).collect()
}

pub async fn each_message_goes_to_one_consumer_in_order(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    for text in ["a", "b", "c", "d", "e"] {
        one.push(text).await;
    }
    let other = if harness.max_nodes() > 1 { Some(NamedNode::join(harness, "other").await) } else { None };
    let other = other.as_ref().unwrap_or(&one);
    assert_eq!(data(&one.take(2).await), first(&["a", "b"]));
    assert_eq!(data(&other.take(2).await), first(&["c", "d"]));
    assert_eq!(data(&one.take(2).await), first(&["e"]));
    assert_eq!(one.take(2).await, []);
}

pub async fn what_is_acknowledged_is_gone_and_what_is_given_back_comes_again_first(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    for text in ["a", "b", "c"] {
        one.push(text).await;
    }
    let taken = one.take(2).await;
    assert_eq!(taken[0].publication.kind, DataKind::Text);
    assert_eq!(taken[0].publication.time_ms, 7);
    one.acknowledge(&taken[..1]).await;
    one.give_back(&taken).await;
    let again = one.take(9).await;
    assert_eq!(data(&again), [("b".to_owned(), 2), ("c".to_owned(), 1)]);
    one.acknowledge(&again).await;
    one.acknowledge(&again).await;
    one.give_back(&again).await;
    assert_eq!(one.take(9).await, []);
}

pub async fn a_message_that_was_tried_often_enough_is_a_dead_letter(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    one.push("a").await;
    one.push("b").await;
    for attempt in 1..=3 {
        let taken = one.take(1).await;
        assert_eq!(data(&taken), [("a".to_owned(), attempt)]);
        one.give_back(&taken).await;
    }
    assert_eq!(data(&one.take(9).await), first(&["b"]));
    let dead = one.queues().take("jobs.dead", one.name, 9, &limits()).await.unwrap();
    assert_eq!(data(&dead), first(&["a"]));
    let tags = [("dead-letter-from", "jobs"), ("dead-letter-attempts", "3")];
    assert_eq!(dead[0].publication.tags, tags.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for attempt in 2..=6 {
        one.queues().give_back("jobs.dead", one.name, &ids(&dead), &limits()).await.unwrap();
        let again = one.queues().take("jobs.dead", one.name, 9, &limits()).await.unwrap();
        assert_eq!(data(&again), [("a".to_owned(), attempt)]);
    }
}

pub async fn a_queue_is_bounded_in_messages_and_bytes(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    let few = QueueLimits { max_messages: 2, ..limits() };
    one.try_push(QUEUE, "a", &few).await.unwrap();
    one.try_push(QUEUE, "b", &few).await.unwrap();
    assert!(matches!(one.try_push(QUEUE, "c", &few).await, Err(BrokerError::Limit(_))));
    let taken = one.take(1).await;
    // What is taken still counts.
    assert!(matches!(one.try_push(QUEUE, "c", &few).await, Err(BrokerError::Limit(_))));
    one.acknowledge(&taken).await;
    one.try_push(QUEUE, "c", &few).await.unwrap();
    let small = QueueLimits { max_bytes: 3000, ..limits() };
    one.try_push("large", &"x".repeat(2000), &small).await.unwrap();
    let refused = one.try_push("large", &"x".repeat(2000), &small).await;
    assert!(matches!(refused, Err(BrokerError::Limit(_))));
}

pub async fn a_queue_that_nobody_uses_is_forgotten(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    let brief = QueueLimits { ttl: 4 * harness.span(), ..limits() };
    one.try_push(QUEUE, "a", &brief).await.unwrap();
    harness.pass(3 * harness.span()).await;
    one.try_push(QUEUE, "b", &brief).await.unwrap();
    harness.pass(3 * harness.span()).await;
    assert_eq!(data(&one.queues().take(QUEUE, "one", 9, &brief).await.unwrap()), first(&["a", "b"]));
    harness.pass(5 * harness.span()).await;
    assert_eq!(one.queues().take(QUEUE, "one", 9, &brief).await.unwrap(), []);
}

pub async fn every_node_that_listens_is_woken(harness: &impl Harness) {
    let channel = crate::queue::QueueWake { queue: QUEUE }.channel();
    let one = NamedNode::join(harness, "one").await;
    let other = if harness.max_nodes() > 1 { Some(NamedNode::join(harness, "other").await) } else { None };
    let other = other.as_ref().unwrap_or(&one);
    other.node.subscribe(&channel).await;
    one.push("a").await;
    other.node.heard(&channel, 1).await;
    let taken = one.take(1).await;
    one.give_back(&taken).await;
    other.node.heard(&channel, 2).await;
}

pub async fn what_a_name_holds_and_its_worker_does_not_comes_back(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    for text in ["a", "b", "c", "d"] {
        one.push(text).await;
    }
    let kept = one.take(1).await;
    // The answer to this fetch was lost.
    let lost = one.take(2).await;
    let other = one.queues().take(QUEUE, "other", 1, &limits()).await.unwrap();
    one.queues().keep(QUEUE, "one", None, &limits()).await.unwrap();
    assert_eq!(one.take(9).await, [], "a node that still takes may hold all of it");
    one.queues().keep(QUEUE, "one", Some(&ids(&kept)), &limits()).await.unwrap();
    let again = one.queues().take(QUEUE, "again", 9, &limits()).await.unwrap();
    assert_eq!(ids(&again), ids(&lost));
    assert_eq!(data(&again), [("b".to_owned(), 2), ("c".to_owned(), 2)]);
    one.acknowledge(&kept).await;
    one.acknowledge(&other).await;
    one.acknowledge(&again).await;
    one.queues().keep(QUEUE, "one", Some(&[]), &limits()).await.unwrap();
    assert_eq!(one.take(9).await, []);
}

pub async fn a_dead_letter_for_which_there_is_no_room_waits_and_is_counted(harness: &impl Harness) {
    let one = NamedNode::join(harness, "one").await;
    let once = QueueLimits { max_messages: 1, max_attempts: 1, ..limits() };
    let before = one.node.broker.stats();
    one.try_push("jobs.dead", "full", &once).await.unwrap();
    one.try_push(QUEUE, "poison", &once).await.unwrap();
    let taken = one.queues().take(QUEUE, "one", 1, &once).await.unwrap();
    let refused = one.queues().give_back(QUEUE, "one", &ids(&taken), &once).await;
    assert!(matches!(refused, Err(BrokerError::UnknownOutcome(_))), "{refused:?}");
    // It is neither lost nor given to anybody.
    assert_eq!(one.queues().take(QUEUE, "one", 9, &once).await.unwrap(), []);
    assert!(one.try_push(QUEUE, "more", &once).await.is_err(), "it still counts");
    assert!(one.queues().keep(QUEUE, "one", Some(&[]), &once).await.is_err());
    let dead = one.queues().take("jobs.dead", "one", 9, &once).await.unwrap();
    one.queues().acknowledge("jobs.dead", &ids(&dead)).await.unwrap();
    one.queues().keep(QUEUE, "one", Some(&[]), &once).await.unwrap();
    let dead = one.queues().take("jobs.dead", "one", 9, &once).await.unwrap();
    assert_eq!(data(&dead), first(&["poison"]));
    one.try_push(QUEUE, "more", &once).await.unwrap();
    let after = one.node.broker.stats();
    assert_eq!(after.dead_letters - before.dead_letters, 1);
    assert_eq!(after.dead_letters_waiting - before.dead_letters_waiting, 2);
}
