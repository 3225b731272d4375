//! Nodes of other versions: one that does not know a query is not waited for, and is named. Record 35.

use super::*;

/// Longer than any of these tests may take: nothing here may wait for a time-out.
const NEVER: Duration = Duration::from_secs(60);

/// Another node announces itself with this description.
async fn appear_as(node: &Node, description: &str) {
    let description = Bytes::copy_from_slice(description.as_bytes());
    node.broker.cluster().announce(OTHER, description, LONG).await.unwrap();
}

fn unsupported(is_partly_done: bool) -> ClusterError {
    ClusterError::Unsupported { nodes: vec!["0badcafe (version 0.0.9)".to_owned()], is_partly_done }
}

/// Answers what the node sends next as an older node does that does not know it.
async fn answer_unsupported(node: &Arc<Node>, sent_before: u64, id: u64) {
    until("it is sent", || node.metrics.cluster.sent.get() > sent_before).await;
    tell(node, Envelope::new(OTHER, id, EnvelopeBody::Answer(ClusterAnswer::Unsupported)).encode().unwrap())
        .await;
}

#[actix_rt::test]
async fn who_is_known_not_to_know_a_kind_is_not_asked_and_is_named_at_once() {
    let node = node(NEVER).await;
    // It knows how to disconnect, and nothing else.
    appear_as(&node, r#"{"version":"0.0.9","understands":1}"#).await;
    let _worker = node.workers.start();
    let asked = Instant::now();
    assert_eq!(node.cluster.send_command(refresh(None)).await, Err(unsupported(false)));
    assert_eq!(node.cluster.connections_after(None, "", 10).await.map(drop), Err(unsupported(false)));
    assert_eq!(node.cluster.channels_after(None, "", 10).await.map(drop), Err(unsupported(false)));
    let nodes = node.cluster.nodes().await.unwrap();
    assert!(nodes.iter().any(|shown| shown.id == OTHER && shown.version == "0.0.9"), "{nodes:?}");
    assert!(asked.elapsed() < NEVER);
    assert_eq!(node.metrics.cluster.sent.get(), 0);
    assert_eq!(ErrorCode::from(&unsupported(false)), ErrorCode::UNAVAILABLE, "nothing was done");
    assert_eq!(ErrorCode::from(&unsupported(true)), ErrorCode::UNKNOWN_OUTCOME);
    assert_eq!(
        unsupported(false).to_string(),
        "node 0badcafe (version 0.0.9) of this cluster does not understand this request"
    );
}

#[actix_rt::test]
async fn whoever_answers_that_it_does_not_know_a_kind_is_waited_for_no_longer_and_named() {
    let node = node(NEVER).await;
    appear_as(&node, r#"{"version":"0.0.9"}"#).await;
    let _worker = node.workers.start();
    let asking = actix_rt::spawn({
        let node = node.clone();
        async move { node.cluster.channels_after(None, "", 10).await.map(drop) }
    });
    answer_unsupported(&node, 0, 0).await;
    assert_eq!(asking.await.unwrap(), Err(unsupported(false)));
    let ordering = actix_rt::spawn({
        let node = node.clone();
        async move { node.cluster.send_command(refresh(None)).await }
    });
    answer_unsupported(&node, 1, 1).await;
    assert_eq!(ordering.await.unwrap(), Err(unsupported(true)), "this node has carried it out");
}

#[actix_rt::test]
async fn a_node_tells_in_its_lease_what_it_understands() {
    let node = node(ANSWER_TIMEOUT).await;
    let members = node.broker.cluster().members().await.unwrap();
    let own = members.iter().find(|member| *member.node == *node.id).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&own.description).unwrap();
    assert_eq!(told["understands"], KINDS);
}
