//! Nodes of a test that share a store of hooks: each with the tasks of its own, which run only when the test lets them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, ready};
use gorani_broker::{
    Broker, BrokerError,
    hook_store::{HookDelivered, HookEventDraft, HookEventKind},
};
use parking_lot::Mutex;
use tokio::task::LocalSet;

use super::{
    faulty_store::FaultyBroker,
    folded::{ClusterState, FoldedEvents},
};
use crate::{
    hooks::{Hooks, event::TrackedClient, lease::NodeWatch, tracker::HookTracker},
    settings::{HookEndpointSettings, HookSettings},
    tasks::Tasks,
};

/// Partitions of a test: few, so that things meet.
const PARTITIONS: u16 = 3;
/// Rounds in which each node's tasks run, after which all that was possible is done.
const ROUNDS: usize = 30;

/// The nodes that are alive.
#[derive(Default)]
pub(super) struct LiveNodes(Mutex<BTreeSet<String>>);

impl NodeWatch for LiveNodes {
    fn live(&self) -> BTreeSet<String> {
        self.0.lock().clone()
    }

    fn dead_among(
        &self,
        nodes: BTreeSet<String>,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
        Box::pin(ready(Ok(nodes.difference(&self.live()).cloned().collect())))
    }
}

/// A node.
pub(super) struct HookNode {
    pub(super) hooks: Arc<Hooks>,
    id: String,
    local: LocalSet,
    pub(super) is_frozen: bool,
    /// Its sessions, as they are: user and channels.
    pub(super) sessions: BTreeMap<String, (String, BTreeSet<String>)>,
}

/// Several nodes, and a backend.
pub(super) struct HookNodes {
    pub(super) broker: Arc<FaultyBroker>,
    pub(super) settings: HookSettings,
    live: Arc<LiveNodes>,
    pub(super) nodes: Vec<HookNode>,
    pub(super) folded: FoldedEvents,
    names: u32,
}

/// The settings of a test: one endpoint that wants all.
pub(super) fn settings() -> HookSettings {
    use HookEventKind as Kind;
    let events = vec![
        Kind::Connected,
        Kind::Disconnected,
        Kind::Subscribed,
        Kind::Unsubscribed,
        Kind::Occupied,
        Kind::Vacated,
        Kind::MemberAdded,
        Kind::MemberRemoved,
        Kind::Publication,
    ];
    HookSettings {
        partitions: PARTITIONS,
        endpoints: vec![HookEndpointSettings {
            name: "backend".to_owned(),
            events,
            ..HookEndpointSettings::default()
        }],
        ..HookSettings::default()
    }
}

/// Runs a test in simulated time.
pub(super) fn simulated(test: impl AsyncFnOnce()) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        crate::clock::simulated::set(true);
        test().await;
        crate::clock::simulated::set(false);
    });
}

impl HookNodes {
    /// So many nodes with these settings.
    pub(super) async fn start(count: usize, settings: HookSettings) -> Self {
        let broker = FaultyBroker::new();
        broker.store().open(settings.plan()).await.unwrap();
        let mut all = Self {
            broker,
            settings,
            live: Arc::default(),
            nodes: Vec::new(),
            folded: FoldedEvents::default(),
            names: 0,
        };
        for _ in 0..count {
            all.add();
        }
        all.pass(Duration::from_secs(12)).await;
        all.folded.take_lines();
        all
    }

    /// A node that begins.
    pub(super) fn add(&mut self) {
        self.names += 1;
        let id = format!("{:08x}", self.names);
        self.live.0.lock().insert(id.clone());
        let tracker = HookTracker::new(id.as_str().into(), &self.settings).unwrap();
        let broker: Arc<dyn Broker> = self.broker.clone();
        let hooks = Hooks::new(tracker, id.as_str().into(), broker, self.live.clone());
        let local = LocalSet::new();
        let entered = local.enter();
        hooks.start(&Tasks::default());
        drop(entered);
        self.nodes.push(HookNode { hooks, id, local, is_frozen: false, sessions: BTreeMap::new() });
    }

    /// The others take a node for dead.
    pub(super) fn dies(&self, node: usize) {
        self.live.0.lock().remove(&self.nodes[node].id);
        self.nodes.iter().for_each(|node| node.hooks.node_died());
    }

    /// A node that was taken for dead goes on.
    pub(super) fn returns(&mut self, node: usize) {
        self.live.0.lock().insert(self.nodes[node].id.clone());
        self.nodes[node].is_frozen = false;
        self.nodes[node].hooks.tracker.request_repair();
    }

    /// A process ends at once.
    pub(super) fn kill(&mut self, node: usize) {
        self.dies(node);
        self.nodes.remove(node);
    }

    /// The broker loses all of its data.
    pub(super) async fn lose_data(&self) {
        for partition in 0..PARTITIONS {
            let store = self.broker.store();
            let run = store.due(partition, 1).await.unwrap().run;
            let reset = HookEventDraft {
                kind: HookEventKind::Reset,
                time_ms: 0,
                node: "operator".into(),
                client: Arc::default(),
                user: Arc::default(),
                channel: Arc::default(),
                details: bytes::Bytes::new(),
                meta: bytes::Bytes::new(),
                endpoints: Arc::default(),
            };
            store.begin(partition, run.as_deref(), reset).await.unwrap();
        }
    }

    /// Runs what can run, and gives the events to the backend.
    pub(super) async fn run(&mut self) {
        for _ in 0..ROUNDS {
            for node in self.nodes.iter().filter(|node| !node.is_frozen) {
                node.local.run_until(tokio::task::yield_now()).await;
            }
        }
        for partition in 0..PARTITIONS {
            loop {
                let store = self.broker.store();
                let head = store.head(partition, "backend", 1000, u64::MAX).await.unwrap();
                if head.events.is_empty() {
                    break;
                }
                head.events.iter().for_each(|event| self.folded.take_in(partition, event));
                let taken = head.events.into_iter().map(|event| event.id).collect();
                let delivered = HookDelivered { taken, ..HookDelivered::default() };
                store.complete(partition, "backend", delivered).await.unwrap();
            }
        }
    }

    /// Lets time pass.
    pub(super) async fn pass(&mut self, time: Duration) {
        let step = Duration::from_millis(500);
        let mut left = time;
        while !left.is_zero() {
            self.run().await;
            let next = left.min(step);
            tokio::time::advance(next).await;
            left -= next;
        }
        self.run().await;
    }

    fn of(&self, client: &str, user: &str) -> TrackedClient {
        TrackedClient {
            client: client.into(),
            user: user.into(),
            transport: "websocket",
            protocol: "json",
            meta: None,
        }
    }

    pub(super) fn connect(&mut self, node: usize, client: &str, user: &str) {
        self.nodes[node].hooks.tracker.connected(self.of(client, user));
        self.nodes[node].sessions.insert(client.to_owned(), (user.to_owned(), BTreeSet::new()));
    }

    pub(super) fn subscribe(&mut self, node: usize, client: &str, channel: &str) {
        let Some((user, channels)) = self.nodes[node].sessions.get_mut(client) else { return };
        let user = user.clone();
        channels.insert(channel.to_owned());
        self.nodes[node].hooks.tracker.subscribed(self.of(client, &user), &channel.into(), false, true);
    }

    pub(super) fn unsubscribe(&mut self, node: usize, client: &str, channel: &str) {
        let Some((user, channels)) = self.nodes[node].sessions.get_mut(client) else { return };
        channels.remove(channel);
        let user = user.clone();
        self.nodes[node].hooks.tracker.unsubscribed(&user, client, &channel.into(), 0, "");
    }

    pub(super) fn disconnect(&mut self, node: usize, client: &str) {
        let Some((user, _)) = self.nodes[node].sessions.remove(client) else { return };
        self.nodes[node].hooks.tracker.disconnected(&user, client, 3000, "gone");
    }

    /// The cluster as it is.
    pub(super) fn truth(&self) -> ClusterState {
        let mut all = ClusterState::default();
        for (client, (user, channels)) in self.nodes.iter().flat_map(|node| &node.sessions) {
            all.sessions.insert(client.clone(), channels.clone());
            all.channels.extend(channels.iter().cloned());
            if !user.is_empty() {
                all.members.extend(channels.iter().map(|channel| (channel.clone(), user.clone())));
            }
        }
        all
    }

    /// Once all is quiet: what the backend believes is what is.
    pub(super) async fn check(&mut self) {
        self.pass(Duration::from_secs(40)).await;
        assert_eq!(self.folded.faults, [""; 0]);
        assert_eq!(self.folded.state(), self.truth());
    }

    /// Lines of the kinds of these names, in their order.
    pub(super) fn lines(&mut self, kinds: &[&str]) -> Vec<String> {
        let lines = self.folded.take_lines();
        lines.into_iter().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).collect()
    }
}
