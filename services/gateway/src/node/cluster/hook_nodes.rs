//! The nodes of the cluster as hooks see them.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::BoxFuture;
use gorani_broker::BrokerError;

use super::ClusterMember;
use crate::hooks::lease::NodeWatch;

/// Tells hooks which nodes live.
pub(in crate::node) struct HookNodes(pub(in crate::node) Arc<ClusterMember>);

impl NodeWatch for HookNodes {
    fn live(&self) -> BTreeSet<String> {
        self.0.peers.view.lock().known().cloned().collect()
    }

    fn dead_among(
        &self,
        nodes: BTreeSet<String>,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
        let cluster = self.0.clone();
        Box::pin(async move { cluster.dead_among(nodes.iter().map(String::as_str), false).await })
    }
}
