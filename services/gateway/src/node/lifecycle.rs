//! The stage of a node on its way down, and the responses that it waits for then. [`crate::drain`] moves the stage on; listeners
//! and health ask.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::watch;

/// The way down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum LifecycleStage {
    #[default]
    Running,
    /// It says that it is not ready, and serves on.
    Leaving,
    /// No new sessions come in; those that are here are sent away.
    Draining,
}

/// The stage, and the tasks that wait for it.
pub struct Lifecycle {
    stage: watch::Sender<LifecycleStage>,
    /// An operator has the node emptied: it takes no sessions, and answers all other requests on.
    is_closed_to_sessions: AtomicBool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        let stage = watch::Sender::new(LifecycleStage::default());
        Self { stage, is_closed_to_sessions: AtomicBool::new(false) }
    }
}

impl Lifecycle {
    /// True once the node is stopping: it is not ready, though it may serve on for the grace of `drain.grace`.
    pub fn is_shutting_down(&self) -> bool {
        *self.stage.borrow() >= LifecycleStage::Leaving
    }

    /// True once the node takes no new sessions. Every listener asks before it opens one.
    pub fn is_draining(&self) -> bool {
        *self.stage.borrow() == LifecycleStage::Draining || self.is_closed_to_sessions.load(Ordering::Acquire)
    }

    /// Not ready from here on.
    pub fn begin_shutdown(&self) {
        self.stage.send_replace(LifecycleStage::Leaving);
    }

    /// No new sessions from here on.
    pub fn begin_drain(&self) {
        self.stage.send_replace(LifecycleStage::Draining);
    }

    /// No new sessions from here on, while the listeners stay open: health, metrics and the admin page are served.
    pub fn close_to_sessions(&self) {
        self.is_closed_to_sessions.store(true, Ordering::Release);
    }

    /// Resolves when the node goes down and takes nothing new any more.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut stage = self.stage.subscribe();
        async move {
            // It fails only when the node is gone.
            let _ = stage.wait_for(|stage| *stage == LifecycleStage::Draining).await;
        }
    }
}

/// The number of responses that are being written: the last bytes of a stream are written after its session has ended.
#[derive(Default)]
pub struct OpenResponses(Arc<AtomicUsize>);

/// A response that is being written; over when dropped.
pub struct OpenResponse(Arc<AtomicUsize>);

impl OpenResponses {
    /// One more response is being written.
    pub fn begin(&self) -> OpenResponse {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenResponse(self.0.clone())
    }

    /// Responses that are being written.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenResponse {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
