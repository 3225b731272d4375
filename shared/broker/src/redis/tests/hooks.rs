//! The store of hooks on a Redis that loses its data, its life or its memory. Record 50.

use std::sync::Arc;

use super::{
    fixture::{RedisFixture, quick},
    server::{Server, free_port},
};
use crate::{
    Broker as _, BrokerError,
    contract::hook_fixture::{draft, ids, queue_plan, short},
    hook_store::{
        HookApplied, HookChange, HookDelivered, HookEventDraft, HookEventKind, HookQueueHead, HookStore,
        HookStorePlan,
    },
};

const PARTITIONS: u16 = 2;
const ENDPOINT: &str = "first";

fn plan(partitions: u16) -> HookStorePlan {
    let sequence_ttl = std::time::Duration::from_secs(60);
    HookStorePlan { partitions, endpoints: vec![queue_plan(ENDPOINT)], sequence_ttl }
}

/// A node with an open store.
struct HookFixture {
    node: RedisFixture,
}

impl HookFixture {
    async fn start(server: &Server) -> Self {
        let node = RedisFixture::start(quick(server.url())).await;
        let fixture = Self { node };
        assert_eq!(fixture.store().open(plan(PARTITIONS)).await, Ok(PARTITIONS));
        fixture
    }

    fn store(&self) -> &dyn HookStore {
        self.node.broker.hook_store().unwrap()
    }

    async fn begin(&self, previous: Option<&str>) -> Arc<str> {
        self.store().begin(0, previous, draft(HookEventKind::Reset, "one")).await.unwrap()
    }

    async fn connect(&self, run: &str, client: &str) -> HookApplied {
        let event = HookEventDraft { client: client.into(), ..draft(HookEventKind::Connected, "one") };
        self.store().apply(0, run, vec![HookChange::Connect { event }]).await.unwrap()
    }

    async fn head(&self) -> HookQueueHead {
        self.store().head(0, ENDPOINT, 100, u64::MAX).await.unwrap()
    }

    async fn waiting(&self) -> Vec<String> {
        self.head().await.events.iter().map(short).collect()
    }
}

fn no_run() -> HookApplied {
    HookApplied::OtherRun { run: None }
}

fn done() -> HookApplied {
    HookApplied::Done(vec![true])
}

#[tokio::test]
async fn a_store_that_lost_its_data_has_no_run_until_it_begins_anew() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    assert_eq!(one.connect(&run, "a").await, done());
    let before = ids(&one.head().await.events);
    server.command(&["FLUSHALL"]).await;
    assert_eq!(one.connect(&run, "b").await, no_run());
    assert_eq!(one.store().due(0, 1).await.unwrap().run, None);
    assert_eq!(one.head().await.length, 0);
    let next = one.begin(Some(&run)).await;
    assert_ne!(next, run);
    assert_eq!(one.connect(&next, "a").await, done());
    assert_eq!(one.waiting().await, ["Reset", "Connected a 1 0"]);
    assert!(ids(&one.head().await.events).iter().all(|id| !before.contains(id)));
    // The number of partitions is there again: a node with another one is refused.
    let other = RedisFixture::start(quick(server.url())).await;
    assert_eq!(other.broker.hook_store().unwrap().open(plan(PARTITIONS + 1)).await, Ok(PARTITIONS));
}

#[tokio::test]
async fn a_run_ends_with_a_restart_and_the_queues_that_were_written_stay() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    assert_eq!(one.connect(&run, "a").await, done());
    server.kill();
    one.node.until_not_ready().await;
    server.restart();
    one.node.until_ready().await;
    assert_eq!(one.connect(&run, "b").await, no_run());
    let next = one.begin(None).await;
    assert_eq!(one.begin(None).await, next, "it has begun");
    assert_eq!(one.connect(&next, "a").await, done());
    assert_eq!(one.waiting().await, ["Reset", "Connected a 1 0", "Reset", "Connected a 1 0"]);
    assert!(ids(&one.head().await.events).is_sorted());
}

#[tokio::test]
async fn a_failover_ends_the_run_and_gives_no_id_again() {
    let primary = Server::start();
    let one = HookFixture::start(&primary).await;
    // The first replica gives a server another life.
    let first = Server::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    first.until_info("replication", "master_link_status:up").await;
    let run = one.begin(None).await;
    let replica = Server::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]);
    replica.until_info("replication", "master_link_status:up").await;
    replica.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).await;
    assert_eq!(one.connect(&run, "a").await, done());
    let lost = one.head().await.events[1].id.clone();
    replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    let other = HookFixture::start(&replica).await;
    assert_eq!(other.connect(&run, "b").await, no_run());
    let next = other.begin(Some(&run)).await;
    assert_eq!(other.connect(&next, "a").await, done());
    assert_eq!(other.waiting().await, ["Reset", "Reset", "Connected a 1 0"]);
    assert!(!ids(&other.head().await.events).contains(&lost));
}

#[tokio::test]
async fn a_queue_that_outlived_the_newest_number_goes_on() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    assert_eq!(one.connect(&run, "a").await, done());
    // An eviction, which the settings of Redis must not allow.
    server.command(&["DEL", "gorani:hook-meta:{hooks:0}"]).await;
    assert_eq!(one.connect(&run, "b").await, no_run());
    let next = one.begin(Some(&run)).await;
    assert_eq!(one.connect(&next, "c").await, done());
    assert_eq!(one.waiting().await, ["Reset", "Connected a 1 0", "Reset", "Connected c 1 0"]);
}

#[tokio::test]
async fn a_redis_without_memory_refuses_changes_whole_and_lets_events_be_taken() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    assert_eq!(one.connect(&run, "a").await, done());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let event = HookEventDraft { client: "b".into(), ..draft(HookEventKind::Connected, "one") };
    let end = HookEventDraft { client: "a".into(), ..draft(HookEventKind::Disconnected, "one") };
    let changes =
        vec![HookChange::Disconnect { event: end, keep_sequence: true }, HookChange::Connect { event }];
    let refused = one.store().apply(0, &run, changes.clone()).await;
    assert!(matches!(refused, Err(BrokerError::Unavailable(_))), "{refused:?}");
    let taken = ids(&one.head().await.events);
    let delivered = HookDelivered { taken, ..HookDelivered::default() };
    assert_eq!(one.store().complete(0, ENDPOINT, delivered).await, Ok(()));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(one.waiting().await, [""; 0]);
    assert_eq!(one.store().apply(0, &run, changes).await, Ok(HookApplied::Done(vec![true, true])));
    assert_eq!(one.waiting().await, ["Disconnected a 2 0", "Connected b 1 0"]);
}

#[tokio::test]
async fn a_redis_that_may_evict_the_store_is_counted() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    assert!(!one.node.broker.stats().hooks_evictable);
    server.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await;
    assert_eq!(one.store().open(plan(PARTITIONS)).await, Ok(PARTITIONS));
    assert!(one.node.broker.stats().hooks_evictable);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_gap_and_stops_nothing() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    server.command(&["XADD", "gorani:hook-queue:{hooks:0}:first", "*", "d", "?", "s", "0", "u", "0"]).await;
    let next = one.begin(Some(&run)).await;
    assert_eq!(one.connect(&next, "a").await, done());
    assert_eq!(one.waiting().await, ["Reset", "Gap", "Reset", "Connected a 1 0"]);
    let gap = one.head().await.events[1].clone();
    assert!(gap.draft.details.starts_with(b"\"dropped\":1,\"since_ms\":1"));
    let delivered = HookDelivered { taken: vec![gap.id], ..HookDelivered::default() };
    one.store().complete(0, ENDPOINT, delivered).await.unwrap();
    assert_eq!(one.waiting().await, ["Reset", "Reset", "Connected a 1 0"]);
}

#[tokio::test]
async fn a_delivery_of_many_events_is_noted_with_few_commands() {
    let server = Server::start();
    let one = HookFixture::start(&server).await;
    let run = one.begin(None).await;
    for number in 0..99 {
        assert_eq!(one.connect(&run, &number.to_string()).await, done());
    }
    let mut taken = ids(&one.head().await.events);
    assert_eq!(taken.len(), 100);
    let dead = taken.split_off(50).into_iter().map(|id| (id, "422".to_owned(), 5)).collect();
    server.command(&["CONFIG", "RESETSTAT"]).await;
    let delivered = HookDelivered { taken, dead, ..HookDelivered::default() };
    one.store().complete(0, ENDPOINT, delivered).await.unwrap();
    let redis::Value::BulkString(stats) = server.command(&["INFO", "commandstats"]).await else {
        panic!("no text")
    };
    let stats = String::from_utf8(stats).unwrap();
    let calls = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
    };
    assert_eq!(["xrange", "xdel", "zadd"].map(calls), [1, 1, 1], "{stats}");
    assert_eq!(calls("hset"), 2, "{stats}");
    let head = one.head().await;
    assert_eq!((head.length, head.bytes, head.dead_letters), (0, 0, 50));
}
