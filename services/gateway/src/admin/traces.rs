//! Traces over the admin API: one begins or ends by an action, and all are read by those who see. `docs/explain.md`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gorani_broker::Publication;
use serde_json::{Value, json};

use super::{
    answer::{AdminAnswer, Parameters},
    error::AdminError,
    state::Admin,
};
use crate::{
    event_log::trace::{
        TRACE_LASTS_MAX, TraceCounts, TraceQuery, TraceReport, TraceSpec, TraceTarget, TracedPublication,
    },
    node::{
        Node,
        cluster::{
            event_queries::AskedNode,
            inspect::NodeAnswer,
            traces::{PUBLICATION_TRACE_LASTS, TRACE_LASTS, TraceError, TracesOfNodes},
        },
    },
};

/// The request of the action.
#[derive(Debug, Default)]
pub(super) struct TraceRequest<'a> {
    /// The channel.
    pub(super) channel: Option<&'a str>,
    /// Or the user.
    pub(super) user: Option<&'a str>,
    /// Seconds until it ends by itself.
    pub(super) lasts_seconds: Option<u64>,
    /// Ends the one with this id.
    pub(super) end: Option<&'a str>,
    /// Only says which nodes would take part.
    pub(super) dry_run: bool,
}

impl From<TraceError> for AdminError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::TooMany => Self::TooManyTraces,
            TraceError::Cluster(error) => error.into(),
        }
    }
}

/// Begins a trace, or ends one.
pub(super) async fn trace(
    admin: &Admin,
    who: &str,
    request: TraceRequest<'_>,
) -> Result<AdminAnswer, AdminError> {
    let cluster = &admin.node.cluster;
    let bad = |problem: &str| AdminError::BadRequest(problem.to_owned());
    let target = match (request.channel, request.user, request.end) {
        (None, None, Some(id)) => {
            let query = if request.dry_run {
                TraceQuery::Read { id: id.to_owned() }
            } else {
                TraceQuery::End { id: id.to_owned() }
            };
            let traces = cluster.traces(query).await?;
            if traces.reports.iter().all(|(_, report)| report.traces.is_empty()) {
                return Err(AdminError::NotFound("there is no such trace".to_owned()));
            }
            return Ok(by_node(traces));
        }
        (Some(channel), None, None) => {
            admin.options(channel)?;
            TraceTarget::Channel(channel.to_owned())
        }
        (None, Some(""), None) => return Err(bad("user: anonymous users have no name to trace by")),
        (None, Some(user), None) => TraceTarget::User(user.to_owned()),
        _ => return Err(bad("name a channel, or a user, or the id of a trace to end")),
    };
    let lasts = request.lasts_seconds.map_or(TRACE_LASTS, Duration::from_secs);
    if lasts.is_zero() || lasts > TRACE_LASTS_MAX {
        return Err(AdminError::BadRequest(format!("seconds: 1 to {}", TRACE_LASTS_MAX.as_secs())));
    }
    if request.dry_run {
        return Ok(by_node(cluster.traces(TraceQuery::List).await?));
    }
    let (spec, begun) = cluster.begin_trace(target, who, lasts).await?;
    Ok(by_node(begun).with_result("trace", Some(described(&spec))))
}

/// Begins a trace of a publication that is about to be published, for who asked for it.
pub(super) async fn begin_publication(
    node: &Arc<Node>,
    who: &str,
    channel: &str,
    publication: &Publication,
) -> Result<TraceSpec, AdminError> {
    let target = TraceTarget::Publication(TracedPublication::of(channel, publication));
    let (spec, _) = node.cluster.begin_trace(target, who, PUBLICATION_TRACE_LASTS).await?;
    Ok(spec)
}

/// The traces that are on, or what one of them has noted.
pub(super) async fn read(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    let Some(id) = parameters.get("id") else {
        let traces = admin.node.cluster.traces(TraceQuery::List).await?;
        let mut all: BTreeMap<&str, &TraceSpec> = BTreeMap::new();
        for spec in traces.reports.iter().flat_map(|(_, report)| &report.traces) {
            all.insert(&spec.id, spec);
        }
        let listed: Vec<Value> = all.into_values().map(described).collect();
        return Ok(AdminAnswer::of(Value::Array(listed)).with_nodes(asked(&traces.nodes)));
    };
    let not_found =
        || AdminError::NotFound("there is no such trace; one that has ended is forgotten".to_owned());
    let id = if id.len() == TRACE_ID_DIGITS {
        newest_of(admin, id).await?.ok_or_else(not_found)?
    } else {
        id.to_owned()
    };
    let traces = admin.node.cluster.traces(TraceQuery::Read { id }).await?;
    let spec = traces.reports.iter().find_map(|(_, report)| report.traces.first()).cloned();
    let spec = spec.ok_or_else(not_found)?;
    let mut all = TraceCounts::default();
    traces.reports.iter().for_each(|(_, report)| all.add(&report.counts));
    let parts: Vec<Value> = traces
        .reports
        .iter()
        .filter_map(|(index, report)| Some(part(traces.nodes.get(*index)?, report)))
        .collect();
    let result = json!({"trace": described(&spec), "counts": all, "by_node": parts});
    Ok(AdminAnswer::of(result).with_nodes(asked(&traces.nodes)))
}

/// Digits of the id of a backend's trace; our own have fewer.
const TRACE_ID_DIGITS: usize = 32;

/// The id of the newest trace that this trace of a backend has begun: who looks at that one has no other id.
async fn newest_of(admin: &Admin, trace_id: &str) -> Result<Option<String>, AdminError> {
    let listed = admin.node.cluster.traces(TraceQuery::List).await?;
    let traces = listed.reports.iter().flat_map(|(_, report)| &report.traces);
    let meant = traces.filter(|trace| trace.trace_id.as_deref() == Some(trace_id));
    Ok(meant.max_by_key(|trace| (trace.began, &trace.id)).map(|trace| trace.id.clone()))
}

fn asked(nodes: &[AskedNode]) -> Vec<NodeAnswer> {
    nodes.iter().map(NodeAnswer::from).collect()
}

fn described(spec: &TraceSpec) -> Value {
    let TraceSpec { id, target, by, trace_id, node, began, lasts_ms } = spec;
    let (channel, user, kind) = match target {
        TraceTarget::Channel(channel) => (Some(channel), None, "channel"),
        TraceTarget::User(user) => (None, Some(user), "user"),
        TraceTarget::Publication(publication) => (Some(&publication.channel), None, "publication"),
    };
    let mut described = json!({
        "id": id, "kind": kind, "channel": channel, "user": user, "by": by, "node": node, "began_at": began,
        "ends_at": began.saturating_add(*lasts_ms),
    });
    if let (Value::Object(fields), Some(trace_id)) = (&mut described, trace_id) {
        fields.insert("trace_id".to_owned(), trace_id.as_str().into());
    }
    described
}

/// The part of one node. One that began after the trace does not take part in it.
fn part(node: &AskedNode, report: &TraceReport) -> Value {
    json!({
        "id": node.id, "name": node.name, "traces": !report.traces.is_empty(), "counts": report.counts,
        "runs": report.runs, "deliveries": report.deliveries, "forgotten": report.forgotten,
    })
}

/// The nodes that take part, as the numbers of an action.
fn by_node(traces: TracesOfNodes) -> AdminAnswer {
    let count = |index: usize| traces.reports.iter().find(|(of, _)| *of == index).map(|_| 1_u64);
    let counts: Vec<Option<u64>> = (0..traces.nodes.len()).map(count).collect();
    let rows: Vec<Value> = traces
        .nodes
        .iter()
        .zip(&counts)
        .map(|(node, count)| {
            let error = count.is_none().then_some("no answer");
            json!({"id": node.id, "name": node.name, "count": count, "error": error})
        })
        .collect();
    let total: u64 = counts.into_iter().flatten().sum();
    AdminAnswer::of(json!({"total": total, "by_node": rows})).with_nodes(asked(&traces.nodes))
}
