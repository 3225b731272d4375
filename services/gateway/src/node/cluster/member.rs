//! This node among the others: what asking and answering them needs.

use std::sync::Arc;

use gorani_broker::Broker;
use tokio::time::Instant;

use super::{
    local_queries::LocalQueries,
    own_address::Addresses,
    peers::{ClusterInbox, Peers},
};
use crate::{
    hub::{history_reads::HistoryReads, removals::PRESENCE_TTL},
    metrics::Metrics,
    node::workers::Workers,
    session::shared::policy::Policy,
    settings::{MembershipSettings, Settings},
    tasks::Tasks,
};

/// This node among the others.
pub struct ClusterMember {
    pub(super) id: Arc<str>,
    pub(super) started: Instant,
    pub(super) settings: MembershipSettings,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) policy: Arc<Policy>,
    pub(super) workers: Arc<Workers>,
    pub(super) queries: LocalQueries,
    pub(super) reads: Arc<HistoryReads>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: Tasks,
    pub(in crate::node) peers: Peers,
    pub(super) addresses: Addresses,
}

impl ClusterMember {
    /// A node that knows of no other one yet, and what the others write to it.
    pub(in crate::node) fn new(
        settings: &Settings,
        started: Instant,
        broker: Arc<dyn Broker>,
        policy: Arc<Policy>,
        workers: Arc<Workers>,
        reads: Arc<HistoryReads>,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, ClusterInbox) {
        let id = policy.node_id.clone();
        let (peers, mail) = Peers::new(id.clone(), settings.cluster.lease, PRESENCE_TTL, metrics.clone());
        let cluster = Arc::new(Self {
            queries: LocalQueries::new(id.clone(), workers.clone(), metrics.clone()),
            id,
            started,
            settings: settings.cluster.clone(),
            broker,
            policy,
            tasks: workers.tasks.clone(),
            workers,
            reads,
            metrics,
            peers,
            addresses: Addresses::new(settings),
        });
        (cluster, mail)
    }
}
