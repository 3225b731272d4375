//! The contract suite, on three nodes, with real servers and real time: one server, one behind Sentinels, a cluster.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::Mutex;

use super::{
    super::{RedisBroker, RedisSettings},
    cluster::Cluster,
    sentinel::Trio,
    server::Server,
};
use crate::contract::{ContractNode, Harness};

/// Time that an answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Servers, and settings that find them; tests that run at the same time share them under different prefixes.
struct Medium<T> {
    settings: RedisSettings,
    _servers: Arc<T>,
}

impl<T: Send + Sync> Medium<T> {
    async fn shared(
        place: &Mutex<Weak<T>>,
        start: impl AsyncFnOnce() -> T,
        settings: impl FnOnce(&T) -> RedisSettings,
    ) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mut place = place.lock().await;
        let servers = match place.upgrade() {
            Some(servers) => servers,
            None => Arc::new(start().await),
        };
        *place = Arc::downgrade(&servers);
        let prefix = format!("test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // No server fails here: a machine that is busy with other tests must not look like one that does.
        let settings = RedisSettings {
            prefix,
            require_at_start: true,
            request_timeout: TIME_LIMIT,
            canary_timeout: TIME_LIMIT,
            ..settings(&servers)
        };
        Self { settings, _servers: servers }
    }
}

impl<T: Send + Sync> Harness for Medium<T> {
    fn max_nodes(&self) -> usize {
        3
    }

    async fn node(&self) -> ContractNode {
        ContractNode::start(Arc::new(RedisBroker::new(self.settings.clone()).unwrap())).await
    }

    fn span(&self) -> Duration {
        Duration::from_millis(600)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

mod standalone {
    use super::*;

    async fn medium() -> Medium<Server> {
        let settings = |server: &Server| RedisSettings { url: server.url(), ..RedisSettings::default() };
        Medium::shared(&Mutex::new(Weak::new()), async || Server::start(), settings).await
    }

    crate::broker_contract!(medium().await);
}

mod behind_sentinels {
    use super::*;

    async fn medium() -> Medium<Trio> {
        static SERVERS: Mutex<Weak<Trio>> = Mutex::const_new(Weak::new());
        let settings =
            |trio: &Trio| RedisSettings { sentinel: Some(trio.settings()), ..RedisSettings::default() };
        Medium::shared(&SERVERS, Trio::start, settings).await
    }

    crate::broker_contract!(medium().await);
}

mod in_a_cluster {
    use super::*;

    async fn medium() -> Medium<Cluster> {
        static SERVERS: Mutex<Weak<Cluster>> = Mutex::const_new(Weak::new());
        let settings = |cluster: &Cluster| cluster.settings_with(RedisSettings::default());
        Medium::shared(&SERVERS, Cluster::start, settings).await
    }

    crate::broker_contract!(medium().await);
}
