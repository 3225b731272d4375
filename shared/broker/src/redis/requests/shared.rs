//! The parts that the connections of all servers of a broker share.

use std::sync::Arc;

use crate::redis::{
    counters::Counters, request::RequestLimits, scripts::Scripts, shards::redirects::Redirects,
};

/// The parts that the connections of all servers of a broker share.
#[derive(Debug, Clone)]
pub(in crate::redis) struct SharedConnections {
    pub(in crate::redis) limits: Arc<RequestLimits>,
    pub(in crate::redis) scripts: Arc<Scripts>,
    pub(in crate::redis) counters: Arc<Counters>,
    /// The requests that a server of a cluster redirected; none without a cluster.
    pub(in crate::redis) redirects: Option<Arc<Redirects>>,
}

impl SharedConnections {
    /// Something happened after which the servers of the cluster may be others.
    pub(in crate::redis) fn mark_unverified(&self) {
        if let Some(redirects) = &self.redirects {
            redirects.mark_unverified();
        }
    }
}
