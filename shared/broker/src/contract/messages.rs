//! Messages between nodes. [`crate::Cluster::send`], [`crate::Sink::on_message`].

use bytes::Bytes;

use super::{Harness, samples::nodes};

pub async fn a_message_to_a_node_reaches_that_node_alone(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    for (sender, node) in nodes.iter().enumerate() {
        for receiver in &nodes {
            let message = format!("{sender} to {}", receiver.id);
            node.cluster().send(Some(&receiver.id), message.into()).await.unwrap();
        }
    }
    // Behind them, so that what should not come would have come.
    for node in &nodes {
        node.cluster().send(None, "to all".into()).await.unwrap();
    }
    for node in &nodes {
        let mut heard = node.sink.wait_for_messages(2 * nodes.len()).await;
        heard.sort();
        let sent = (0..nodes.len()).map(|sender| format!("{sender} to {}", node.id));
        let to_all = nodes.iter().map(|_| "to all".to_owned());
        assert_eq!(heard, sent.chain(to_all).collect::<Vec<_>>());
        assert_eq!(node.sink.overlaps(), 0);
    }
}

pub async fn a_message_to_all_reaches_every_node_once(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    for number in 0..10 {
        nodes[0].cluster().send(None, number.to_string().into()).await.unwrap();
    }
    for node in &nodes {
        let heard = node.sink.wait_for_messages(10).await;
        assert_eq!(heard, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    }
}

pub async fn messages_keep_their_order(harness: &impl Harness) {
    let nodes = nodes(harness, 2).await;
    let (sender, receiver) = (&nodes[0], nodes.last().unwrap());
    let sent: Vec<_> = (0..200)
        .map(|number: u32| sender.cluster().send(Some(&receiver.id), number.to_string().into()))
        .collect();
    for send in sent {
        send.await.unwrap();
    }
    let heard = receiver.sink.wait_for_messages(200).await;
    assert_eq!(heard, (0..200).map(|number: u32| number.to_string()).collect::<Vec<_>>());
}

pub async fn a_message_to_nobody_is_no_error(harness: &impl Harness) {
    let node = harness.node().await;
    node.cluster().send(Some("00000000"), "hello".into()).await.unwrap();
    node.cluster().send(Some(&node.id), "to myself".into()).await.unwrap();
    assert_eq!(node.sink.wait_for_messages(1).await, ["to myself"]);
}

pub async fn a_large_message_survives(harness: &impl Harness) {
    let nodes = nodes(harness, 2).await;
    let message: Bytes = (0..1_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    nodes[0].cluster().send(None, message.clone()).await.unwrap();
    assert_eq!(nodes.last().unwrap().sink.wait_for_messages(1).await, [message]);
}
