//! A Redis Cluster of a test's own: primaries that share the slots, and replicas where a test wants them.

use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

use super::{
    super::{ClusterSettings, RedisSettings, shards::slots::slot_of},
    fixture::quick,
    proxy::Proxy,
    server::{Server, free_port},
};

/// Far longer than servers take to agree.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Milliseconds without an answer after which the others believe that a server is dead.
const NODE_TIMEOUT: &str = "2000";

pub(super) struct Cluster {
    pub(super) primaries: Vec<Server>,
    pub(super) replicas: Vec<Server>,
}

/// A server that belongs to no cluster yet.
pub(super) fn lonely(more: &[&str]) -> Server {
    let bus_port = free_port().to_string();
    let fixed = [
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus_port,
        "--cluster-node-timeout",
        NODE_TIMEOUT,
        "--cluster-require-full-coverage",
        "no",
        "--cluster-replica-validity-factor",
        "0",
        // A primary without slots stays one.
        "--cluster-allow-replica-migration",
        "no",
    ];
    Server::start_with(&[&fixed, more].concat())
}

impl Cluster {
    /// Three primaries with a third of the slots each.
    pub(super) async fn start() -> Self {
        Self::of([lonely(&[]), lonely(&[]), lonely(&[])]).await
    }

    /// The same, and the first one is reached through a proxy.
    pub(super) async fn start_behind_proxy() -> (Self, Proxy) {
        let port = free_port();
        let proxy = Proxy::to(port).await;
        let (port, announced) = (port.to_string(), proxy.port.to_string());
        // The later of two options of one name counts.
        let mut first = lonely(&["--port", &port, "--cluster-announce-port", &announced]);
        first.port = port.parse().unwrap();
        (Self::of([first, lonely(&[]), lonely(&[])]).await, proxy)
    }

    async fn of(primaries: [Server; 3]) -> Self {
        let cluster = Self { primaries: primaries.into(), replicas: Vec::new() };
        let share = usize::from(SLOTS) / cluster.primaries.len() + 1;
        for (index, server) in cluster.primaries.iter().enumerate() {
            let (first, last) = (index * share, ((index + 1) * share).min(usize::from(SLOTS)) - 1);
            server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            server.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for server in &cluster.primaries[1..] {
            cluster.meet(server).await;
        }
        cluster.until_agreed().await;
        cluster
    }

    async fn meet(&self, server: &Server) {
        let first = &self.primaries[0];
        let (port, bus) = (first.port.to_string(), option(first, "--cluster-port"));
        server.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
    }

    /// All primaries know all servers, and all slots are served.
    async fn until_agreed(&self) {
        let count = self.primaries.len() + self.replicas.len();
        let known = format!("cluster_known_nodes:{count}\r\n");
        for server in self.primaries.iter().chain(&self.replicas) {
            until(async || {
                let info = text(server.command(&["CLUSTER", "INFO"]).await);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_assigned:16384\r\n")
                    && info.contains(&known)
            })
            .await;
        }
    }

    /// Adds a primary without slots.
    pub(super) async fn grow(&mut self) {
        let server = lonely(&[]);
        server.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(self.primaries.len() + 1).to_string()]).await;
        self.meet(&server).await;
        self.primaries.push(server);
        self.until_agreed().await;
    }

    /// Gives a primary a replica that is up to date.
    pub(super) async fn back_up(&mut self, primary: usize) {
        let server = lonely(&[]);
        self.meet(&server).await;
        self.replicas.push(server);
        self.until_agreed().await;
        let replica = self.replicas.last().unwrap();
        let id = id(&self.primaries[primary]).await;
        replica.command(&["CLUSTER", "REPLICATE", &id]).await;
        self.primaries[primary].until_info("replication", "state=online").await;
        // The others vote only for a replica that they know as one.
        for server in &self.primaries {
            until(async || text(server.command(&["CLUSTER", "NODES"]).await).contains("slave")).await;
        }
    }

    /// Waits until the replica of a primary has what the primary has: Redis answers before it copies.
    pub(super) async fn until_copied(&self, primary: usize) {
        until(async || {
            let info = text(self.primaries[primary].command(&["INFO", "replication"]).await);
            let field = |name: &str| {
                let rest = info.split_once(name).map_or("", |(_, rest)| rest);
                rest.split([',', '\r']).next().unwrap_or_default().to_owned()
            };
            !field("offset=").is_empty() && field("offset=") == field("master_repl_offset:")
        })
        .await;
    }

    /// Settings that know one of the servers.
    pub(super) fn settings(&self) -> RedisSettings {
        self.settings_with(quick("redis://127.0.0.1:1/0".to_owned()))
    }

    pub(super) fn settings_with(&self, settings: RedisSettings) -> RedisSettings {
        let cluster = ClusterSettings { urls: vec![self.primaries.last().unwrap().url()] };
        RedisSettings { cluster: Some(cluster), ..settings }
    }

    /// A channel that this primary serves at the start.
    pub(super) fn channel_of(&self, primary: usize) -> String {
        let share = usize::from(SLOTS) / 3 + 1;
        let is_its = |name: &String| usize::from(slot_of(name.as_bytes())) / share == primary;
        (0..).map(|number| format!("news:{number}")).find(is_its).unwrap()
    }

    /// Begins to move a slot.
    pub(super) async fn open(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.primaries[from], &self.primaries[to]);
        let slot = slot.to_string();
        to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from).await]).await;
        from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to).await]).await;
    }

    /// Moves the keys of a slot that is open.
    pub(super) async fn move_keys(&self, slot: u16, from: usize, to: usize) {
        let (from, to) = (&self.primaries[from], &self.primaries[to]);
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "100"]).await;
            let Value::Array(keys) = keys else { panic!("no keys: {keys:?}") };
            if keys.is_empty() {
                return;
            }
            let keys: Vec<String> = keys.into_iter().map(text).collect();
            let port = to.port.to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(String::as_str));
            from.command(&words).await;
        }
    }

    /// Ends the move of a slot: all learn of the new owner.
    pub(super) async fn close(&self, slot: u16, to: usize) {
        let (slot, id) = (slot.to_string(), id(&self.primaries[to]).await);
        // The new owner first, so that there is always one.
        let (new, others) = (&self.primaries[to], self.primaries.iter().enumerate());
        new.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        for (_, server) in others.filter(|(index, _)| *index != to) {
            server.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }
}

fn option(server: &Server, name: &str) -> String {
    let at = server.options.iter().position(|option| option == name).unwrap();
    server.options[at + 1].clone()
}

async fn id(server: &Server) -> String {
    text(server.command(&["CLUSTER", "MYID"]).await)
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8(text).unwrap(),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

async fn until(holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + TIME_LIMIT;
    while !holds().await {
        assert!(Instant::now() < deadline, "the servers do not agree");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
