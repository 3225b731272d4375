//! A retried publication is published once. [`crate::Idempotency`], `docs/protocols/http.md` §5.5.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ContractNode, Harness,
    samples::{AMPLE, LONG, data, everything, guarded, kept, live, nodes, two_ends},
};
use crate::{Position, Published, Retention};

pub async fn the_same_key_gets_the_same_answer_and_publishes_nothing(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    publisher.publish("news", "zero", kept(AMPLE)).await;
    let first = publisher.publish("news", "one", guarded(AMPLE, "key", LONG)).await;
    assert_eq!((first.position.offset, first.repeated), (2, false));
    publisher.publish("news", "two", kept(AMPLE)).await;
    // On another node, and with other data: the key decides.
    for node in [&publisher, &listener] {
        let again = node.publish("news", "one again", guarded(AMPLE, "key", LONG)).await;
        assert_eq!(again, Published { repeated: true, ..first.clone() });
    }
    let other = publisher.publish("news", "three", guarded(AMPLE, "another key", LONG)).await;
    assert_eq!((other.position.offset, other.repeated), (4, false));
    assert_eq!(listener.heard("news", 4).await, ["zero", "one", "two", "three"]);
    let page = listener.read("news", everything(), AMPLE).await;
    assert_eq!(data(&page.publications), ["zero", "one", "two", "three"]);
}

pub async fn the_same_key_on_another_channel_is_another_publication(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    // Pairs of channel and key that would be one string without a mark between them.
    let pairs = [("ab", "c"), ("a", "bc"), ("abc", "c"), ("a:b", "c"), ("a", "b:c")];
    for (channel, key) in pairs {
        listener.subscribe(channel).await;
        let published = publisher.publish(channel, key, guarded(AMPLE, key, LONG)).await;
        assert!(!published.repeated, "{channel:?} {key:?}");
    }
    for channel in ["ab", "abc", "a:b"] {
        assert_eq!(listener.heard(channel, 1).await, ["c"]);
    }
    assert_eq!(listener.heard("a", 2).await, ["bc", "b:c"]);
}

pub async fn a_key_is_forgotten_when_its_time_is_over(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    let span = harness.span();
    let options = guarded(AMPLE, "key", 4 * span);
    assert_eq!(publisher.publish("news", "one", options.clone()).await.position.offset, 1);
    harness.pass(3 * span).await;
    // The repeated publication does not prolong it.
    assert!(publisher.publish("news", "repeated", options.clone()).await.repeated);
    harness.pass(2 * span).await;
    let second = publisher.publish("news", "two", options.clone()).await;
    assert_eq!((second.position.offset, second.repeated), (2, false));
    assert!(publisher.publish("news", "repeated", options).await.repeated);
    assert_eq!(data(&listener.read("news", everything(), AMPLE).await.publications), ["one", "two"]);
}

pub async fn of_concurrent_publications_with_one_key_one_is_published(harness: &impl Harness) {
    let nodes: Vec<Arc<ContractNode>> = nodes(harness, 3).await.into_iter().map(Arc::new).collect();
    for round in 1..=10 {
        let key = format!("key {round}");
        let calls = (0..8).map(|number| {
            let (node, key) = (Arc::clone(&nodes[number % nodes.len()]), key.clone());
            tokio::spawn(async move { node.publish("news", key.clone(), guarded(AMPLE, &key, LONG)).await })
        });
        let answers: Vec<Published> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.repeated).count(), 1);
        assert!(answers.iter().all(|answer| answer.position == answers[0].position));
        assert_eq!(answers[0].position.offset, round);
    }
}

pub async fn a_key_guards_a_channel_without_history_too(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    let options = guarded(Retention::default(), "key", LONG);
    for repeated in [false, true, true] {
        let published = publisher.publish("news", "once", options.clone()).await;
        assert_eq!(published, Published { position: Position::default(), repeated });
    }
    publisher.publish("news", "last", live()).await;
    assert_eq!(listener.heard("news", 2).await, ["once", "last"]);
}
