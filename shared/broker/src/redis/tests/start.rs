//! Starting with a server that is not there, or does not let the node in.

use std::sync::Arc;

use super::{
    super::{RedisBroker, RedisSettings},
    cluster::{Cluster, lonely},
    fixture::{RedisFixture, quick},
    server::{Server, free_port},
};
use crate::{Broker as _, BrokerError, Health, contract::RecordingSink};

/// A user who may use the keys and channels of the prefix `mine` alone.
const USER: [&str; 10] = [
    "ACL",
    "SETUSER",
    "node",
    "on",
    ">s3cret",
    "+@all",
    "-@dangerous",
    "resetchannels",
    "~mine:*",
    "&mine:*",
];

async fn start(settings: RedisSettings) -> Result<(), BrokerError> {
    RedisBroker::new(settings).unwrap().start(Arc::new(RecordingSink::default())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_a_start_that_requires_it_fails() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    let refused = start(RedisSettings { require_at_start: true, ..quick(url) }).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_server_a_node_starts_not_ready_and_recovers_by_itself() {
    let port = free_port();
    let node = RedisFixture::start(quick(format!("redis://127.0.0.1:{port}"))).await;
    assert!(matches!(node.broker.health(), Health::NotReady(_)));
    let refused = node.publish("news", "x").await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let _server = Server::start_on(port);
    node.until_ready().await;
    node.publish("news", "x").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_the_access_list_needs_the_keys_and_channels_of_the_prefix_alone() {
    let server = Server::start();
    server.command(&USER).await;
    let settings = RedisSettings {
        user: "node".to_owned(),
        password: "s3cret".to_owned(),
        prefix: "mine".to_owned(),
        require_at_start: true,
        database: Some(3),
        ..quick(server.url())
    };
    let mut node = RedisFixture::start(settings.clone()).await;
    node.subscribe(&["news"]).await;
    assert_eq!(node.publish("news", "x").await.unwrap().position.offset, 1);
    assert_eq!(node.next().await, super::fixture::SinkCall::Event("news".into(), "x".to_owned()));
    let wrong = start(RedisSettings { password: "wr0ng".to_owned(), ..settings }).await.unwrap_err();
    assert!(!wrong.to_string().contains("wr0ng"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_that_user_needs_nothing_more() {
    let cluster = Cluster::start().await;
    for server in &cluster.primaries {
        server.command(&USER).await;
    }
    let settings = RedisSettings {
        user: "node".to_owned(),
        password: "s3cret".to_owned(),
        prefix: "mine".to_owned(),
        require_at_start: true,
        ..cluster.settings()
    };
    let mut node = RedisFixture::start(settings).await;
    node.subscribe(&["news"]).await;
    assert_eq!(node.publish("news", "x").await.unwrap().position.offset, 1);
    assert_eq!(node.next().await, super::fixture::SinkCall::Event("news".into(), "x".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_sharded_pubsub_is_named_as_the_reason() {
    // As before Redis 7.0.
    let server = lonely(&["--rename-command", "SSUBSCRIBE", ""]);
    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    let cluster = crate::ClusterSettings { urls: vec![server.url()] };
    let settings = RedisSettings { cluster: Some(cluster), require_at_start: true, ..quick(server.url()) };
    let Err(BrokerError::Unavailable(reason)) = start(settings).await else { panic!("it starts") };
    assert!(reason.contains("7.0") && reason.contains(&server.port.to_string()), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_is_refused() {
    let server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    assert!(node.broker.start(Arc::new(RecordingSink::default())).await.is_err());
}
