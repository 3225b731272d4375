//! Queues count within `max_bytes`, and what expired is given back.

use futures_util::FutureExt as _;

use super::{
    super::MemorySettings,
    fixture::{HOUR, MemoryFixture, SECOND},
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

fn fixture() -> MemoryFixture {
    MemoryFixture::new(MemorySettings { max_bytes: MEGABYTE, ..Default::default() })
}

fn push(fixture: &MemoryFixture, queue: &str) -> Result<(), BrokerError> {
    let publication = Publication { data: vec![b'x'; MESSAGE_BYTES].into(), ..Default::default() };
    fixture.broker.push(queue, publication, &LIMITS).now_or_never().unwrap()
}

/// Pushes to queues in turn until one is refused.
fn fill(fixture: &MemoryFixture) -> usize {
    let mut pushed = 0;
    while push(fixture, &format!("queue {}", pushed % 7)).is_ok() {
        pushed += 1;
    }
    pushed
}

fn take(fixture: &MemoryFixture, queue: &str) -> Vec<QueueDelivery> {
    fixture.broker.take(queue, "node", u32::MAX, &LIMITS).now_or_never().unwrap().unwrap()
}

fn ids(deliveries: &[QueueDelivery]) -> Vec<crate::queue::DeliveryId> {
    deliveries.iter().map(|delivery| delivery.id.clone()).collect()
}

#[test]
fn all_queues_together_take_at_most_half_of_max_bytes() {
    let fixture = fixture();
    let pushed = fill(&fixture);
    assert!((45..53).contains(&pushed), "{pushed}");
    assert!(fixture.usage().queue_bytes <= MEGABYTE / 2);
    assert!(matches!(push(&fixture, "another"), Err(BrokerError::Limit(QUEUE_FULL))));
    let taken = take(&fixture, "queue 1");
    assert!(push(&fixture, "queue 1").is_err(), "what is taken still counts");
    fixture.broker.acknowledge("queue 1", &ids(&taken)).now_or_never().unwrap().unwrap();
    push(&fixture, "another").unwrap();
}

#[test]
fn histories_give_way_to_queues_and_together_they_stay_within_max_bytes() {
    let fixture = fixture();
    for number in 0..200 {
        fixture.keep(&format!("channel {}", number % 9), vec![b'x'; MESSAGE_BYTES]);
    }
    assert!(fixture.usage().history_bytes > MEGABYTE * 9 / 10);
    while push(&fixture, "queue").is_ok() {
        let usage = fixture.usage();
        assert!(usage.history_bytes + usage.queue_bytes <= MEGABYTE, "{usage:?}");
    }
    let usage = fixture.usage();
    assert!(usage.history_bytes > MEGABYTE / 3, "half is left to histories: {usage:?}");
    assert_eq!(fixture.broker.stats().memory_bytes, usage.history_bytes + usage.queue_bytes);
}

#[test]
fn expired_queues_are_given_back_by_the_use_of_others_before_the_table_is_full() {
    let fixture = fixture();
    for number in 0..100 {
        take(&fixture, &format!("unused {number}"));
    }
    fill(&fixture);
    fixture.clock.advance(HOUR + SECOND);
    // Each use looks at two others; a few more, since it may meet queues that it makes itself.
    for _ in 0..60 {
        take(&fixture, "used");
    }
    let left = fixture.usage().queue_bytes;
    assert!(left < 1000, "{left} bytes of one empty queue");
    push(&fixture, "used").unwrap();
}

#[test]
fn expired_queues_make_room_at_once_where_queues_are_full() {
    let fixture = fixture();
    fill(&fixture);
    fixture.clock.advance(HOUR + SECOND);
    push(&fixture, "another").unwrap();
    assert!(fixture.usage().queue_bytes < 2 * MESSAGE_BYTES);
}

#[test]
fn a_message_never_has_the_number_of_one_of_a_queue_that_expired() {
    let fixture = fixture();
    push(&fixture, "queue").unwrap();
    let old = take(&fixture, "queue");
    fixture.clock.advance(HOUR + SECOND);
    take(&fixture, "another");
    push(&fixture, "queue").unwrap();
    let new = take(&fixture, "queue");
    assert_ne!(ids(&old), ids(&new));
    let before = fixture.usage().queue_bytes;
    fixture.broker.acknowledge("queue", &ids(&old)).now_or_never().unwrap().unwrap();
    assert_eq!(fixture.usage().queue_bytes, before);
}

#[test]
fn dead_letters_count_once_and_wait_only_for_the_room_that_they_lack() {
    let fixture = fixture();
    while push(&fixture, "queue").is_ok() {}
    let before = fixture.usage().queue_bytes;
    let taken = take(&fixture, "queue");
    let first = ids(&taken[..1]);
    // A dead letter replaces its message; whether what is left holds its queue too, the numbers above decide.
    let first_time = fixture.broker.give_back("queue", "node", &first, &LIMITS).now_or_never().unwrap();
    assert_eq!(first_time.is_ok(), fixture.broker.stats().dead_letters == 1, "{first_time:?}");
    assert!(fixture.usage().queue_bytes <= MEGABYTE / 2);
    fixture.broker.acknowledge("queue", &ids(&taken[1..2])).now_or_never().unwrap().unwrap();
    fixture.broker.give_back("queue", "node", &ids(&taken[2..3]), &LIMITS).now_or_never().unwrap().unwrap();
    assert_eq!(fixture.broker.stats().dead_letters, 2);
    assert!(fixture.usage().queue_bytes < before);
    let dead = take(&fixture, "queue.dead");
    assert_eq!(dead.len(), 2);
    for (queue, ids) in [("queue.dead", ids(&dead)), ("queue", ids(&taken))] {
        fixture.broker.acknowledge(queue, &ids).now_or_never().unwrap().unwrap();
    }
    assert!(fixture.usage().queue_bytes < 3000, "only two empty queues are left");
}
