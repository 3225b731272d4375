//! Queues count within `max_bytes`, and what expired is given back.

use futures_util::FutureExt as _;

use super::{
    super::MemorySettings,
    rig::{HOUR, Rig, SECOND},
};
use crate::{
    Broker as _, BrokerError, Publication,
    queue::{QUEUE_FULL, QueueDelivery, QueueLimits, Queues as _},
};

const MEGABYTE: usize = 1 << 20;
const MESSAGE_BYTES: usize = 10_000;
/// No limit of one queue is reached in these tests.
const LIMITS: QueueLimits =
    QueueLimits { max_messages: u32::MAX, max_bytes: u64::MAX, max_attempts: 1, ttl: HOUR };

fn rig() -> Rig {
    Rig::new(MemorySettings { max_bytes: MEGABYTE, ..Default::default() })
}

fn push(rig: &Rig, queue: &str) -> Result<(), BrokerError> {
    let publication = Publication { data: vec![b'x'; MESSAGE_BYTES].into(), ..Default::default() };
    rig.broker.push(queue, publication, &LIMITS).now_or_never().unwrap()
}

/// Pushes to queues in turn until one is refused.
fn fill(rig: &Rig) -> usize {
    let mut pushed = 0;
    while push(rig, &format!("queue {}", pushed % 7)).is_ok() {
        pushed += 1;
    }
    pushed
}

fn take(rig: &Rig, queue: &str) -> Vec<QueueDelivery> {
    rig.broker.take(queue, "node", u32::MAX, &LIMITS).now_or_never().unwrap().unwrap()
}

fn ids(deliveries: &[QueueDelivery]) -> Vec<crate::queue::DeliveryId> {
    deliveries.iter().map(|delivery| delivery.id.clone()).collect()
}

#[test]
fn all_queues_together_take_at_most_half_of_max_bytes() {
    let rig = rig();
    let pushed = fill(&rig);
    assert!((45..53).contains(&pushed), "{pushed}");
    assert!(rig.usage().queue_bytes <= MEGABYTE / 2);
    assert!(matches!(push(&rig, "another"), Err(BrokerError::Limit(QUEUE_FULL))));
    let taken = take(&rig, "queue 1");
    assert!(push(&rig, "queue 1").is_err(), "what is taken still counts");
    rig.broker.acknowledge("queue 1", &ids(&taken)).now_or_never().unwrap().unwrap();
    push(&rig, "another").unwrap();
}

#[test]
fn histories_give_way_to_queues_and_together_they_stay_within_max_bytes() {
    let rig = rig();
    for number in 0..200 {
        rig.keep(&format!("channel {}", number % 9), vec![b'x'; MESSAGE_BYTES]);
    }
    assert!(rig.usage().history_bytes > MEGABYTE * 9 / 10);
    while push(&rig, "queue").is_ok() {
        let usage = rig.usage();
        assert!(usage.history_bytes + usage.queue_bytes <= MEGABYTE, "{usage:?}");
    }
    let usage = rig.usage();
    assert!(usage.history_bytes > MEGABYTE / 3, "half is left to histories: {usage:?}");
    assert_eq!(rig.broker.stats().memory_bytes, usage.history_bytes + usage.queue_bytes);
}

#[test]
fn expired_queues_are_given_back_by_the_use_of_others_before_the_table_is_full() {
    let rig = rig();
    for number in 0..100 {
        take(&rig, &format!("unused {number}"));
    }
    fill(&rig);
    rig.clock.advance(HOUR + SECOND);
    // Each use looks at two others; a few more, since it may meet queues that it makes itself.
    for _ in 0..60 {
        take(&rig, "used");
    }
    let left = rig.usage().queue_bytes;
    assert!(left < 1000, "{left} bytes of one empty queue");
    push(&rig, "used").unwrap();
}

#[test]
fn expired_queues_make_room_at_once_where_queues_are_full() {
    let rig = rig();
    fill(&rig);
    rig.clock.advance(HOUR + SECOND);
    push(&rig, "another").unwrap();
    assert!(rig.usage().queue_bytes < 2 * MESSAGE_BYTES);
}

#[test]
fn a_message_never_has_the_number_of_one_of_a_queue_that_expired() {
    let rig = rig();
    push(&rig, "queue").unwrap();
    let old = take(&rig, "queue");
    rig.clock.advance(HOUR + SECOND);
    take(&rig, "another");
    push(&rig, "queue").unwrap();
    let new = take(&rig, "queue");
    assert_ne!(ids(&old), ids(&new));
    let before = rig.usage().queue_bytes;
    rig.broker.acknowledge("queue", &ids(&old)).now_or_never().unwrap().unwrap();
    assert_eq!(rig.usage().queue_bytes, before);
}

#[test]
fn dead_letters_count_once_and_wait_only_for_the_room_that_they_lack() {
    let rig = rig();
    while push(&rig, "queue").is_ok() {}
    let before = rig.usage().queue_bytes;
    let taken = take(&rig, "queue");
    let first = ids(&taken[..1]);
    // A letter takes the place of its message; whether what is left holds its queue too, the numbers above decide.
    let first_time = rig.broker.give_back("queue", "node", &first, &LIMITS).now_or_never().unwrap();
    assert_eq!(first_time.is_ok(), rig.broker.stats().dead_letters == 1, "{first_time:?}");
    assert!(rig.usage().queue_bytes <= MEGABYTE / 2);
    rig.broker.acknowledge("queue", &ids(&taken[1..2])).now_or_never().unwrap().unwrap();
    rig.broker.give_back("queue", "node", &ids(&taken[2..3]), &LIMITS).now_or_never().unwrap().unwrap();
    assert_eq!(rig.broker.stats().dead_letters, 2);
    assert!(rig.usage().queue_bytes < before);
    let dead = take(&rig, "queue.dead");
    assert_eq!(dead.len(), 2);
    for (queue, ids) in [("queue.dead", ids(&dead)), ("queue", ids(&taken))] {
        rig.broker.acknowledge(queue, &ids).now_or_never().unwrap().unwrap();
    }
    assert!(rig.usage().queue_bytes < 3000, "only two empty queues are left");
}
