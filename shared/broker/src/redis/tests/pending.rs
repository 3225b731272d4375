//! Requests without an answer, by server: those of a server that stands still are its own and no other's.

use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::{
    cluster::Cluster,
    fixture::{RedisFixture, quick, until},
    server::Server,
};
use crate::{
    Broker as _, BrokerError, Publication, PublishOptions, Published, RedisSettings, Retention, ServerStatus,
};

/// Nothing is given up while a server stands still.
const TIME_LIMIT: Duration = Duration::from_secs(60);

const WAITING: usize = 20;
const PAYLOAD: usize = 1000;

fn patient(settings: RedisSettings) -> RedisSettings {
    RedisSettings { request_timeout: TIME_LIMIT, canary_timeout: TIME_LIMIT, ..settings }
}

/// Publications that wait for their answers.
fn publish(node: &RedisFixture, channel: &str) -> Vec<BoxFuture<'static, Result<Published, BrokerError>>> {
    let retention = Retention { size: 100, ttl: Duration::from_secs(60) };
    let one = || {
        let publication = Publication { data: "x".repeat(PAYLOAD).into(), ..Default::default() };
        node.broker.publish(channel, publication, PublishOptions { retention, ..Default::default() })
    };
    (0..WAITING).map(|_| one()).collect()
}

fn is_waited_for(server: &ServerStatus) -> bool {
    server.pending_requests >= WAITING && server.pending_bytes > WAITING * PAYLOAD
}

fn has_answered(server: &ServerStatus) -> bool {
    (server.pending_requests, server.pending_bytes) == (0, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_wait_for_a_server_that_stands_still_and_are_counted_until_it_answers() {
    let server = Server::start();
    let node = RedisFixture::start(patient(quick(server.url()))).await;
    node.until_ready().await;
    server.freeze();
    let made = publish(&node, "news");
    // From the moment in which they are made.
    assert!(is_waited_for(&node.broker.servers()[0]), "{:?}", node.broker.servers());
    let answers = tokio::spawn(join_all(made));
    until("sent", || node.broker.shards.shards().iter().all(|shard| !shard.requests.has_queued())).await;
    assert!(is_waited_for(&node.broker.servers()[0]), "{:?}", node.broker.servers());
    let stats = node.broker.stats();
    assert!(stats.pending_requests >= WAITING && stats.pending_bytes > WAITING * PAYLOAD, "{stats:?}");
    server.thaw();
    assert!(answers.await.unwrap().iter().all(Result::is_ok));
    until("all are answered", || has_answered(&node.broker.servers()[0])).await;
    until("none is left", || node.broker.stats().pending_bytes == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_requests_wait_for_the_server_that_stands_still_alone() {
    let cluster = Cluster::start().await;
    let node = RedisFixture::start(patient(cluster.settings())).await;
    node.until_ready().await;
    let frozen = &cluster.primaries[1];
    frozen.freeze();
    let made: Vec<_> = (0..3).flat_map(|primary| publish(&node, &cluster.channel_of(primary))).collect();
    let answers = tokio::spawn(join_all(made));
    let is_frozen = |server: &ServerStatus| server.address.ends_with(&format!(":{}", frozen.port));
    until("the others have answered", || {
        let servers = node.broker.servers();
        servers.len() == 3
            && servers
                .iter()
                .all(|server| if is_frozen(server) { is_waited_for(server) } else { has_answered(server) })
    })
    .await;
    frozen.thaw();
    // Those to the others were carried out; what became of those to it is for the cluster to say.
    let answers = answers.await.unwrap();
    let carried_out =
        answers.iter().enumerate().filter(|(number, answer)| number / WAITING != 1 && answer.is_ok());
    assert_eq!(carried_out.count(), 2 * WAITING);
    until("all are answered", || node.broker.servers().iter().all(has_answered)).await;
}
