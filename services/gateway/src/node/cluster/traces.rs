//! Traces of the whole cluster: they begin on every node, and what they note is read from every node. Decision record 67.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::Rng as _;
use tokio::time::Instant;

use super::{
    ClusterMember,
    event_queries::{AskedNode, EventsOfNodes},
    peers::ClusterError,
};
use crate::{
    clock::unix_ms,
    event_log::{
        query::{EventAnswer, EventQuery},
        trace::{
            BY_TRACEPARENT, SAMPLED_TRACES_MAX, TRACE_LASTS_MAX, TRACES_MAX, TraceQuery, TraceReport,
            TraceSpec, TraceTarget, TracedPublication,
        },
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
    /// There are [`TRACES_MAX`] already, or nodes cannot be asked. One that has begun somewhere nevertheless ends by itself.
    pub async fn begin_trace(
        self: &Arc<Self>,
        target: TraceTarget,
        by: &str,
        lasts: Duration,
    ) -> Result<(TraceSpec, TracesOfNodes), TraceError> {
        let spec = self.trace_spec(target, by, lasts);
        let begun = self.begin_everywhere(&spec).await?;
        Ok((spec, begun))
    }

    /// Begins the trace of a publication whose sampled context is of the trace with this id. `None`: there are as many as such
    /// contexts may begin, or nodes cannot be asked; then it is counted, and the publication goes out without.
    pub async fn begin_sampled_trace(
        self: &Arc<Self>,
        publication: TracedPublication,
        trace_id: String,
    ) -> Option<TraceSpec> {
        let target = TraceTarget::Publication(publication);
        let spec = TraceSpec {
            trace_id: Some(trace_id),
            ..self.trace_spec(target, BY_TRACEPARENT, PUBLICATION_TRACE_LASTS)
        };
        let counts = &self.metrics.traces.of_publications;
        let now = Instant::now();
        if !self.sampled_traces.admit(&spec.id, now, now + PUBLICATION_TRACE_LASTS) {
            counts.too_many.inc();
            return None;
        }
        match self.begin_everywhere(&spec).await {
            Ok(_) => {
                counts.begun.inc();
                Some(spec)
            }
            Err(error) => {
                // Not a warning: there would be one for each publication. The counter tells.
                tracing::debug!(%error, "a sampled publication is not traced");
                let result =
                    if matches!(error, TraceError::TooMany) { &counts.too_many } else { &counts.failed };
                result.inc();
                self.sampled_traces.pause(&spec.id, Instant::now());
                None
            }
        }
    }

    fn trace_spec(&self, target: TraceTarget, by: &str, lasts: Duration) -> TraceSpec {
        TraceSpec {
            id: format!("{:016x}", random::rng().next_u64()),
            target,
            by: by.to_owned(),
            trace_id: None,
            node: self.policy.node_name.to_string(),
            began: unix_ms(),
            lasts_ms: u64::try_from(lasts.min(TRACE_LASTS_MAX).as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn begin_everywhere(self: &Arc<Self>, spec: &TraceSpec) -> Result<TracesOfNodes, TraceError> {
        let listed = self.traces(TraceQuery::List).await?;
        let traces = || listed.reports.iter().flat_map(|(_, report)| &report.traces);
        let all: BTreeSet<_> = traces().map(|trace| &trace.id).collect();
        let sampled: BTreeSet<_> =
            traces().filter(|trace| trace.trace_id.is_some()).map(|trace| &trace.id).collect();
        let is_full =
            all.len() >= TRACES_MAX || (spec.trace_id.is_some() && sampled.len() >= SAMPLED_TRACES_MAX);
        if is_full {
            return Err(TraceError::TooMany);
        }
        let begun = self.traces(TraceQuery::Begin(spec.clone())).await?;
        if begun.reports.iter().any(|(_, report)| report.is_full) {
            // Others have begun theirs at the same time. A node that has no room for it has noted nothing.
            self.traces(TraceQuery::End { id: spec.id.clone() }).await?;
            return Err(TraceError::TooMany);
        }
        Ok(begun)
    }

    /// Asks all nodes about traces.
    ///
    /// # Errors
    /// Nodes cannot be asked, or this node is busy with others.
    pub async fn traces(self: &Arc<Self>, query: TraceQuery) -> Result<TracesOfNodes, ClusterError> {
        if let TraceQuery::End { id } = &query {
            self.sampled_traces.forget(id);
        }
        let EventsOfNodes { nodes, answers } = self.events_of_all(EventQuery::Trace(query)).await?;
        let report = |(index, answer)| match answer {
            EventAnswer::Trace(report) => Some((index, *report)),
            _ => None,
        };
        Ok(TracesOfNodes { nodes, reports: answers.into_iter().filter_map(report).collect() })
    }
}
