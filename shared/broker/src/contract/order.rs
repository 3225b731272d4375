//! One order per channel, for all publishers and all nodes. [`crate::Broker`], Order.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::join_all;

use super::{
    ContractNode, Harness,
    samples::{AMPLE, data, everything, kept, nodes, offsets, text, two_ends},
};

/// Publishers of the scenarios with several.
const PUBLISHERS: usize = 4;
/// Publications of each of them.
const EACH: usize = 100;

pub async fn offsets_grow_by_one_within_one_epoch(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    let mut answers = Vec::new();
    for number in 1..=20 {
        answers.push(publisher.publish("news", format!("{number}"), kept(AMPLE)).await);
    }
    let epoch = Arc::clone(&answers[0].position.epoch);
    assert!(!epoch.is_empty() && epoch.len() <= 64, "{epoch:?}");
    assert!(epoch.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\''), "{epoch:?}");
    assert!(answers.iter().all(|answer| answer.position.epoch == epoch && !answer.repeated));
    let expected: Vec<u64> = (1..=20).collect();
    assert_eq!(answers.iter().map(|answer| answer.position.offset).collect::<Vec<_>>(), expected);
    let heard = listener.sink.wait_for_publications("news", 20).await;
    assert_eq!(offsets(&heard), expected);
    assert!(heard.iter().all(|publication| publication.epoch == epoch));
}

pub async fn channels_count_their_offsets_apart(harness: &impl Harness) {
    let (publisher, _) = two_ends(harness).await;
    for round in 1..=3 {
        for channel in ["one", "two"] {
            let published = publisher.publish(channel, "x", kept(AMPLE)).await;
            assert_eq!(published.position.offset, round);
        }
    }
    let one = publisher.position("one", AMPLE).await;
    let two = publisher.position("two", AMPLE).await;
    assert_ne!(one.epoch, two.epoch, "epochs are random");
}

pub async fn concurrent_publishers_share_one_order(harness: &impl Harness) {
    let nodes: Vec<Arc<ContractNode>> = nodes(harness, 3).await.into_iter().map(Arc::new).collect();
    for node in &nodes {
        node.subscribe("news").await;
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let node = Arc::clone(&nodes[publisher % nodes.len()]);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for number in 0..EACH {
                let name = format!("{publisher} {number}");
                answers.push((node.publish("news", name.clone(), kept(AMPLE)).await.position.offset, name));
            }
            answers
        })
    });
    let mut answers: Vec<(u64, String)> =
        join_all(publishers).await.into_iter().flat_map(Result::unwrap).collect();
    answers.sort();
    let expected: Vec<u64> = (1..=(PUBLISHERS * EACH) as u64).collect();
    assert_eq!(answers.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), expected);
    let order: Vec<String> = answers.into_iter().map(|(_, name)| name).collect();

    let mut next: HashMap<&str, usize> = HashMap::new();
    for name in &order {
        let (publisher, number) = name.split_once(' ').unwrap();
        let next = next.entry(publisher).or_default();
        assert_eq!(number.parse::<usize>().unwrap(), *next, "a publisher's own order");
        *next += 1;
    }
    for node in &nodes {
        let heard = node.sink.wait_for_publications("news", order.len()).await;
        assert_eq!(offsets(&heard), expected, "the order of calls is the order of offsets");
        assert_eq!(data(&heard), order);
        assert_eq!(node.sink.overlaps(), 0, "one channel's events never come concurrently");
        assert_eq!(data(&node.read("news", everything(), AMPLE).await.publications), order);
    }
}

pub async fn calls_made_before_any_is_awaited_keep_their_order(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    let calls: Vec<_> = (0..200)
        .map(|number| publisher.broker.publish("news", text(format!("{number}")), kept(AMPLE)))
        .collect();
    let mut offsets = Vec::new();
    for call in calls.into_iter().rev() {
        offsets.push(call.await.unwrap().position.offset);
    }
    assert_eq!(offsets, (1..=200).rev().collect::<Vec<u64>>());
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(listener.heard("news", 200).await, expected);
}

pub async fn a_publish_whose_future_is_dropped_still_happens(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    drop(publisher.broker.publish("news", text("dropped"), kept(AMPLE)));
    publisher.publish("news", "awaited", kept(AMPLE)).await;
    assert_eq!(listener.heard("news", 2).await, ["dropped", "awaited"]);
}
