//! The embedded broker under the only node of a simulated world: the real [`MemoryBroker`] in simulated time. All it accepts goes
//! into the log; what it forgets with its process, and when a position is too old, begins anew there.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use gorani_broker::{
    Broker, BrokerError, ClientInfo, HistoryPage, HistoryQuery, MemoryBroker, MemorySettings, Position,
    PresenceQuery, Publication, PublishOptions, Published, Retention, memory::Clock,
};
use tokio::time::Instant;

use super::network::SimNetwork;

/// One of so many seeds has the embedded broker. It has no clients of STOMP.
const EVERY: u64 = 8;

/// True if the world of a seed has one node with the embedded broker.
pub(super) fn is_embedded(seed: u64) -> bool {
    seed % EVERY == EVERY / 2
}

/// The simulation's clock.
pub(super) struct SimulatedClock(pub(super) Instant);

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type EmbeddedAnswer<T> = BoxFuture<'static, Result<T, BrokerError>>;

/// The embedded broker over simulated time, which logs what it accepts.
pub(super) struct EmbeddedBroker {
    network: SimNetwork,
    memory: Arc<MemoryBroker>,
}

impl EmbeddedBroker {
    /// The broker of a process that starts: it knows nothing of what was before.
    pub(super) fn start(network: &SimNetwork) -> Self {
        let clock = Arc::new(SimulatedClock(Instant::now()));
        let memory = Arc::new(MemoryBroker::with_clock(MemorySettings::default(), clock));
        let mut state = network.0.lock();
        state.server.embedded = Arc::downgrade(&memory);
        state.server.forget_embedded();
        drop(state);
        Self { network: network.clone(), memory }
    }

    /// The position of a stream, as the broker says.
    fn stands(&self, channel: &str, position: &Position) {
        if !position.epoch.is_empty() {
            self.network.0.lock().server.embedded_stands(channel, position);
        }
    }
}

impl Broker for EmbeddedBroker {
    forward_broker!(
        memory: start, publish_join, publish_leave, subscribe, unsubscribe, renew, remove_history, presence_add, presence_remove, presence, presence_stats, presence_nodes, presence_reap, cluster, queues, hook_store, health, stats
    );

    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> EmbeddedAnswer<Published> {
        let mut accepted = publication.clone();
        // Its answers are there when the call returns.
        let Some(result) = self.memory.publish(channel, publication, options).now_or_never() else {
            return ready(Err(BrokerError::Unavailable("an answer that is not there".to_owned()))).boxed();
        };
        if let Ok(published) = &result {
            self.stands(channel, &published.position);
            (accepted.offset, accepted.epoch) = (published.position.offset, published.position.epoch.clone());
            self.network.0.lock().server.log.accepted(channel, &accepted);
        }
        ready(result).boxed()
    }

    fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> EmbeddedAnswer<HistoryPage> {
        let Some(result) = self.memory.history(channel, query, retention).now_or_never() else {
            return ready(Err(BrokerError::Unavailable("an answer that is not there".to_owned()))).boxed();
        };
        if let Ok(page) = &result {
            self.stands(channel, &page.top);
        }
        ready(result).boxed()
    }
}

/// Clients present in a channel of an embedded broker, by id; nobody once its process has ended.
pub(super) fn present(memory: &Weak<MemoryBroker>, channel: &str) -> Vec<Arc<ClientInfo>> {
    let Some(memory) = memory.upgrade() else { return Vec::new() };
    let page = memory.presence(channel, PresenceQuery::default()).now_or_never();
    page.and_then(Result::ok).map(|page| page.clients).unwrap_or_default()
}

/// The history of a channel expires. False if the process of the broker has ended.
pub(super) fn expire(memory: &Weak<MemoryBroker>, channel: &str) -> bool {
    let removed = memory.upgrade().and_then(|memory| memory.remove_history(channel).now_or_never());
    removed.is_some_and(|removed| removed.is_ok())
}
