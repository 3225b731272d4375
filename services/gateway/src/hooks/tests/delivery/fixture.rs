//! A store of the memory broker with one partition, and the delivery from it.

use std::{rc::Rc, sync::Arc, time::Duration};

use gorani_broker::{
    Broker, MemoryBroker, MemorySettings,
    hook_store::{HookChange, HookEventKind, HookQueueHead},
};
use tokio::sync::watch;

use super::super::{
    draft,
    nodes::LiveNodes,
    receiver::{Answer, ReceivedRequest, Receiver, status},
};
use crate::{
    clock,
    hooks::{
        deliver, endpoint::EndpointDelivery, lease::PartitionLeases, queue_delivery::HookQueueDelivery,
        store::store_of,
    },
    metrics::Metrics,
    settings::{HookEndpointSettings, HookSettings},
};

/// A store with one partition, of which this node is the owner.
pub(super) struct Fixture {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) settings: HookSettings,
    pub(super) leases: Arc<PartitionLeases>,
    pub(super) run: Arc<str>,
    pub(super) metrics: Arc<Metrics>,
}

impl Fixture {
    pub(super) async fn new(endpoints: Vec<HookEndpointSettings>) -> Self {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let settings = HookSettings { partitions: 1, endpoints, ..HookSettings::default() };
        deliver::open(&*broker, &settings).await.unwrap();
        let run = store_of(&*broker).unwrap().begin(0, None, draft("reset")).await.unwrap();
        let fixture = Self {
            leases: PartitionLeases::new(1, "n1".into(), broker.clone(), Arc::<LiveNodes>::default()),
            broker,
            settings,
            run,
            metrics: Arc::default(),
        };
        fixture.own().await;
        // Tests are about what they add.
        for endpoint in &fixture.settings.endpoints {
            let store = store_of(&*fixture.broker).unwrap();
            let head = store.head(0, &endpoint.name, 10, 1000).await.unwrap();
            let taken = head.events.into_iter().map(|event| event.id).collect();
            let delivered = gorani_broker::hook_store::HookDelivered { taken, ..Default::default() };
            store.complete(0, &endpoint.name, delivered).await.unwrap();
        }
        fixture
    }

    /// Waits until this node owns the partition.
    pub(super) async fn own(&self) {
        let mut changes = self.leases.watch();
        actix_rt::spawn(self.leases.clone().run());
        while !self.leases.owns(0) {
            changes.changed().await.unwrap();
        }
    }

    /// Events of channels with these names.
    pub(super) async fn add(&self, channels: &[&str]) {
        self.add_at(clock::unix_ms(), channels).await;
    }

    pub(super) async fn add_at(&self, time_ms: u64, channels: &[&str]) {
        let append = |channel: &&str| {
            let mut event = draft("occupied");
            event.channel = (*channel).into();
            event.time_ms = time_ms;
            event.endpoints = (0..).take(self.settings.endpoints.len()).collect();
            HookChange::Append { event }
        };
        let changes = channels.iter().map(append).collect();
        store_of(&*self.broker).unwrap().apply(0, &self.run, changes).await.unwrap();
    }

    pub(super) async fn head(&self) -> HookQueueHead {
        self.head_of(&self.settings.endpoints[0].name).await
    }

    pub(super) async fn head_of(&self, endpoint: &str) -> HookQueueHead {
        store_of(&*self.broker).unwrap().head(0, endpoint, 1000, u64::MAX).await.unwrap()
    }

    /// Waits until the store says this.
    pub(super) async fn until(&self, is_so: impl Fn(&HookQueueHead) -> bool) -> HookQueueHead {
        loop {
            let head = self.head().await;
            if is_so(&head) {
                return head;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Delivers to the first endpoint, with pauses that begin with some milliseconds.
    pub(super) fn deliver(&self) -> (watch::Sender<()>, actix_rt::task::JoinHandle<()>) {
        let endpoints = deliver::endpoints(&self.settings).unwrap();
        let endpoint = Rc::new(EndpointDelivery::new(endpoints[0].clone(), &self.metrics.hooks).unwrap());
        let mut queue =
            HookQueueDelivery::new(0, "n1".into(), endpoint, self.broker.clone(), self.leases.clone());
        queue.backoff_first = Duration::from_millis(4);
        let (wake, woken) = watch::channel(());
        (wake, actix_rt::spawn(queue.run(woken)))
    }

    pub(super) async fn dead(&self) -> Vec<(String, String, u32)> {
        let store = store_of(&*self.broker).unwrap();
        let letters = store.dead_letters(0, &self.settings.endpoints[0].name, "", 100).await.unwrap();
        let of = |letter: gorani_broker::hook_store::DeadHook| {
            (letter.event.draft.channel.to_string(), letter.reason, letter.tries)
        };
        letters.into_iter().map(of).collect()
    }

    pub(super) fn metric(&self, line: &str) -> bool {
        let text = self.metrics.text(&self.broker.stats()).unwrap();
        text.lines().any(|found| found == line)
    }
}

pub(super) fn endpoint(receiver: &Receiver) -> HookEndpointSettings {
    HookEndpointSettings {
        name: "shop".to_owned(),
        url: receiver.url.clone(),
        events: vec![HookEventKind::Occupied],
        ..HookEndpointSettings::default()
    }
}

pub(super) async fn fixture(receiver: &Receiver) -> Fixture {
    Fixture::new(vec![endpoint(receiver)]).await
}

pub(super) fn ok(_: usize, _: &ReceivedRequest) -> Answer {
    status("204 No Content")
}
