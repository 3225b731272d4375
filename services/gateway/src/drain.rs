//! Going down: not ready, no new connections, then the sessions are sent elsewhere, not all at once.
//! `docs/architecture.md` §5.10; record 15.
//!
//! [`crate::hub`] decides which session ends when, so it holds for every transport.

use std::time::Duration;

use tokio::time::Instant;

use crate::{node::Node, settings::Settings};

/// Pause between two counts of the connections that are left.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Sessions that are ended in a second, at least: so many reconnects burden no other node, and a node with few sessions need
/// not take `drain.seconds`.
const SESSIONS_PER_SECOND: f64 = 100.0;

/// Ends all sessions with 3001. Waits until they are gone, or until `http.shutdown_timeout` is over after the last got its end.
/// `stop_accepting` closes the listeners while connections go on.
pub async fn drain(node: &Node, settings: &Settings, stop_accepting: impl Future<Output = ()>) {
    node.lifecycle.begin_shutdown();
    let grace = settings.drain.grace;
    if !grace.is_zero() {
        tracing::info!(?grace, "stop signal received; not ready, still serving");
        tokio::time::sleep(grace).await;
    }
    stop_accepting.await;
    node.lifecycle.begin_drain();
    let connections = node.admission.connections();
    let over = spread(connections, settings.drain.seconds);
    tracing::info!(connections, ?over, "draining");
    if !over.is_zero() {
        node.workers.drain(over).await;
        wait_until_empty(node, over).await;
    }
    // Sessions that came through a listener that was closing just then.
    node.workers.drain(Duration::ZERO).await;
    wait_until_empty(node, settings.http.shutdown_timeout).await;
    if let Some(hooks) = &node.hooks {
        hooks.flush(settings.http.shutdown_timeout).await;
    }
    if let Some(delivery) = &node.hook_delivery
        && tokio::time::timeout(settings.http.shutdown_timeout, delivery.wait_until_empty()).await.is_err()
    {
        tracing::warn!("the backend did not get all events of hooks; with Redis another node sends them");
    }
    tracing::info!(connections = node.admission.connections(), "drained");
}

/// Ends all sessions with 3001 and takes no new ones, at the request of an operator. The process goes on, so that it can be looked at, and
/// listens on: who asks for a session is refused with 503. Only a restart lets clients in again.
pub async fn empty(node: &Node) {
    node.lifecycle.begin_shutdown();
    tokio::time::sleep(node.settings.drain.grace).await;
    node.lifecycle.close_to_sessions();
    let connections = node.admission.connections();
    let over = spread(connections, node.settings.drain.seconds);
    tracing::info!(connections, ?over, "draining at the request of an operator; the process goes on");
    node.workers.drain(over).await;
    wait_until_empty(node, over).await;
    node.workers.drain(Duration::ZERO).await;
    tracing::info!(connections = node.admission.connections(), "drained");
}

/// Time that it takes to end so many sessions.
fn spread(connections: usize, seconds: u32) -> Duration {
    let most = Duration::from_secs(seconds.into());
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 connections")]
    let enough = Duration::from_secs_f64(connections as f64 / SESSIONS_PER_SECOND);
    most.min(enough)
}

async fn wait_until_empty(node: &Node, time_limit: Duration) {
    let until = Instant::now() + time_limit;
    while node.admission.connections() + node.open_responses.count() > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sessions_do_not_take_the_whole_time_and_many_do_not_take_more() {
        assert_eq!(spread(0, 20), Duration::ZERO);
        assert_eq!(spread(10, 20), Duration::from_millis(100));
        assert_eq!(spread(1_000, 20), Duration::from_secs(10));
        assert_eq!(spread(100_000, 20), Duration::from_secs(20));
        assert_eq!(spread(100_000, 0), Duration::ZERO);
    }
}
