//! The contract suite, on three nodes, with a real server and real time.

use std::{sync::Arc, time::Duration};

use super::{
    super::{RedisBroker, RedisSettings},
    server::Server,
};
use crate::contract::{Harness, Node};

struct Standalone {
    server: Server,
}

impl Standalone {
    fn start() -> Self {
        Self { server: Server::start() }
    }
}

impl Harness for Standalone {
    fn max_nodes(&self) -> usize {
        3
    }

    async fn node(&self) -> Node {
        let settings =
            RedisSettings { url: self.server.url(), require_at_start: true, ..RedisSettings::default() };
        Node::start(Arc::new(RedisBroker::new(settings).unwrap())).await
    }

    fn span(&self) -> Duration {
        Duration::from_millis(300)
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

crate::broker_contract!(Standalone::start());
