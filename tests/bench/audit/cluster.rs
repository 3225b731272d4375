//! What the audit plays with: a Redis of the kind that a scenario needs, three nodes, and a road between node 0 and Redis.

use std::{
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings},
    proxy::Proxy,
    redis::{Redis, WATCHED},
    redis_cluster::RedisCluster,
};

/// Nodes of the cluster.
pub(crate) const NODES: usize = 3;
/// Sentinels, and how many must agree.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;
/// How long something may take to be as it should.
const TIME_LIMIT: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// Warnings of each node that are shown when something is wrong.
pub(super) const WARNINGS_TOLD: usize = 20;

/// Every publication of a run is kept; a recovery brings 300 at most.
const NAMESPACES: &str = r#"[{ name = "audit", history_size = 100000, history_ttl = "1h", force_recovery = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;

/// Which Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One server that writes its append-only file before it answers (`appendfsync always`).
    Alone,
    /// The same, and node 0 reaches it by a road of its own.
    AloneWithProxy,
    /// A primary, a replica and three Sentinels.
    Sentinels,
    /// A Redis Cluster: three primaries, each with a replica.
    Shards,
}

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    /// The server, or the primary that is going to fail.
    pub(crate) redis: Redis,
    /// Its replica.
    pub(crate) replica: Option<Redis>,
    pub(crate) proxy: Option<Proxy>,
    /// Sentinels, or the rest of a Redis Cluster.
    _others: Vec<Redis>,
}

impl Cluster {
    /// Starts it, of this version or of the one whose binary is given, and waits until every part is ready.
    pub(crate) fn start(kind: Kind, program: Option<&Path>) -> Self {
        Self::start_nodes(kind, |_, settings| match program {
            Some(program) => Node::start_program(program, settings),
            None => Node::start(settings),
        })
    }

    /// The same, with more settings for each node. A node with `http.tls` is not asked whether it is ready.
    pub(crate) fn start_with(kind: Kind, more: impl Fn(usize, Settings) -> Settings) -> Self {
        Self::start_nodes(kind, |index, settings| {
            let settings = more(index, settings);
            if settings.text().contains("http.tls.") { Node::spawn(settings) } else { Node::start(settings) }
        })
    }

    fn start_nodes(kind: Kind, start: impl Fn(usize, Settings) -> Node) -> Self {
        let mut proxy = None;
        let mut settings = Settings::open()
            .set("http.workers", "2")
            .set("channel.namespaces", NAMESPACES)
            .set("broker.kind", "\"redis\"");
        let (redis, replica, others) = match kind {
            Kind::Shards => {
                let RedisCluster { mut primaries, mut replicas } = {
                    let cluster = RedisCluster::start();
                    settings = settings.set("broker.redis.cluster.urls", cluster.urls());
                    cluster
                };
                let (redis, replica) = (primaries.remove(0), replicas.remove(0));
                primaries.extend(replicas);
                (redis, Some(replica), primaries)
            }
            Kind::Sentinels => {
                let redis = Redis::start();
                let replica = Redis::replica_of(redis.address());
                until("the replica follows", || redis.info("replication").contains("state=online"));
                let sentinels: Vec<Redis> =
                    (0..SENTINELS).map(|_| Redis::sentinel(redis.address(), QUORUM)).collect();
                for sentinel in &sentinels {
                    until("the Sentinels know each other", || {
                        sentinel.info("sentinel").contains("slaves=1,sentinels=3")
                    });
                }
                let urls: Vec<String> =
                    sentinels.iter().map(|sentinel| format!("\"{}\"", sentinel.url())).collect();
                settings = settings
                    .set("broker.redis.sentinel.urls", format!("[{}]", urls.join(", ")))
                    .set("broker.redis.sentinel.primary", format!("\"{WATCHED}\""));
                (redis, Some(replica), sentinels)
            }
            Kind::Alone | Kind::AloneWithProxy => (Redis::start(), None, Vec::new()),
        };
        if kind == Kind::AloneWithProxy {
            proxy = Some(Proxy::to(redis.address()));
        }
        let settings = |index: usize| {
            let address = match &proxy {
                Some(proxy) if index == 0 => proxy.address(),
                _ => redis.address(),
            };
            settings.clone().set("broker.redis.url", format!("\"redis://{address}\""))
        };
        let nodes = (0..NODES).map(|index| start(index, settings(index))).collect();
        Self { nodes, redis, replica, proxy, _others: others }
    }

    /// Shows what the nodes wrote that something is wrong, the newest.
    pub(crate) fn tell_warnings(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let output = node.output();
            let warnings: Vec<&str> =
                output.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
            for line in warnings.iter().rev().take(WARNINGS_TOLD).rev() {
                eprintln!("audit: node {index}: {line}");
            }
        }
    }

    /// Where the nodes listen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Node::address).collect()
    }
}

/// Waits for something that must come.
///
/// # Panics
/// If it does not.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < give_up, "after {TIME_LIMIT:?} still not: {what}");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}
