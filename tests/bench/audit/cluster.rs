//! What the audit plays with: a Redis of the kind that a scenario needs, three nodes, and a road between node 0 and Redis.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings},
    proxy::Proxy,
    redis::{Redis, WATCHED},
};

/// Nodes of the cluster.
pub(crate) const NODES: usize = 3;
/// Sentinels, and how many must agree.
const SENTINELS: usize = 3;
const QUORUM: usize = 2;
/// How long something may take to be as it should.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Every publication of a run is kept; a recovery brings 300 at most (design §6).
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
}

/// Everything that runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) redis: Redis,
    pub(crate) replica: Option<Redis>,
    pub(crate) proxy: Option<Proxy>,
    _sentinels: Vec<Redis>,
}

impl Cluster {
    /// Starts it and waits until every part is ready.
    pub(crate) fn start(kind: Kind) -> Self {
        let redis = Redis::start();
        let (mut replica, mut sentinels, mut proxy) = (None, Vec::new(), None);
        match kind {
            Kind::Alone => {}
            Kind::AloneWithProxy => proxy = Some(Proxy::to(redis.address())),
            Kind::Sentinels => {
                let copy = Redis::replica_of(redis.address());
                until("the replica follows", || redis.info("replication").contains("state=online"));
                sentinels = (0..SENTINELS).map(|_| Redis::sentinel(redis.address(), QUORUM)).collect();
                for sentinel in &sentinels {
                    until("the Sentinels know each other", || {
                        sentinel.info("sentinel").contains("slaves=1,sentinels=3")
                    });
                }
                replica = Some(copy);
            }
        }
        let settings = |index: usize| {
            let address = match &proxy {
                Some(proxy) if index == 0 => proxy.address(),
                _ => redis.address(),
            };
            let settings = Settings::open()
                .set("http.workers", "2")
                .set("channel.namespaces", NAMESPACES)
                .set("broker.kind", "\"redis\"")
                .set("broker.redis.url", format!("\"redis://{address}\""))
                .set("log.level", "\"info\"");
            if sentinels.is_empty() {
                return settings;
            }
            let urls: Vec<String> =
                sentinels.iter().map(|sentinel| format!("\"{}\"", sentinel.url())).collect();
            settings
                .set("broker.redis.sentinel.urls", format!("[{}]", urls.join(", ")))
                .set("broker.redis.sentinel.primary", format!("\"{WATCHED}\""))
        };
        let nodes = (0..NODES).map(|index| Node::start(settings(index))).collect();
        Self { nodes, redis, replica, proxy, _sentinels: sentinels }
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
    let give_up = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "after {PATIENCE:?} still not: {what}");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}
