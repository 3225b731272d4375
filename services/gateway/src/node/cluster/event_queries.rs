//! Queries about what happened, to all nodes: the own answer and those of the others, each with the node that gave it. A node that
//! gives none is named, and its part is never taken for nothing.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    ClusterMember,
    envelope::{ClusterAnswer, ClusterQuery, EnvelopeBody},
    peers::ClusterError,
    rpc::Recipients,
};
use crate::{
    clock::unix_ms,
    event_log::query::{EVIDENCE_MAX, EventAnswer, EventQuery, later},
    hub::scan::ScanRequest,
};

/// A node that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AskedNode {
    /// Random id of this run of the node.
    pub id: String,
    /// Its name; with its id where several nodes have the same.
    pub name: String,
    /// Version of the server; empty if it is not known.
    pub version: String,
    /// False if it gave no answer in time, or does not know the query: its part is missing.
    pub answered: bool,
    /// True if it is of a version that does not know the query: it was not waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unsupported: bool,
    /// Milliseconds until its answer.
    pub ms: u64,
}

/// The answers of nodes to one query.
#[derive(Debug)]
pub struct EventsOfNodes {
    /// All nodes that were asked, this one first.
    pub nodes: Vec<AskedNode>,
    /// The answers, each with the index of its node.
    pub answers: Vec<(usize, EventAnswer)>,
}

impl ClusterMember {
    /// Asks all nodes. While the broker carries no queries this node answers alone, and the parts of those that it knows of are missing:
    /// then an operator looks first of all. It fails only if this node is busy with others.
    pub async fn events_of_all(self: &Arc<Self>, query: EventQuery) -> Result<EventsOfNodes, ClusterError> {
        let began = Instant::now();
        let ask = EnvelopeBody::Ask(ClusterQuery::Events(query.clone()));
        let others = async {
            match self.write(Recipients::Others, ask.clone()).await {
                Ok(asked) => Ok(asked.timed_answers().await),
                Err(ClusterError::Broker(error)) => {
                    tracing::debug!(%error, "other nodes cannot be asked what happened there");
                    Ok((Vec::new(), self.peers.view.lock().known().cloned().collect()))
                }
                Err(error) => Err(error),
            }
        };
        let own = async { (self.local_events(query).await, began.elapsed()) };
        let (others, (own, own_took)) = tokio::join!(others, own);
        let (answers, silent) = others?;
        let own = match own {
            Ok(own) => Some(own),
            Err(ClusterError::Unanswered(_)) => None,
            Err(error) => return Err(error),
        };
        let mut nodes = vec![AskedNode {
            id: self.id.to_string(),
            name: self.policy.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            answered: own.is_some(),
            unsupported: false,
            ms: millis(own_took),
        }];
        let mut all: Vec<(usize, EventAnswer)> = own.into_iter().map(|own| (0, own)).collect();
        let silent = silent.into_iter().map(|id| {
            let unsupported = self.cannot_be_asked(&id, &ask);
            (id, None, unsupported, Duration::ZERO)
        });
        let answers = answers.into_iter().map(|(id, answer, took)| {
            let unsupported = matches!(answer, ClusterAnswer::Unsupported);
            let answer = if let ClusterAnswer::Events(answer) = answer { Some(answer) } else { None };
            (id, answer, unsupported, took)
        });
        for (id, answer, unsupported, took) in answers.chain(silent) {
            let description = self.peers.description(&id);
            let name = if description.name.is_empty() { id.clone() } else { description.name };
            let (version, answered) = (description.version, answer.is_some());
            all.extend(answer.map(|answer| (nodes.len(), answer)));
            nodes.push(AskedNode { id, name, version, answered, unsupported, ms: millis(took) });
        }
        tell_apart(&mut nodes);
        Ok(EventsOfNodes { nodes, answers: all })
    }

    /// The answer of this node.
    pub(super) async fn local_events(&self, mut query: EventQuery) -> Result<EventAnswer, ClusterError> {
        if let EventQuery::OfUser(of_user) = &mut query {
            if of_user.commands && !self.policy.command_log.watch(&of_user.user) {
                tracing::warn!("commands of too many users are asked for by tails; some are not told");
            }
            // Before the workers are asked: each of them has noted all that is older.
            of_user.begin(&self.id, unix_ms());
        }
        let query = Arc::new(query);
        let answers = self.ask_workers(|answer| ScanRequest::Events { query: query.clone(), answer }).await?;
        let all = answers.into_iter().reduce(|mut all, more| {
            all.add(more);
            all
        });
        let Some(mut all) = all else {
            return Err(ClusterError::Unanswered(vec![self.id.to_string()]));
        };
        if let (EventAnswer::Evidence(evidence), EventQuery::Evidence(about)) = (&mut all, &*query) {
            let events = &self.workers.events;
            (evidence.failures, evidence.known_since.failures) =
                events.failures_of(&about.channel, EVIDENCE_MAX);
            let (gaps, since) = events.gaps(EVIDENCE_MAX);
            evidence.gaps.extend(gaps);
            evidence.known_since.gaps = later(evidence.known_since.gaps, since);
        }
        if let (EventAnswer::OfUser(events), EventQuery::OfUser(of_user)) = (&mut all, &*query) {
            if of_user.commands {
                self.policy.command_log.add_to(events, of_user);
            }
            events.cut(of_user.limit);
        }
        Ok(all)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Several nodes of one host may have the same name.
fn tell_apart(nodes: &mut [AskedNode]) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for node in &*nodes {
        *counts.entry(node.name.clone()).or_default() += 1;
    }
    for node in nodes {
        if counts.get(&node.name).is_some_and(|count| *count > 1) {
            node.name = format!("{}/{}", node.name, node.id);
        }
    }
}
