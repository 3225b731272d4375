//! Retention of publications and positions. [`crate::Retention`], `docs/protocols/client.md` §6.11.

use super::{
    Harness,
    samples::{AMPLE, everything, kept, offsets, two_ends},
};
use crate::{Position, Retention};

pub async fn the_newest_publications_are_kept_up_to_the_size(harness: &impl Harness) {
    let (publisher, reader) = two_ends(harness).await;
    let retention = Retention { size: 3, ..AMPLE };
    for number in 1..=10_u64 {
        publisher.publish("news", format!("{number}"), kept(retention)).await;
        let page = reader.read("news", everything(), retention).await;
        assert_eq!(
            offsets(&page.publications),
            (number.saturating_sub(2).max(1)..=number).collect::<Vec<_>>()
        );
        assert_eq!(page.top.offset, number);
    }
}

pub async fn a_publication_is_forgotten_when_its_time_is_over(harness: &impl Harness) {
    let (publisher, reader) = two_ends(harness).await;
    let span = harness.span();
    let retention = Retention { ttl: 4 * span, ..AMPLE };
    publisher.publish("news", "old", kept(retention)).await;
    harness.pass(3 * span).await;
    publisher.publish("news", "young", kept(retention)).await;
    assert_eq!(offsets(&reader.read("news", everything(), retention).await.publications), [1, 2]);
    harness.pass(2 * span).await;
    // The first is five spans old, the second two: neither does a later one prolong the life of an earlier one.
    assert_eq!(offsets(&reader.read("news", everything(), retention).await.publications), [2]);
}

pub async fn the_position_outlives_the_history(harness: &impl Harness) {
    let (publisher, reader) = two_ends(harness).await;
    let span = harness.span();
    let retention = Retention { ttl: 2 * span, ..AMPLE };
    publisher.publish("news", "1", kept(retention)).await;
    let top = publisher.publish("news", "2", kept(retention)).await.position;
    harness.pass(4 * span).await;
    let page = reader.read("news", everything(), retention).await;
    assert_eq!((page.publications.len(), &page.top), (0, &top));
    let next = publisher.publish("news", "3", kept(retention)).await;
    assert_eq!(next.position, Position { offset: 3, epoch: top.epoch });
    assert_eq!(offsets(&reader.read("news", everything(), retention).await.publications), [3]);
}
