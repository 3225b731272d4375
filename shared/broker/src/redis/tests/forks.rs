//! A server that was started or promoted since a stream was used last may have forgotten publications: a new epoch begins, which
//! is the old one up to where the server stands. Record 34.

use std::time::Duration;

use super::{
    fixture::{RedisFixture, quick},
    server::{Server, free_port},
};
use crate::{Broker as _, HistoryPage, HistoryQuery, Position, Retention};

async fn read(node: &RedisFixture) -> HistoryPage {
    let query = HistoryQuery { limit: 100, ..HistoryQuery::default() };
    let retention = Retention { size: 1000, ttl: Duration::from_secs(60) };
    node.broker.history("news", query, retention).await.unwrap()
}

fn texts(page: &HistoryPage) -> Vec<String> {
    page.publications.iter().map(|read| String::from_utf8(read.data.to_vec()).unwrap()).collect()
}

async fn publish(node: &RedisFixture, data: &str) -> Position {
    node.publish("news", data).await.unwrap().position
}

/// A replica that has all of the primary, and follows it no more.
async fn left_behind(primary: &Server) -> Server {
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    replica.until_info("replication", "master_link_status:up").await;
    replica.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
    replica
}

#[tokio::test]
async fn a_position_is_continued_after_a_failover_unless_it_has_what_was_forgotten() {
    let primary = Server::start();
    let node = RedisFixture::start(quick(primary.url())).await;
    let (one, two) = (publish(&node, "1").await, publish(&node, "2").await);
    let replica = left_behind(&primary).await;
    let lost = publish(&node, "forgotten").await;
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    let node = RedisFixture::start(quick(replica.url())).await;
    // The offset of what was forgotten is given again, and more.
    let (third, fourth) = (publish(&node, "3").await, publish(&node, "4").await);
    assert_eq!((third.offset, third.epoch == lost.epoch), (lost.offset, false));
    let page = read(&node).await;
    assert_eq!(texts(&page), ["1", "2", "3", "4"]);
    assert!(page.continues(&one) && page.continues(&two), "{:?}", page.ancestors);
    assert!(page.continues(&third) && page.continues(&fourth));
    assert!(!page.continues(&lost) && !page.continues(&Position { offset: 4, ..lost }));
}

#[tokio::test]
async fn a_server_that_is_promoted_a_second_time_has_another_life_each_time() {
    let first = Server::start();
    let node = RedisFixture::start(quick(first.url())).await;
    let one = publish(&node, "1").await;
    drop(node);
    let second = left_behind(&first).await;
    second.command(&["REPLICAOF", "NO", "ONE"]).await;
    let node = RedisFixture::start(quick(second.url())).await;
    let two = publish(&node, "2").await;
    drop(node);
    // The first server, with the process that it had, follows the second, and loses what comes then.
    first.command(&["REPLICAOF", "127.0.0.1", &second.port.to_string()]).await;
    first.until_info("replication", "master_link_status:up").await;
    first.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
    let node = RedisFixture::start(quick(second.url())).await;
    let lost = publish(&node, "forgotten").await;
    first.command(&["REPLICAOF", "NO", "ONE"]).await;
    let node = RedisFixture::start(quick(first.url())).await;
    publish(&node, "3").await;
    publish(&node, "4").await;
    let page = read(&node).await;
    assert_eq!(texts(&page), ["1", "2", "3", "4"]);
    assert!(page.continues(&one) && page.continues(&two), "{:?}", page.ancestors);
    assert!(!page.continues(&lost));
}

#[tokio::test]
async fn a_server_that_restarts_from_an_older_file_continues_no_position_beyond_it() {
    let mut server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    let kept = publish(&node, "1").await;
    server.command(&["SAVE"]).await;
    let lost = publish(&node, "forgotten").await;
    for round in 0..3 {
        server.kill();
        node.until_not_ready().await;
        server.restart();
        node.until_ready().await;
        let again = publish(&node, &format!("round {round}")).await;
        assert_eq!(again.offset, 2, "the file has one publication");
        let page = read(&node).await;
        assert!(page.continues(&kept) && page.continues(&again));
        assert!(!page.continues(&lost), "{:?}", page.ancestors);
    }
}

#[tokio::test]
async fn nodes_that_know_different_lives_of_a_server_do_not_end_epochs_in_turns() {
    let server = Server::start();
    let before = RedisFixture::start(quick(server.url())).await;
    let one = publish(&before, "1").await;
    // The first replica gives the server another id; the node is connected as it was.
    let _replica = left_behind(&server).await;
    let after = RedisFixture::start(quick(server.url())).await;
    let epoch = publish(&after, "2").await.epoch;
    for round in 0..5 {
        assert_eq!(publish(&before, &format!("before {round}")).await.epoch, epoch);
        assert_eq!(publish(&after, &format!("after {round}")).await.epoch, epoch);
    }
    assert!(read(&before).await.continues(&one), "nothing was forgotten");
}

#[tokio::test]
async fn a_stream_remembers_so_many_failovers_and_no_more() {
    const KEPT: usize = 8;
    let server = Server::start();
    let mut positions = Vec::new();
    for round in 0..=KEPT + 1 {
        let node = RedisFixture::start(quick(server.url())).await;
        positions.push(publish(&node, &round.to_string()).await);
        drop(node);
        // A promotion, without a failover.
        server.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
        server.command(&["REPLICAOF", "NO", "ONE"]).await;
    }
    let node = RedisFixture::start(quick(server.url())).await;
    let page = read(&node).await;
    assert_eq!(page.ancestors.len(), KEPT);
    let continued: Vec<bool> = positions.iter().map(|position| page.continues(position)).collect();
    let mut expected = vec![false; 2];
    expected.resize(KEPT + 2, true);
    assert_eq!(continued, expected);
}

#[tokio::test]
async fn a_node_that_may_not_ask_for_the_life_of_its_server_does_all_but_notice_failovers() {
    let mut server = Server::start();
    server.command(&["ACL", "SETUSER", "default", "-info"]).await;
    let node = RedisFixture::start(quick(server.url())).await;
    let one = publish(&node, "1").await;
    server.command(&["SAVE"]).await;
    server.kill();
    node.until_not_ready().await;
    server.restart();
    server.command(&["ACL", "SETUSER", "default", "-info"]).await;
    node.until_ready().await;
    let two = publish(&node, "2").await;
    assert_eq!((two.offset, &two.epoch), (2, &one.epoch));
    assert!(read(&node).await.ancestors.is_empty());
}
