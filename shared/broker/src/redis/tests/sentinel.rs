//! A primary with a replica, watched by three Sentinels: the node finds the primary, and the new one after a failover.

use super::{
    super::{RedisSettings, SentinelSettings},
    fixture::{RedisFixture, SinkCall, quick},
    server::Server,
};
use crate::{Broker as _, BrokerError, Health, RedisBroker, contract::RecordingSink};

/// Sentinels that must agree.
const QUORUM: usize = 2;

fn event(data: &str) -> SinkCall {
    SinkCall::Event("news".into(), data.to_owned())
}

fn sentinel_settings(sentinels: &[Server]) -> SentinelSettings {
    SentinelSettings { urls: sentinels.iter().map(Server::url).collect(), primary: "primary".to_owned() }
}

fn asking(sentinels: &[Server]) -> RedisSettings {
    // Nobody listens there: the address must come from the sentinels.
    RedisSettings {
        sentinel: Some(sentinel_settings(sentinels)),
        ..quick("redis://127.0.0.1:1/0".to_owned())
    }
}

/// A primary with a replica, watched by three Sentinels that can act.
pub(super) struct Trio {
    pub(super) primary: Server,
    pub(super) replica: Server,
    pub(super) sentinels: [Server; 3],
}

impl Trio {
    pub(super) async fn start() -> Self {
        let primary = Server::start();
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
        let sentinels = [0; 3].map(|_| Server::sentinel_of(primary.port, QUORUM));
        // They must know the replica and each other, and the replica must be up to date.
        primary.until_info("replication", "state=online").await;
        for sentinel in &sentinels {
            sentinel.until_info("sentinel", "slaves=1,sentinels=3").await;
        }
        Self { primary, replica, sentinels }
    }

    pub(super) fn settings(&self) -> SentinelSettings {
        sentinel_settings(&self.sentinels)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_follows_a_failover_and_tells_the_gap() {
    let mut trio = Trio::start().await;
    let mut node = RedisFixture::start(asking(&trio.sentinels)).await;
    node.subscribe(&["news"]).await;
    node.publish("news", "before").await.unwrap();
    assert_eq!(node.next().await, event("before"));
    trio.primary.kill();
    node.until_not_ready().await;
    assert_eq!(node.next().await, SinkCall::Gap("news".into()));
    node.until_ready().await;
    node.publish("news", "after").await.unwrap();
    assert_eq!(node.next().await, event("after"));
    trio.replica.until_info("replication", "role:master").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_out_of_reach_do_no_harm_while_one_answers() {
    let primary = Server::start();
    let mut sentinels = [0; 3].map(|_| Server::sentinel_of(primary.port, QUORUM));
    sentinels[0].kill();
    sentinels[1].freeze();
    let node = RedisFixture::start(RedisSettings { require_at_start: true, ..asking(&sentinels) }).await;
    assert_eq!(node.broker.health(), Health::Ready);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_know_no_such_primary_are_named_as_the_reason() {
    let primary = Server::start();
    let sentinels = [Server::sentinel_of(primary.port, 1)];
    let mut settings = RedisSettings { require_at_start: true, ..asking(&sentinels) };
    settings.sentinel.as_mut().unwrap().primary = "another".to_owned();
    let refused =
        RedisBroker::new(settings).unwrap().start(std::sync::Arc::new(RecordingSink::default())).await;
    let Err(BrokerError::Unavailable(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("another"), "{reason}");
}
