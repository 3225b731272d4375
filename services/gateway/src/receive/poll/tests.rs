//! Many channels in one answer: everything once and in order over many polls, within the budget, side by side.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use gorani_broker::PublishOptions;
use tokio::sync::Barrier;

use super::*;
use crate::settings::Settings;

const RETENTION: Retention = Retention { size: 100, ttl: Duration::from_secs(60) };
/// Bytes of each publication.
const BYTES: u64 = 10;

async fn node(max_reads: usize) -> Arc<Node> {
    let mut settings = Settings::default();
    settings.client.max_reads = max_reads;
    Node::start(settings).await.unwrap()
}

/// Publishes numbers, which go on.
async fn publish(node: &Node, channel: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let data = Bytes::from(format!("{number:010}"));
        let publication = Publication { data, ..Publication::default() };
        let options = PublishOptions { retention: RETENTION, ..PublishOptions::default() };
        node.broker().publish(channel, publication, options).await.unwrap();
    }
}

/// A client of several channels that polls until nothing is new.
struct Poller {
    channels: Vec<PollableChannel>,
    seen: BTreeMap<String, Vec<u64>>,
}

impl Poller {
    fn new(channels: &[&str]) -> Self {
        let readable = |channel: &&str| PollableChannel {
            channel: (*channel).into(),
            retention: Ok(RETENTION),
            since: None,
            unrecovered: None,
        };
        Self { channels: channels.iter().map(readable).collect(), seen: BTreeMap::new() }
    }

    /// Polls once; publications that came.
    async fn poll(&mut self, node: &Arc<Node>, budget: AnswerBudget) -> usize {
        let channels: Vec<_> = self.channels.iter().map(|readable| (readable, RETENTION)).collect();
        let all = read(node, &channels, budget).await.unwrap();
        assert_eq!(all.len(), self.channels.len());
        let (mut count, mut bytes) = (0, 0);
        for (readable, news) in self.channels.iter_mut().zip(all) {
            assert_eq!((&readable.channel, news.unrecovered), (&news.channel, None));
            readable.since = Some(news.position);
            count += news.publications.len();
            bytes += news.publications.iter().map(|publication| publication.content_bytes()).sum::<u64>();
            let numbers = news
                .publications
                .iter()
                .map(|publication| std::str::from_utf8(&publication.data).unwrap().parse::<u64>().unwrap());
            self.seen.entry(news.channel.to_string()).or_default().extend(numbers);
        }
        assert!(count <= budget.publications && (bytes <= budget.bytes || count == 1), "{count}, {bytes}");
        count
    }
}

#[actix_rt::test]
async fn polls_one_after_the_other_bring_everything_once_and_in_order_whatever_room_an_answer_has() {
    let names = ["a", "b", "c", "d", "e"];
    for max_reads in [1, 2, 3, 64] {
        for budget in
            [(1, 1 << 20), (3, 1 << 20), (100, 1), (100, BYTES), (100, 3 * BYTES + 1), (100, 1 << 20)]
        {
            let budget = AnswerBudget { publications: budget.0, bytes: budget.1 };
            let node = node(max_reads).await;
            let mut poller = Poller::new(&names);
            assert_eq!(poller.poll(&node, budget).await, 0);
            for (index, name) in names.into_iter().enumerate() {
                publish(&node, name, 0..index as u64 * 3).await;
            }
            while poller.poll(&node, budget).await > 0 {}
            for (index, name) in names.into_iter().enumerate() {
                let expected: Vec<u64> = (0..index as u64 * 3).collect();
                assert_eq!(poller.seen[name], expected, "{name}, {max_reads} at a time, {}", budget.bytes);
            }
        }
    }
}

#[actix_rt::test]
async fn a_first_poll_brings_the_newest_of_each_channel_that_there_is_room_for() {
    let node = node(2).await;
    for name in ["a", "b", "c"] {
        publish(&node, name, 0..5).await;
    }
    let mut poller = Poller::new(&["a", "b", "c"]);
    assert_eq!(poller.poll(&node, AnswerBudget { publications: 7, bytes: 1 << 20 }).await, 7);
    assert_eq!(poller.seen["a"], [0, 1, 2, 3, 4]);
    assert_eq!(poller.seen["b"], [3, 4]);
    assert!(poller.seen["c"].is_empty());
    // From there on nothing is missed.
    publish(&node, "c", 5..7).await;
    assert_eq!(poller.poll(&node, AnswerBudget { publications: 7, bytes: 1 << 20 }).await, 2);
    assert_eq!(poller.seen["c"], [5, 6]);
}

#[actix_rt::test]
async fn what_is_lost_in_one_channel_is_told_beside_the_news_of_others() {
    let node = node(4).await;
    for name in ["a", "b", "c"] {
        publish(&node, name, 0..4).await;
    }
    let mut poller = Poller::new(&["a", "b", "c"]);
    poller.poll(&node, AnswerBudget { publications: 100, bytes: 1 << 20 }).await;
    publish(&node, "a", 4..6).await;
    poller.channels[1].since = Some(Position { offset: 2, epoch: "another".into() });
    poller.channels[2].since = None;
    poller.channels[2].unrecovered = Some(Unrecovered::BadPosition);
    let channels: Vec<_> = poller.channels.iter().map(|readable| (readable, RETENTION)).collect();
    let all = read(&node, &channels, AnswerBudget { publications: 100, bytes: 1 << 20 }).await.unwrap();
    let told: Vec<_> = all.iter().map(|news| (news.publications.len(), news.unrecovered)).collect();
    let expected = [(2, None), (4, Some(Unrecovered::Lost)), (4, Some(Unrecovered::BadPosition))];
    assert_eq!(told, expected);
}

#[actix_rt::test]
async fn as_many_channels_are_read_side_by_side_as_a_connection_may() {
    /// Longer than anything here takes: readers that wait for each other in vain fail the test.
    const TIME_LIMIT: Duration = Duration::from_secs(20);
    let poller = Poller::new(&["a", "b", "c", "d", "e", "f"]);
    let channels: Vec<_> = poller.channels.iter().map(|readable| (readable, RETENTION)).collect();
    let budget = AnswerBudget { publications: 10, bytes: 301 };
    // None ends before three are under way, and so do the next three.
    let barrier = Barrier::new(3);
    let under_way = std::cell::Cell::new(0_usize);
    let reads = read_by(&channels, budget, 3, |readable, _, share| {
        assert_eq!((share.publications, share.bytes), (10, 101), "each has its share");
        let (barrier, under_way) = (&barrier, &under_way);
        async move {
            under_way.set(under_way.get() + 1);
            assert!(under_way.get() <= 3);
            barrier.wait().await;
            under_way.set(under_way.get() - 1);
            let position = Position { offset: 0, epoch: readable.channel.to_string().into() };
            Ok(ReadPage { publications: Vec::new(), position, since: None, unrecovered: None })
        }
    });
    let all = tokio::time::timeout(TIME_LIMIT, reads).await.unwrap().unwrap();
    let order: Vec<_> = all.iter().map(|news| news.position.epoch.to_string()).collect();
    assert_eq!(order, ["a", "b", "c", "d", "e", "f"]);
}

#[actix_rt::test]
async fn a_read_that_fails_fails_the_poll() {
    let poller = Poller::new(&["a", "b"]);
    let channels: Vec<_> = poller.channels.iter().map(|readable| (readable, RETENTION)).collect();
    let failed = read_by(&channels, AnswerBudget { publications: 1, bytes: 1 }, 2, |readable, _, _| async {
        match &*readable.channel {
            "a" => std::future::pending().await,
            _ => Err(ErrorCode::UNAVAILABLE),
        }
    });
    let error = tokio::time::timeout(Duration::from_secs(20), failed).await.unwrap().err();
    assert_eq!(error, Some(ErrorCode::UNAVAILABLE));
}
