//! Traces of the whole cluster: they begin on every node, and what they note is read from every node. Decision record 67.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::Rng as _;

use super::{
    ClusterMember,
    event_queries::{AskedNode, EventsOfNodes},
    peers::ClusterError,
};
use crate::{
    clock::unix_ms,
    event_log::{
        query::{EventAnswer, EventQuery},
        trace::{TRACE_LASTS_MAX, TRACES_MAX, TraceQuery, TraceReport, TraceSpec, TraceTarget},
    },
    random,
};

/// A trace of a channel or a user lasts so long, unless it is asked for another time.
pub const TRACE_LASTS: Duration = Duration::from_secs(600);
/// A trace of one publication lasts so long.
pub const PUBLICATION_TRACE_LASTS: Duration = Duration::from_secs(60);

/// Why a trace does not begin.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There are as many as may be.
    #[error("{} traces are on already: end one, or wait", TRACES_MAX)]
    TooMany,
    /// Nodes cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The traces of each node.
#[derive(Debug)]
pub struct TracesOfNodes {
    /// The nodes that were asked.
    pub nodes: Vec<AskedNode>,
    /// Their answers, each with the index of its node.
    pub reports: Vec<(usize, TraceReport)>,
}

impl ClusterMember {
    /// Begins a trace on all nodes; `by`: who asked for it. One that does not answer is named, and its part is missing.
    ///
    /// # Errors
    /// There are [`TRACES_MAX`] already, or nodes cannot be asked. Then none has begun.
    pub async fn begin_trace(
        self: &Arc<Self>,
        target: TraceTarget,
        by: &str,
        lasts: Duration,
    ) -> Result<(TraceSpec, TracesOfNodes), TraceError> {
        let listed = self.traces(TraceQuery::List).await?;
        let traces = listed.reports.iter().flat_map(|(_, report)| &report.traces);
        if traces.map(|trace| &trace.id).collect::<BTreeSet<_>>().len() >= TRACES_MAX {
            return Err(TraceError::TooMany);
        }
        let lasts = lasts.min(TRACE_LASTS_MAX);
        let spec = TraceSpec {
            id: format!("{:016x}", random::rng().next_u64()),
            target,
            by: by.to_owned(),
            node: self.policy.node_name.to_string(),
            began: unix_ms(),
            lasts_ms: u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX),
        };
        let begun = self.traces(TraceQuery::Begin(spec.clone())).await?;
        if begun.reports.iter().any(|(_, report)| report.is_full) {
            // Others have begun theirs at the same time. A node that has no room for it has noted nothing.
            self.traces(TraceQuery::End { id: spec.id }).await?;
            return Err(TraceError::TooMany);
        }
        Ok((spec, begun))
    }

    /// Asks all nodes about traces.
    ///
    /// # Errors
    /// Nodes cannot be asked, or this node is busy with others.
    pub async fn traces(self: &Arc<Self>, query: TraceQuery) -> Result<TracesOfNodes, ClusterError> {
        let EventsOfNodes { nodes, answers } = self.events_of_all(EventQuery::Trace(query)).await?;
        let report = |(index, answer)| match answer {
            EventAnswer::Trace(report) => Some((index, *report)),
            _ => None,
        };
        Ok(TracesOfNodes { nodes, reports: answers.into_iter().filter_map(report).collect() })
    }
}
