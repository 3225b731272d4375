//! One server: its connection for requests and its connection that listens.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{runtime::Handle, task::AbortHandle};

use super::{
    super::{
        dialer::Dialer,
        listener::{ConnectionTask, Listener, PubSubCommands},
        pubsub::{PubSub, SinkHandle},
        requests::{Requests, SenderTask, SharedConnections},
        settings::RedisSettings,
    },
    slots::Address,
};

/// One server with its two connections.
pub(in crate::redis) struct Shard {
    pub(super) requests: Arc<Requests>,
    pub(in crate::redis) listener: Listener,
    pub(super) pubsub: Arc<PubSub>,
    host: String,
    /// The tasks that `start` runs; it takes them.
    idle: Mutex<Option<(SenderTask, ConnectionTask)>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Shard {
    pub(super) fn new(
        settings: &RedisSettings,
        dialect: PubSubCommands,
        dialer: Dialer,
        common: SharedConnections,
        sink: Arc<SinkHandle>,
        canary: String,
    ) -> Self {
        let pubsub = Arc::new(PubSub::new(sink, canary));
        let host = dialer.host();
        let (requests, sender) = Requests::new(settings, dialer.clone(), common.clone());
        let requests = Arc::new(requests);
        let (listener, keeper) =
            Listener::new(settings, dialect, dialer, Arc::clone(&requests), Arc::clone(&pubsub), common);
        let idle = Mutex::new(Some((sender, keeper)));
        Self { requests, listener, pubsub, host, idle, tasks: Mutex::default() }
    }

    /// The name that operators see.
    pub(super) fn name((host, port): &Address) -> String {
        format!("{host}:{port}")
    }

    /// The host of the server.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Runs the two tasks.
    pub(super) fn start(&self, runtime: &Handle) {
        if let Some((sender, keeper)) = self.idle.lock().take() {
            let tasks = [runtime.spawn(sender.run()), runtime.spawn(keeper.run())];
            self.tasks.lock().extend(tasks.map(|task| task.abort_handle()));
        }
    }

    /// Ends the two tasks.
    pub(super) fn stop(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Ends them when what is under way has been answered.
    pub(super) fn retire(self: &Arc<Self>, runtime: &Handle, patience: Duration) {
        let shard = Arc::clone(self);
        runtime.spawn(async move {
            tokio::time::sleep(patience).await;
            shard.stop();
        });
    }

    /// Resolves when both connections can be used.
    pub(super) async fn wait_up(&self) {
        tokio::join!(self.requests.status().wait_up(), self.listener.status().wait_up());
    }

    pub(super) fn is_up(&self) -> bool {
        self.requests.status().trouble().is_none() && self.listener.status().trouble().is_none()
    }

    /// Why the node would not deliver through it.
    pub(super) fn trouble(&self, patience: Duration) -> Option<String> {
        if let Some(reason) = self.requests.status().trouble().or_else(|| self.listener.status().trouble()) {
            return Some(reason);
        }
        let (refusal, silence) =
            self.pubsub.canary(|canary| (canary.refusal().map(str::to_owned), canary.silence()));
        if let Some(reason) = refusal {
            return Some(format!("Redis refuses to publish: {reason}"));
        }
        if silence.is_some_and(|silence| silence > patience) {
            return Some("the node does not hear itself".to_owned());
        }
        if self.pubsub.lost_for().is_some_and(|lost| lost > patience) {
            return Some("channels whose slots were moved are not heard".to_owned());
        }
        None
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.stop();
    }
}
