//! Reading what was published. [`crate::Broker::history`], `docs/protocols/http.md` §5.13, `docs/protocols/client.md` §6.

use std::sync::Arc;

use super::{
    ContractNode, Harness,
    samples::{ALL, AMPLE, data, everything, kept, nodes, offsets, two_ends},
};
use crate::{BrokerError, HistoryQuery, Position, Retention};

/// A node with ten publications in "news".
async fn with_ten(harness: &impl Harness) -> Arc<ContractNode> {
    let (publisher, reader) = two_ends(harness).await;
    for number in 1..=10 {
        publisher.publish("news", format!("{number}"), kept(AMPLE)).await;
    }
    reader
}

async fn read(node: &ContractNode, limit: u32, since: Option<u64>, reverse: bool) -> Vec<u64> {
    let page = node.read("news", HistoryQuery { limit, since, reverse, max_bytes: None }, AMPLE).await;
    assert_eq!(page.top.offset, 10);
    for publication in &page.publications {
        assert_eq!(publication.epoch, page.top.epoch);
        assert_eq!(publication.data, publication.offset.to_string());
    }
    offsets(&page.publications)
}

pub async fn forward_reads_begin_after_since(harness: &impl Harness) {
    let node = with_ten(harness).await;
    assert_eq!(read(&node, ALL, None, false).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(read(&node, ALL, Some(0), false).await, (1..=10).collect::<Vec<_>>());
    assert_eq!(read(&node, ALL, Some(7), false).await, [8, 9, 10]);
    assert_eq!(read(&node, ALL, Some(9), false).await, [10]);
    assert_eq!(read(&node, ALL, Some(10), false).await, [0; 0]);
}

pub async fn reverse_reads_begin_before_since(harness: &impl Harness) {
    let node = with_ten(harness).await;
    assert_eq!(read(&node, ALL, None, true).await, (1..=10).rev().collect::<Vec<_>>());
    assert_eq!(read(&node, ALL, Some(4), true).await, [3, 2, 1]);
    assert_eq!(read(&node, ALL, Some(1), true).await, [0; 0]);
    assert_eq!(read(&node, ALL, Some(0), true).await, [0; 0]);
    assert_eq!(read(&node, ALL, Some(10), true).await, (1..=9).rev().collect::<Vec<_>>());
    assert_eq!(read(&node, ALL, Some(11), true).await, (1..=10).rev().collect::<Vec<_>>());
}

pub async fn limit_bounds_a_page_from_its_beginning(harness: &impl Harness) {
    let node = with_ten(harness).await;
    assert_eq!(read(&node, 3, None, false).await, [1, 2, 3]);
    assert_eq!(read(&node, 3, Some(5), false).await, [6, 7, 8]);
    assert_eq!(read(&node, 1, None, true).await, [10]);
    assert_eq!(read(&node, 2, Some(5), true).await, [4, 3]);
    assert_eq!(read(&node, u32::MAX, None, false).await.len(), 10);
}

/// Bytes of a publication that are large against what a broker counts besides.
const LARGE: usize = 10_000;

/// A node with ten large publications in "large".
async fn with_ten_large(harness: &impl Harness) -> Arc<ContractNode> {
    let (publisher, reader) = two_ends(harness).await;
    for _ in 0..10 {
        publisher.publish("large", "x".repeat(LARGE), kept(AMPLE)).await;
    }
    reader
}

pub async fn bytes_bound_a_page_and_it_says_so(harness: &impl Harness) {
    let node = with_ten_large(harness).await;
    // Room for a number of publications and a half; the offsets of the page; whether there is more.
    let cases: [(usize, HistoryQuery, &[u64], bool); 7] = [
        (3, HistoryQuery { limit: ALL, ..Default::default() }, &[1, 2, 3], true),
        (3, HistoryQuery { limit: ALL, since: Some(6), ..Default::default() }, &[7, 8, 9], true),
        (3, HistoryQuery { limit: ALL, since: Some(7), ..Default::default() }, &[8, 9, 10], false),
        (3, HistoryQuery { limit: 2, ..Default::default() }, &[1, 2], false),
        (3, HistoryQuery { limit: ALL, reverse: true, ..Default::default() }, &[10, 9, 8], true),
        // The first one is given whatever its size.
        (0, HistoryQuery { limit: ALL, since: Some(4), ..Default::default() }, &[5], true),
        (10, HistoryQuery { limit: ALL, ..Default::default() }, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], false),
    ];
    for (room, query, expected, truncated) in cases {
        let query = HistoryQuery { max_bytes: Some((room * LARGE + LARGE / 2) as u64), ..query };
        let page = node.read("large", query.clone(), AMPLE).await;
        assert_eq!(offsets(&page.publications), expected, "{query:?}");
        assert_eq!((page.truncated, page.top.offset), (truncated, 10), "{query:?}");
    }
}

pub async fn pages_of_few_bytes_cover_the_whole_history(harness: &impl Harness) {
    let node = two_ends(harness).await.0;
    for number in 1..=200_usize {
        node.publish("mixed", "x".repeat(number % 7 * 300 + 1), kept(AMPLE)).await;
    }
    for reverse in [false, true] {
        let mut read = Vec::new();
        let mut query = HistoryQuery { limit: ALL, reverse, max_bytes: Some(5000), ..Default::default() };
        loop {
            let page = node.read("mixed", query.clone(), AMPLE).await;
            read.extend(offsets(&page.publications));
            if !page.truncated {
                break;
            }
            query.since = read.last().copied();
        }
        if reverse {
            read.reverse();
        }
        assert_eq!(read, (1..=200).collect::<Vec<_>>());
    }
}

pub async fn limit_zero_reads_the_position_alone(harness: &impl Harness) {
    let node = with_ten(harness).await;
    assert_eq!(read(&node, 0, None, false).await, [0; 0]);
    assert_eq!(read(&node, 0, Some(3), true).await, [0; 0]);
}

pub async fn a_read_beyond_the_top_is_empty(harness: &impl Harness) {
    let node = with_ten(harness).await;
    assert_eq!(read(&node, ALL, Some(11), false).await, [0; 0]);
    // The largest offset that a client can name (`docs/protocols/client.md` §2.2: below 2^53).
    assert_eq!(read(&node, ALL, Some((1 << 53) - 1), false).await, [0; 0]);
    assert_eq!(read(&node, ALL, Some((1 << 53) - 1), true).await.len(), 10);
}

pub async fn a_stream_never_written_has_an_epoch_that_stays(harness: &impl Harness) {
    let nodes = nodes(harness, 2).await;
    let first = nodes[0].read("quiet", everything(), AMPLE).await;
    assert_eq!((first.publications.len(), first.top.offset), (0, 0));
    assert!(!first.top.epoch.is_empty());
    for node in &nodes {
        assert_eq!(node.read("quiet", everything(), AMPLE).await, first);
    }
    let published = nodes[nodes.len() - 1].publish("quiet", "first", kept(AMPLE)).await;
    assert_eq!(published.position, Position { offset: 1, epoch: first.top.epoch });
    for node in &nodes {
        assert_eq!(node.position("quiet", AMPLE).await, published.position);
    }
}

pub async fn every_node_reads_the_same_history(harness: &impl Harness) {
    let nodes = nodes(harness, 3).await;
    for (number, node) in nodes.iter().cycle().take(9).enumerate() {
        node.publish("news", format!("{number}"), kept(AMPLE)).await;
    }
    let pages =
        futures_util::future::join_all(nodes.iter().map(|node| node.read("news", everything(), AMPLE))).await;
    assert_eq!(data(&pages[0].publications), (0..9).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(pages.iter().all(|page| *page == pages[0]));
}

pub async fn a_channel_without_retention_has_no_history(harness: &impl Harness) {
    let (node, _) = two_ends(harness).await;
    let sizeless = Retention { size: 0, ..AMPLE };
    let timeless = Retention { ttl: std::time::Duration::ZERO, ..AMPLE };
    for retention in [Retention::default(), sizeless, timeless] {
        let refused = node.broker.history("news", everything(), retention).await;
        assert_eq!(refused, Err(BrokerError::NoHistory));
        let published = node.publish("news", "x", kept(retention)).await;
        assert_eq!(published.position, Position::default());
    }
}

pub async fn removed_history_leaves_the_position(harness: &impl Harness) {
    let node = with_ten(harness).await;
    let before = node.position("news", AMPLE).await;
    node.broker.remove_history("news").await.unwrap();
    let page = node.read("news", everything(), AMPLE).await;
    assert_eq!((page.publications.len(), &page.top), (0, &before));
    let next = node.publish("news", "11", kept(AMPLE)).await;
    assert_eq!(next.position, Position { offset: 11, epoch: before.epoch });
    assert_eq!(offsets(&node.read("news", everything(), AMPLE).await.publications), [11]);
    node.broker.remove_history("never written").await.unwrap();
}

pub async fn the_size_of_a_history_is_that_of_what_it_keeps(harness: &impl Harness) {
    let node = with_ten_large(harness).await;
    let bytes = async |channel: &str| {
        node.broker.history_bytes(channel).await.unwrap().expect("a broker that tells it")
    };
    let content = 10 * LARGE as u64;
    let all = bytes("large").await;
    assert!((content..2 * content).contains(&all), "{all}");
    assert_eq!((bytes("never written").await, bytes("larg").await), (0, 0));
    // Two of them are left: what is over the size is gone.
    node.publish("large", "small", kept(Retention { size: 2, ..AMPLE })).await;
    let few = bytes("large").await;
    assert!((LARGE as u64..3 * LARGE as u64).contains(&few), "{few}");
    node.broker.remove_history("large").await.unwrap();
    assert_eq!(bytes("large").await, 0);
    // It was only looked at: the stream goes on.
    assert_eq!(node.position("large", AMPLE).await.offset, 11);
}
