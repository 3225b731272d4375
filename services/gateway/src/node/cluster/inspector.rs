//! A node's answers to operators' questions. The room that gives them registers itself here, so the cluster knows nothing of it.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::LocalBoxFuture;
use serde_json::Value;

/// Answers questions about this node.
pub trait Inspector: Send + Sync {
    /// The answer; `None`: it does not know this question.
    fn inspect(self: Arc<Self>, query: Value) -> LocalBoxFuture<'static, Option<Value>>;
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

    /// The answer of this node, if somebody answers.
    pub(super) async fn inspect(&self, query: Value) -> Option<Value> {
        let inspector = self.0.get()?.upgrade()?;
        inspector.inspect(query).await
    }
}
