//! Tells systemd how the node does: ready, its status, alive, stopping. For services of `Type=notify`, such as
//! `deploy/systemd/gorani.service`; the messages are those of sd_notify(3). Without `NOTIFY_SOCKET` nothing is told.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::node::Node;

/// Time for the first contact with the broker. Without one by then the node is told to be ready all the same: it listens, it keeps trying,
/// and a start that never ends would hold up the boot and every upgrade.
const FIRST_CONTACT: Duration = Duration::from_secs(20);
/// Pause between two looks at a node that is not ready yet.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Interval of the status line, where no watchdog asks for a shorter one.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Signs of life in the time after which the watchdog ends the node.
const SIGNS_PER_WATCHDOG: u32 = 3;

/// The service manager that started this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServiceManager {
    /// Time after which it ends a service that gives no sign of life.
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// None if nobody asked to be told.
    pub(super) fn of_environment() -> Option<Self> {
        env::var_os("NOTIFY_SOCKET")?;
        Some(Self { watchdog: sd_notify::watchdog_enabled() })
    }

    /// The node listens: tells that it is ready as soon as it is, and from then on its status and that its workers turn.
    pub(super) fn started(self, address: SocketAddr, node: Arc<Node>) {
        actix_rt::spawn(async move {
            let give_up = Instant::now() + FIRST_CONTACT;
            while node.readiness().is_err() && Instant::now() < give_up && !node.lifecycle.is_shutting_down()
            {
                sleep(LOOK_EVERY).await;
            }
            if !node.lifecycle.is_shutting_down() {
                tell(&[NotifyState::Ready, NotifyState::Status(&status(address, &node))]);
            }
            self.go_on(address, &node).await;
        });
    }

    /// The node begins to stop.
    #[allow(clippy::unused_self, reason = "there is nobody to tell without one")]
    pub(super) fn stopping(self) {
        tell(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
    }

    async fn go_on(self, address: SocketAddr, node: &Node) {
        let every =
            self.watchdog.map_or(STATUS_EVERY, |limit| (limit / SIGNS_PER_WATCHDOG).min(STATUS_EVERY));
        let mut ticks = interval(every.max(LOOK_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            ticks.tick().await;
            let now = status(address, node);
            if now != told {
                tell(&[NotifyState::Status(&now)]);
                told = now;
            }
            let Some(limit) = self.watchdog else { continue };
            if timeout(limit, node.workers.turn()).await.is_ok() {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!(
                    ?limit,
                    "a worker does not turn; the watchdog is not told that the node is alive"
                );
            }
        }
    }
}

/// The line that `systemctl status` shows.
fn status(address: SocketAddr, node: &Node) -> String {
    let connections = node.admission.connections();
    if node.lifecycle.is_shutting_down() {
        return format!("Draining, {connections} connections left");
    }
    match node.readiness() {
        Ok(()) => format!("Serving {connections} connections on {address}"),
        Err(reasons) => {
            let reasons: Vec<_> = reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect();
            format!("Not ready ({}), {connections} connections on {address}", reasons.join("; "))
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd not told");
    }
}
