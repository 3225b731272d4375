//! The end of subscriptions that new settings no longer permit: a reload's order to end them, and how far it is. Record 71.
//!
//! Workers count by `Policy::still_permits`, and each session asks it again when it is to end a subscription: another reload, or a
//! token, may have come in between.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// A reload's order to end the subscriptions of a node that were counted.
#[derive(Debug)]
pub struct Enforcement {
    counted: u64,
    ended: AtomicU64,
    is_stopped: AtomicBool,
}

impl Enforcement {
    /// One that begins, for so many subscriptions.
    pub fn new(counted: u64) -> Arc<Self> {
        Arc::new(Self { counted, ended: AtomicU64::new(0), is_stopped: AtomicBool::new(false) })
    }

    /// True if no more subscriptions are to be ended: another one has begun, or the node goes down.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Subscriptions that were ended so far.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Enforcement {
    /// The last worker and the last session are done with it.
    fn drop(&mut self) {
        let (counted, ended) = (self.counted, self.ended());
        if self.is_stopped() {
            tracing::debug!(
                counted,
                ended,
                "ending subscriptions that the settings no longer permit was stopped"
            );
        } else if counted > 0 {
            tracing::info!(counted, ended, "subscriptions ended that the settings no longer permit");
        }
    }
}

/// The enforcement of a node that is under way, if there is one.
#[derive(Debug, Default)]
pub struct CurrentEnforcement(Mutex<Option<Weak<Enforcement>>>);

impl CurrentEnforcement {
    /// Another one begins. It has counted what the one before had still to end, so that one stops.
    pub fn replace(&self, next: &Arc<Enforcement>) {
        let before = self.0.lock().replace(Arc::downgrade(next));
        stop(before);
    }

    /// Ends no more subscriptions.
    pub fn stop(&self) {
        let before = self.0.lock().take();
        stop(before);
    }
}

fn stop(enforcement: Option<Weak<Enforcement>>) {
    if let Some(enforcement) = enforcement.and_then(|enforcement| enforcement.upgrade()) {
        enforcement.is_stopped.store(true, Ordering::Release);
    }
}

/// A subscription that was counted, and whose session is to look at it again.
#[derive(Debug, Clone)]
pub struct PermissionCheck {
    /// Its channel.
    pub channel: Arc<str>,
    /// The order.
    pub enforcement: Arc<Enforcement>,
}

impl PermissionCheck {
    /// The session has ended the subscription.
    pub(in crate::session) fn note_ended(&self) {
        self.enforcement.ended.fetch_add(1, Ordering::Relaxed);
    }
}
