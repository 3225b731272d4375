//! A caller that waits until a subscription is confirmed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::BrokerError;

/// A caller that waits until names are confirmed.
#[derive(Debug)]
pub(in crate::redis) struct Waiter {
    missing: AtomicUsize,
    reply: Mutex<Option<oneshot::Sender<Result<(), BrokerError>>>>,
}

impl Waiter {
    /// One that waits for so many names.
    pub(in crate::redis) fn new(names: usize) -> (Arc<Self>, oneshot::Receiver<Result<(), BrokerError>>) {
        let (reply, answer) = oneshot::channel();
        let waiter = Self { missing: AtomicUsize::new(names), reply: Mutex::new(Some(reply)) };
        if names == 0 {
            waiter.end(Ok(()));
        }
        (Arc::new(waiter), answer)
    }

    /// One of the names is confirmed.
    pub(in crate::redis) fn count_down(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.end(Ok(()));
        }
    }

    /// True if the caller no longer waits.
    pub(super) fn is_given_up(&self) -> bool {
        self.reply.lock().as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Only the first end counts.
    pub(in crate::redis) fn end(&self, answer: Result<(), BrokerError>) {
        if let Some(reply) = self.reply.lock().take() {
            let _ = reply.send(answer);
        }
    }
}
