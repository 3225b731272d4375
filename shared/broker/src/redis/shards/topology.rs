//! Finding out which servers a Redis Cluster has and which slots they serve: at the start, once in a while, and whenever
//! the map may be outdated. `docs/architecture.md` §5.3, §5.5.
//!
//! Servers learn of a change one after the other. So the task queries most of them, and believes the one that knows the newest
//! configuration.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use redis::{Value, aio::ConnectionLike as _, cmd};
use tokio::{runtime::Handle, sync::Notify, time::timeout};

use super::{
    ALONE, Shards,
    shard::Shard,
    slots::{Address, SlotMap},
};
use crate::Sink;

/// The interval of queries to a healthy cluster. Most changes are noticed by their effects; this is for the others.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The first pause between two queries while something is not as it should be; it doubles each time.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(20);
/// The longest such pause.
const ASK_AGAIN_MAX: Duration = Duration::from_millis(500);

/// The topology as one server knows it.
struct ServerView {
    is_ok: bool,
    /// The newest configuration that it knows of.
    epoch: u64,
    map: SlotMap,
}

impl Shards {
    /// Runs the tasks. False if they run already.
    pub(in crate::redis) fn start(self: &Arc<Self>, runtime: Handle, sink: Arc<dyn Sink>) -> bool {
        if self.runtime.set(runtime.clone()).is_err() {
            return false;
        }
        self.sink.set_sink(sink);
        if self.is_cluster() {
            let task = runtime.spawn(run(Arc::downgrade(self)));
            *self.topology_task.lock() = Some(task.abort_handle());
        } else {
            let shard = self.open(None, &self.keys.canary(&self.node));
            let first = std::mem::take(&mut *self.first_wanted.lock());
            shard.pubsub.want(first, None, drop);
            self.routes.write().shards.insert((ALONE.to_owned(), 0), shard);
            self.map_trouble.send_replace(None);
        }
        true
    }
}

/// Runs until the broker is dropped.
async fn run(shards: Weak<Shards>) {
    let mut pause = ASK_AGAIN_MIN;
    let mut before = SlotMap::default();
    loop {
        let Some(shards) = shards.upgrade() else { return };
        match ask(&shards).await {
            Ok(map) if map == before => {}
            Ok(map) => {
                shards.follow(&map);
                pause = ASK_AGAIN_MIN;
                before = map;
            }
            Err(reason) => {
                tracing::warn!(reason, "Redis Cluster topology not known");
                shards.map_trouble.send_if_modified(|trouble| {
                    // Those that were known are better than none.
                    trouble.is_some() && trouble.replace(reason.clone()).as_ref() != Some(&reason)
                });
            }
        }
        for shard in shards.shards() {
            shard.pubsub.wake();
        }
        shards.send_waiting();
        let Some(redirects) = shards.common.redirects.clone() else { return };
        let is_calm = !redirects.has_open()
            && shards.map_trouble.borrow().is_none()
            && shards.shards().iter().all(|shard| shard.is_up() && shard.pubsub.lost_for().is_none());
        drop(shards);
        if is_calm {
            pause = ASK_AGAIN_MIN;
            // Many reasons to query at a time become one query.
            tokio::time::sleep(ASK_AGAIN_MIN).await;
            let _ = timeout(ASK_EVERY, redirects.unverified()).await;
        } else {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASK_AGAIN_MAX);
        }
    }
}

/// The map of the servers, or why there is none.
async fn ask(shards: &Shards) -> Result<SlotMap, String> {
    let connected: Vec<(Address, Arc<Shard>)> = shards
        .routes
        .read()
        .shards
        .iter()
        .map(|(address, shard)| (address.clone(), Arc::clone(shard)))
        .collect();
    let mut asked = BTreeSet::new();
    let mut questions: FuturesUnordered<BoxFuture<'_, Result<ServerView, String>>> = FuturesUnordered::new();
    for (address, shard) in &connected {
        if shard.requests.status().trouble().is_none() {
            asked.insert(address.clone());
            questions.push(Box::pin(ask_connected(shard)));
        }
    }
    // Too few to be sure: it queries the others too, and replicas, of which one may be the next primary.
    if asked.is_empty() || asked.len() * 2 <= connected.len() {
        let known = shards.routes.read().known.clone();
        for address in known.into_iter().chain(shards.seeds.iter().cloned()) {
            if asked.insert(address.clone()) {
                questions.push(Box::pin(ask_unknown_server(shards, address)));
            }
        }
    }
    let wanted = asked.len() / 2 + 1;
    let mut views = Vec::new();
    let mut trouble = "there is nobody to ask".to_owned();
    while let Some(answer) = questions.next().await {
        match answer {
            Ok(view) => views.push(view),
            Err(reason) => trouble = reason,
        }
        if views.len() >= wanted {
            break;
        }
    }
    let best = views.into_iter().max_by_key(|view| (view.is_ok, view.epoch, view.map.covered()));
    best.map(|view| view.map).filter(|map| !map.ranges.is_empty()).ok_or(trouble)
}

async fn ask_connected(shard: &Shard) -> Result<ServerView, String> {
    let info = shard.requests.make(cluster_info());
    let slots = shard.requests.make(cluster_slots());
    let (info, slots) = tokio::join!(info, slots);
    let reason = |error: crate::BrokerError| error.to_string();
    read_view(&info.map_err(reason)?, &slots.map_err(reason)?, shard.host())
}

async fn ask_unknown_server(shards: &Shards, (host, port): Address) -> Result<ServerView, String> {
    let asked = async {
        let dialer = shards.dialer.at(&host, port);
        let mut connection = dialer.dial(Arc::new(Notify::new()), |_| ()).await?;
        let reason = |error: redis::RedisError| format!("{host}:{port}: {error}");
        let info = connection.req_packed_command(&cluster_info()).await.map_err(reason)?;
        let slots = connection.req_packed_command(&cluster_slots()).await.map_err(reason)?;
        read_view(&info, &slots, &host)
    };
    match timeout(shards.settings.connect_timeout, asked).await {
        Ok(view) => view.map_err(|reason| format!("{host}:{port}: {reason}")),
        Err(_) => Err(format!("{host}:{port}: no answer")),
    }
}

fn cluster_info() -> redis::Cmd {
    let mut info = cmd("CLUSTER");
    info.arg("INFO");
    info
}

fn cluster_slots() -> redis::Cmd {
    let mut slots = cmd("CLUSTER");
    slots.arg("SLOTS");
    slots
}

fn read_view(info: &Value, slots: &Value, host: &str) -> Result<ServerView, String> {
    let text = match info {
        Value::BulkString(text) => String::from_utf8_lossy(text),
        Value::VerbatimString { text, .. } => text.as_str().into(),
        Value::SimpleString(text) => text.as_str().into(),
        Value::ServerError(error) => {
            return Err(format!("{} {}", error.code(), error.details().unwrap_or_default()));
        }
        _ => return Err("an answer of unknown shape".to_owned()),
    };
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let map = SlotMap::read(slots, host).ok_or("an answer of unknown shape")?;
    Ok(ServerView {
        is_ok: field("cluster_state:") == Some("ok"),
        epoch: field("cluster_current_epoch:").and_then(|epoch| epoch.parse().ok()).unwrap_or_default(),
        map,
    })
}
