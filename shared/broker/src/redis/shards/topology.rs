//! The servers of a Redis Cluster and the slots that they serve: found out at the start, once in a while, and whenever the
//! map may be outdated; then followed, by connections to servers that appear, and by what goes with slots that get another
//! server. `docs/architecture.md` §5.3, §5.5; record 11.
//!
//! Servers learn of a change one after the other. So the task queries most of them, and believes the one that knows the newest
//! configuration.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use redis::{Value, aio::ConnectionLike as _, cmd};
use tokio::{runtime::Handle, sync::Notify, time::timeout};

use super::{
    ALONE, Routes, Shard, Shards,
    slots::{Address, SLOTS, Slot, SlotMap, slot_of},
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
            self.run(&shard);
            self.routes.write().shards.insert((ALONE.to_owned(), 0), shard);
            self.map_trouble.send_replace(None);
        }
        true
    }

    /// Ends the tasks.
    pub(in crate::redis) fn stop(&self) {
        if let Some(task) = self.topology_task.lock().take() {
            task.abort();
        }
        for shard in self.routes.read().shards.values() {
            shard.stop();
        }
    }

    /// Resolves when every server can be used.
    pub(in crate::redis) async fn wait_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.map_trouble.subscribe().wait_for(Option::is_none).await;
        loop {
            let shards = self.shards();
            for shard in &shards {
                shard.wait_up().await;
            }
            // Others may have appeared meanwhile.
            if shards.len() == self.routes.read().shards.len() {
                return;
            }
        }
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

impl Shards {
    /// Follows a new map: opens and closes connections, and moves interest and requests to the slots' new servers.
    pub(super) fn follow(&self, map: &SlotMap) {
        let mut routes = self.routes.write();
        let routes = &mut *routes;
        let mut moved: HashMap<Address, HashSet<Slot>> = HashMap::new();
        for (first, last, address) in &map.ranges {
            if !routes.shards.contains_key(address) {
                tracing::info!(server = %Shard::name(address), "Redis Cluster server found");
                routes
                    .shards
                    .insert(address.clone(), self.open(Some(address), &self.canary_in(*first, *last)));
            }
            let Some(shard) = routes.shards.get(address).cloned() else { continue };
            for slot in *first..=*last {
                let Some(owner) = routes.owners.get_mut(usize::from(slot)) else { continue };
                let before = owner.replace(Arc::clone(&shard));
                if let Some(before) = before.filter(|before| !Arc::ptr_eq(before, &shard)) {
                    if let Some((address, _)) =
                        routes.shards.iter().find(|(_, shard)| Arc::ptr_eq(shard, &before))
                    {
                        moved.entry(address.clone()).or_default().insert(slot);
                    }
                    if let Some(redirects) = &self.common.redirects {
                        redirects.owner_changed(slot);
                    }
                }
            }
        }
        for (address, slots) in &moved {
            let Some(shard) = routes.shards.get(address).cloned() else { continue };
            tracing::info!(server = %Shard::name(address), slots = slots.len(), "Redis Cluster slots moved");
            let mut by_owner: HashMap<Slot, Vec<_>> = HashMap::new();
            for (name, wanted) in shard.pubsub.hand_over(|name| slots.contains(&slot_of(name.as_bytes()))) {
                by_owner.entry(slot_of(name.as_bytes())).or_default().push((name, wanted));
            }
            for (slot, given) in by_owner {
                if let Some(owner) = routes.owner(slot) {
                    owner.pubsub.take_over(given);
                }
            }
            self.retire_or_renew(routes, address, &shard);
        }
        for (name, matter) in std::mem::take(&mut *self.first_wanted.lock()) {
            if let Some(owner) = routes.owner(slot_of(name.as_bytes())) {
                owner.pubsub.want(vec![(name, matter)], None, drop);
                owner.pubsub.wake();
            }
        }
        for shard in routes.shards.values() {
            self.run(shard);
        }
        routes.known.clone_from(&map.servers);
        self.map_trouble.send_replace(None);
    }

    /// Handles a server that lost slots: without any it is disconnected, else its canary moves to a slot that it has.
    fn retire_or_renew(&self, routes: &mut Routes, address: &Address, shard: &Arc<Shard>) {
        let is_its = |slot: &usize| routes.owners.get(*slot).is_some_and(|owner| is(owner.as_ref(), shard));
        let Some(slot) = (0..usize::from(SLOTS)).find(is_its) else {
            tracing::info!(server = %Shard::name(address), "Redis Cluster server without slots; disconnecting");
            routes.shards.remove(address);
            if let Some(runtime) = self.runtime.get() {
                shard.retire(runtime, self.settings.request_timeout);
            }
            return;
        };
        if !is(routes.owner(shard.pubsub.canary(|canary| slot_of(canary.name().as_bytes()))), shard)
            && let Ok(slot) = Slot::try_from(slot)
        {
            let name = self.canary_in(slot, slot);
            shard.pubsub.canary(|canary| canary.set_name(name));
        }
    }

    /// The name of a canary channel in one of these slots. There is always one: names hash evenly.
    fn canary_in(&self, first: Slot, last: Slot) -> String {
        let mut number = 0_u64;
        loop {
            let name = self.keys.canary(&format!("{}-{number}", self.node));
            if (first..=last).contains(&slot_of(name.as_bytes())) {
                return name;
            }
            number += 1;
        }
    }

    /// Sends what waited for its slot to have one owner.
    pub(super) fn send_waiting(&self) {
        if let Some(redirects) = &self.common.redirects {
            let routes = self.routes.write();
            redirects.close_slots(|slot, request| self.put(&routes, slot, request));
        }
    }
}

fn is(owner: Option<&Arc<Shard>>, shard: &Arc<Shard>) -> bool {
    owner.is_some_and(|owner| Arc::ptr_eq(owner, shard))
}
