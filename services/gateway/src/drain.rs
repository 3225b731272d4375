//! Going down: not ready, no new connections, then the sessions are told to come back elsewhere.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{hub::control::Control, node::Node};

/// How often the connections that are left are counted.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ends all sessions with 3001, and waits until they are gone or `http.shutdown_timeout` is over.
pub async fn drain(node: &Arc<Node>) {
    node.begin_drain();
    tracing::info!(connections = node.connections(), "draining");
    node.control(Control::Drain).await;
    let until = Instant::now() + node.settings.http.shutdown_timeout;
    while node.connections() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
