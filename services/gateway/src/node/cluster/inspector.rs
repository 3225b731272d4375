//! A node's answers to operators' questions. The room that gives them registers itself here, so the cluster knows nothing of it.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

/// Answers questions about this node.
pub trait Inspector: Send + Sync {
    /// The answer; `None`: it does not know this question.
    fn inspect(self: Arc<Self>, query: Value) -> LocalBoxFuture<'static, Option<Value>>;

    /// Notes what the node did at a signal of the system, which nobody asked for by the admin API. `is_done`: false if it was refused.
    fn note_signal(&self, action: &'static str, is_done: bool, took: Duration);
}

/// The registered inspector. It does not keep the node, nor does the node keep it.
#[derive(Default)]
pub(super) struct RegisteredInspector(OnceLock<Weak<dyn Inspector>>);

impl RegisteredInspector {
    /// Only the first one is kept.
    pub(super) fn register(&self, inspector: Weak<dyn Inspector>) {
        // A node has one admin API.
        let _ = self.0.set(inspector);
    }

    /// Has somebody who keeps an audit log note what the node did at a signal.
    pub(super) fn note_signal(&self, action: &'static str, is_done: bool, took: Duration) {
        if let Some(inspector) = self.0.get().and_then(Weak::upgrade) {
            inspector.note_signal(action, is_done, took);
        }
    }

    /// The answer of this node, if somebody answers.
    pub(super) async fn inspect(&self, query: Value) -> Option<Value> {
        let inspector = self.0.get()?.upgrade()?;
        inspector.inspect(query).await
    }
}
