//! Delivery of events: which nodes get them, and how often. [`crate::Broker`], Delivery.

use std::sync::Arc;

use super::{
    Harness,
    samples::{AMPLE, client, data, everything, kept, live, nodes, text, two_ends},
};
use crate::{ChannelEvent, Health, Position, Publication, PublishOptions};

pub async fn a_started_broker_is_ready(harness: &impl Harness) {
    for node in nodes(harness, 2).await {
        assert_eq!(node.broker.health(), Health::Ready);
    }
}

pub async fn what_is_published_after_subscribe_resolves_is_seen(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    for number in 0..50 {
        let channel = format!("room:{number}");
        listener.subscribe(&channel).await;
        publisher.publish(&channel, "first", live()).await;
        assert_eq!(listener.heard(&channel, 1).await, ["first"]);
    }
}

pub async fn every_subscribed_node_sees_every_event_once(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    for node in &nodes {
        node.subscribe("news").await;
    }
    let mut expected = Vec::new();
    for round in 0..5 {
        for (number, node) in nodes.iter().enumerate() {
            expected.push(format!("{round} from {number}"));
            node.publish("news", expected[expected.len() - 1].clone(), kept(AMPLE)).await;
        }
    }
    for node in &nodes {
        assert_eq!(node.heard("news", expected.len()).await, expected);
    }
}

pub async fn subscribing_twice_delivers_once(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    listener.subscribe("news").await;
    for text in ["one", "two", "three"] {
        publisher.publish("news", text, live()).await;
    }
    assert_eq!(listener.heard("news", 3).await, ["one", "two", "three"]);
}

pub async fn many_channels_can_be_subscribed_in_one_call(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    let channels: Vec<Arc<str>> = (0..500).map(|number| format!("room:{number}").into()).collect();
    listener.broker.subscribe(&channels).await.unwrap();
    for channel in &channels {
        publisher.publish(channel, channel.as_ref(), live()).await;
    }
    for channel in &channels {
        assert_eq!(listener.heard(channel, 1).await, [channel.as_ref()]);
    }
    listener.broker.subscribe(&[]).await.unwrap();
    listener.broker.unsubscribe(&channels).await.unwrap();
}

pub async fn after_unsubscribe_nothing_arrives(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    publisher.publish("news", "before", live()).await;
    listener.heard("news", 1).await;
    listener.unsubscribe("news").await;
    publisher.publish("news", "meanwhile", live()).await;
    publisher.broker.publish_join("news", client("1", "a")).await.unwrap();
    listener.subscribe("news").await;
    // What comes next on the channel shows that what came earlier was left out, and is not only late.
    publisher.publish("news", "after", live()).await;
    assert_eq!(listener.heard("news", 2).await, ["before", "after"]);
    listener.unsubscribe("never subscribed").await;
}

pub async fn one_nodes_unsubscribe_leaves_the_others_alone(harness: &impl Harness) {
    let nodes = nodes(harness, 2).await;
    for node in &nodes {
        node.subscribe("news").await;
        node.subscribe("weather").await;
    }
    nodes[0].unsubscribe("news").await;
    let others = &nodes[1..];
    for node in &nodes {
        node.publish("news", "n", live()).await;
        node.publish("weather", "w", live()).await;
    }
    for node in others {
        node.heard("news", nodes.len()).await;
    }
    for node in &nodes {
        node.heard("weather", nodes.len()).await;
    }
}

pub async fn events_of_channels_not_subscribed_never_arrive(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    for options in [live(), kept(AMPLE)] {
        publisher.publish("other", "unheard", options).await;
    }
    publisher.broker.publish_leave("other", client("1", "a")).await.unwrap();
    publisher.publish("news", "heard", live()).await;
    assert_eq!(listener.heard("news", 1).await, ["heard"]);
    listener.subscribe("other").await;
    publisher.publish("other", "heard", live()).await;
    assert_eq!(listener.heard("other", 1).await, ["heard"]);
}

pub async fn joins_and_leaves_are_delivered_in_order(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("room").await;
    let info = Arc::new(crate::ClientInfo {
        connection_info: r#"{"name":"고라니"}"#.into(),
        channel_info: r#"{"role":["a","b"]}"#.into(),
        ..client("42", "one").as_ref().clone()
    });
    publisher.broker.publish_join("room", Arc::clone(&info)).await.unwrap();
    publisher.publish("room", "hello", kept(AMPLE)).await;
    publisher.broker.publish_leave("room", Arc::clone(&info)).await.unwrap();
    let heard = listener.heard_events("room", 3).await;
    assert_eq!(heard[0], ChannelEvent::Join(Arc::clone(&info)));
    assert!(
        matches!(&heard[1], ChannelEvent::Publication(publication) if publication.offset == 1),
        "{:?}",
        heard[1]
    );
    assert_eq!(heard[2], ChannelEvent::Leave(info));
    let kept = publisher.read("room", everything(), AMPLE).await;
    assert_eq!((kept.publications.len(), kept.top.offset), (1, 1), "joins and leaves are no history");
}

pub async fn without_history_there_is_no_offset(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    for text in ["one", "two"] {
        let published = publisher.publish("news", text, live()).await;
        assert_eq!((published.position, published.repeated), (Position::default(), false));
    }
    for publication in listener.sink.wait_for_publications("news", 2).await {
        assert_eq!((publication.offset, publication.epoch.as_ref()), (0, ""));
    }
}

pub async fn skip_history_delivers_live_and_leaves_the_stream_alone(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    let skipping = PublishOptions { skip_history: true, ..kept(AMPLE) };
    let first = publisher.publish("news", "first", kept(AMPLE)).await;
    let skipped = publisher.publish("news", "typing", skipping).await;
    assert_eq!(skipped.position, Position::default());
    let second = publisher.publish("news", "second", kept(AMPLE)).await;
    assert_eq!((first.position.offset, second.position.offset), (1, 2));
    let heard = listener.sink.wait_for_publications("news", 3).await;
    assert_eq!(data(&heard), ["first", "typing", "second"]);
    assert_eq!((heard[1].offset, heard[1].epoch.as_ref()), (0, ""));
    assert_eq!(data(&publisher.read("news", everything(), AMPLE).await.publications), ["first", "second"]);
}

pub async fn an_offset_and_epoch_of_the_publishers_count_for_nothing(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    for options in [live(), kept(AMPLE)] {
        let publication = Publication { offset: 7, epoch: "forged".into(), ..text("x") };
        publisher.broker.publish("news", publication, options).await.unwrap();
    }
    let heard = listener.sink.wait_for_publications("news", 2).await;
    assert_eq!((heard[0].offset, heard[0].epoch.as_ref()), (0, ""));
    assert_eq!(heard[1].offset, 1);
    assert_eq!(heard[1].epoch, listener.position("news", AMPLE).await.epoch);
}
