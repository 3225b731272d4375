//! Delivery of events to the backend: this node delivers the partitions that it owns. `docs/adr/0052-hooks-delivered.md`.
//!
//! Each endpoint has a queue in each partition, and one request at a time under way from each. So endpoints do not wait for one
//! another, and what comes while a request is under way makes up the next one.

use std::{collections::HashSet, rc::Rc, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use gorani_broker::{Broker, BrokerError, hook_store::Partition};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    endpoint::{EndpointDelivery, HookEndpoint},
    lease::PartitionLeases,
    queue_delivery::HookQueueDelivery,
    store::store_of,
};
use crate::{
    metrics::hooks::HookMetrics,
    settings::{HookSettings, SettingsError},
    telemetry::trace::Tracer,
};

/// Interval at which the owned partitions are looked at, beside each change of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Interval at which queues of endpoints are deleted that are no longer in the settings.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// Time for which they are kept.
const FORGET_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Interval at which a node that goes down looks whether anything is left.
const EMPTY_EVERY: Duration = Duration::from_millis(20);

/// Delivery of events by this node.
pub struct HookDelivery {
    node: Arc<str>,
    broker: Arc<dyn Broker>,
    leases: Arc<PartitionLeases>,
    endpoints: Vec<Arc<HookEndpoint>>,
    /// One for each partition.
    wakes: Vec<watch::Sender<()>>,
    /// Takes spans, where there are traces.
    tracer: Option<Arc<Tracer>>,
}

/// The files of the endpoints as they are now.
pub struct ReadHookFiles(Vec<HookEndpoint>);

impl HookDelivery {
    /// Delivery to the endpoints of the settings.
    ///
    /// # Errors
    /// A file that they name cannot be used, or a secret is none.
    pub fn new(
        settings: &HookSettings,
        node: Arc<str>,
        broker: Arc<dyn Broker>,
        leases: Arc<PartitionLeases>,
    ) -> Result<Self, SettingsError> {
        Ok(Self {
            node,
            broker,
            leases,
            endpoints: endpoints(settings)?,
            wakes: (0..settings.partitions).map(|_| watch::Sender::new(())).collect(),
            tracer: None,
        })
    }

    /// Has a tracer take the spans of its requests.
    pub fn traced_by(self, tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// Reads the certificates and secrets that the endpoints name again; it may block.
    ///
    /// # Errors
    /// One of them cannot be used; nothing is changed.
    pub fn read_files(&self) -> Result<ReadHookFiles, SettingsError> {
        let open = |known: &Arc<HookEndpoint>| HookEndpoint::open(&known.settings, self.partitions());
        self.endpoints.iter().map(open).collect::<Result<_, _>>().map(ReadHookFiles)
    }

    /// Puts what was read in its place, for requests from now on.
    pub fn replace_files(&self, read: &ReadHookFiles) {
        for (endpoint, read) in self.endpoints.iter().zip(&read.0) {
            endpoint.replace_files(read);
        }
    }

    fn partitions(&self) -> Partition {
        Partition::try_from(self.wakes.len()).unwrap_or(Partition::MAX)
    }

    /// Events were written into a partition by this node: they are sent without waiting for the next look.
    pub fn wake(&self, partition: Partition) {
        if let Some(wake) = self.wakes.get(usize::from(partition)) {
            wake.send_replace(());
        }
    }

    /// Delivers until it is dropped. To be run on a thread of actix.
    pub async fn run(self: Arc<Self>, metrics: Arc<HookMetrics>) {
        let mut deliveries = Vec::new();
        for endpoint in &self.endpoints {
            match EndpointDelivery::new(endpoint.clone(), &metrics) {
                Ok(mut delivery) => {
                    delivery.tracer.clone_from(&self.tracer);
                    deliveries.push(Rc::new(delivery));
                }
                Err(error) => {
                    tracing::error!(endpoint = endpoint.settings.name, %error, "no requests to this endpoint of hooks");
                }
            }
        }
        let mut changes = self.leases.watch();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = FuturesUnordered::new();
        let mut delivered: HashSet<(Partition, usize)> = HashSet::new();
        let mut forget_at = Instant::now() + LOOK_EVERY;
        loop {
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = look.tick() => {}
                Some(ended) = running.next() => {
                    delivered.remove(&ended);
                }
            }
            let owned = self.leases.owned();
            metrics.partitions_owned.set(i64::try_from(owned.len()).unwrap_or(i64::MAX));
            for (partition, wake) in (0..).zip(&self.wakes).filter(|(partition, _)| owned.contains(partition))
            {
                for (index, endpoint) in deliveries.iter().enumerate() {
                    if delivered.insert((partition, index)) {
                        let queue = self.queue(partition, endpoint.clone());
                        let wake = wake.subscribe();
                        running.push(async move {
                            queue.run(wake).await;
                            (partition, index)
                        });
                    }
                }
            }
            if Instant::now() >= forget_at {
                forget_at = Instant::now() + FORGET_EVERY;
                // Beside the deliveries: those must not wait for it.
                actix_rt::spawn(forget(self.broker.clone(), owned));
            }
        }
    }

    fn queue(&self, partition: Partition, endpoint: Rc<EndpointDelivery>) -> HookQueueDelivery {
        HookQueueDelivery::new(
            partition,
            self.node.clone(),
            endpoint,
            self.broker.clone(),
            self.leases.clone(),
        )
    }

    /// Waits until nothing is left to send in the partitions of this node. A node that goes down gives it as much time as it has.
    pub async fn wait_until_empty(&self) {
        loop {
            let mut is_empty = true;
            for partition in self.leases.owned() {
                for endpoint in &self.endpoints {
                    is_empty &= self.is_empty(partition, endpoint).await.unwrap_or(false);
                }
            }
            if is_empty {
                return;
            }
            tokio::time::sleep(EMPTY_EVERY).await;
        }
    }

    async fn is_empty(&self, partition: Partition, endpoint: &HookEndpoint) -> Result<bool, BrokerError> {
        let head = store_of(&*self.broker)?.head(partition, &endpoint.settings.name, 1, 1).await?;
        Ok(head.length == 0 && head.dropped == 0)
    }
}

/// The endpoints of the settings, with the files that they name.
///
/// # Errors
/// A file that they name cannot be used, or a secret is none.
pub fn endpoints(settings: &HookSettings) -> Result<Vec<Arc<HookEndpoint>>, SettingsError> {
    let open = |endpoint| HookEndpoint::open(endpoint, settings.partitions).map(Arc::new);
    settings.endpoints.iter().map(open).collect()
}

/// Opens the store.
///
/// # Errors
/// It cannot be reached, or it has another number of partitions.
pub async fn open(broker: &dyn Broker, settings: &HookSettings) -> Result<(), HookOpenError> {
    let partitions = store_of(broker)?.open(settings.plan()).await?;
    if partitions == settings.partitions {
        return Ok(());
    }
    Err(HookOpenError::Partitions { settings: settings.partitions, store: partitions })
}

/// Why the store of hooks is not open.
#[derive(Debug, thiserror::Error)]
pub enum HookOpenError {
    /// The number of partitions is for the life of the store.
    #[error(
        "hooks.partitions is {settings}, and the store of hooks was made with {store}: set it to {store}, or take another \
         broker.redis.prefix"
    )]
    Partitions {
        /// The number in the settings.
        settings: Partition,
        /// The number that the store has.
        store: Partition,
    },
    /// The store cannot be reached.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

async fn forget(broker: Arc<dyn Broker>, partitions: Vec<Partition>) {
    for partition in partitions {
        match forget_in(&*broker, partition).await {
            Ok(names) if names.is_empty() => {}
            Ok(names) => {
                tracing::info!(
                    partition,
                    ?names,
                    "events of endpoints that are not in the settings were deleted"
                );
            }
            Err(error) => tracing::debug!(%error, partition, "forgetting endpoints of hooks failed"),
        }
    }
}

async fn forget_in(broker: &dyn Broker, partition: Partition) -> Result<Vec<String>, BrokerError> {
    store_of(broker)?.forget_endpoints(partition, FORGET_AFTER).await
}
