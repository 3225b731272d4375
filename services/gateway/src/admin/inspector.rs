//! Questions between the admin APIs of the nodes, and the answers of this one. A node of another version that does not know a question
//! says so, and its part is missing.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    audit::{AuditRecord, AuditSource},
    error::AdminError,
    report::NodeReport,
    state::Admin,
};
use crate::{
    clock::unix_ms,
    drain,
    hub::scan::detail::ConnectionFilter,
    node::{
        cluster::{ClusterError, inspect::NodeAnswer, inspector::Inspector},
        live::ReloadMode,
    },
    settings::visible::visible,
    telemetry::{self, last_lines::last_lines},
};

/// A question about a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "query", rename_all = "snake_case")]
pub enum InspectQuery {
    /// A session ended by a logout.
    EndSession {
        /// Its id.
        id: String,
        /// Unix seconds until which its cookie would be good.
        until: u64,
    },
    /// The node's state. With series after a Unix second, if it is given.
    Report {
        /// The second.
        since: Option<u64>,
    },
    /// Channels by name.
    Channels {
        /// Names like this only.
        pattern: Option<String>,
        /// Names above this one.
        after: String,
        /// At most so many.
        limit: usize,
    },
    /// Channels with the most subscribers.
    TopChannels {
        /// At most so many.
        limit: usize,
    },
    /// The number of a channel's subscribers.
    CountSubscribers {
        /// The channel.
        channel: String,
    },
    /// Subscribers of a channel.
    Subscribers {
        /// The channel.
        channel: String,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
    },
    /// Connections.
    Connections {
        /// Only such.
        filter: ConnectionFilter,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
    },
    /// The number of connections that pass a filter, as far as they can be counted in one answer.
    CountConnections {
        /// Only such.
        filter: ConnectionFilter,
    },
    /// The settings that may be seen.
    Settings,
    /// The last lines of the audit log.
    Audit,
    /// The last lines of the log.
    Logs,
    /// The part that the session of a client alone knows of itself.
    Session {
        /// Its client id.
        client: String,
    },
    /// Sends a client a ping.
    Ping {
        /// Its client id.
        client: String,
    },
    /// Sends the clients elsewhere and takes no new ones.
    Drain,
    /// Writes lines of another level from now on.
    LogLevel {
        /// As `log.level`.
        level: String,
    },
    /// Reads the settings again.
    Reload(ReloadMode),
}

/// Connections that are counted at most for the numbers of an action.
pub const COUNTED_MAX: usize = 10_000;

impl Inspector for Admin {
    fn inspect(self: Arc<Self>, query: Value) -> LocalBoxFuture<'static, Option<Value>> {
        async move {
            // A question of a newer version.
            let query = serde_json::from_value(query).ok()?;
            match self.answer(query).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(%error, "question of an operator not answered");
                    None
                }
            }
        }
        .boxed_local()
    }

    fn note_signal(&self, action: &'static str, is_done: bool, took: Duration) {
        self.audit.write(AuditRecord {
            at: unix_ms(),
            node: self.node.policy.node_name.to_string(),
            who: String::new(),
            role: String::new(),
            source: AuditSource::Signal,
            address: None,
            action: action.to_owned(),
            target: String::new(),
            result: if is_done { "ok" } else { "refused" }.to_owned(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }
}

impl Admin {
    /// Asks all nodes, or the one that is named.
    pub(super) async fn ask(
        &self,
        only: Option<&str>,
        query: &InspectQuery,
    ) -> Result<Vec<NodeAnswer>, AdminError> {
        let query = serde_json::to_value(query).map_err(|_| AdminError::Internal)?;
        let asked: Result<_, ClusterError> = self.node.cluster.inspect(only, &query).await;
        Ok(asked?)
    }

    /// The answer of this node; `None` if it has none.
    async fn answer(&self, query: InspectQuery) -> Result<Option<Value>, ClusterError> {
        let cluster = &self.node.cluster;
        let answer = match query {
            InspectQuery::EndSession { id, until } => {
                self.ended.end(&id, until);
                json!({})
            }
            InspectQuery::Report { since } => return Ok(to_value(&NodeReport::of(self, since))),
            InspectQuery::Channels { pattern, after, limit } => {
                let page = cluster.own_channels(pattern.as_deref(), &after, limit).await?;
                json!({"entries": page.entries, "cut_at": page.cut_at})
            }
            InspectQuery::TopChannels { limit } => {
                return Ok(to_value(&cluster.own_top_channels(limit).await?));
            }
            InspectQuery::CountSubscribers { channel } => json!(cluster.own_subscribers(&channel).await?),
            InspectQuery::Subscribers { channel, after, limit } => {
                let page = cluster.own_subscriber_list(&channel, &after, limit).await?;
                json!({"entries": page.entries, "cut_at": page.cut_at})
            }
            InspectQuery::Connections { filter, after, limit } => {
                let page = cluster.own_details(&filter, &after, limit).await?;
                json!({"entries": page.entries, "cut_at": page.cut_at})
            }
            InspectQuery::CountConnections { filter } => {
                let page = cluster.own_details(&filter, "", COUNTED_MAX).await?;
                let is_all = page.cut_at.is_none() && page.entries.len() < COUNTED_MAX;
                json!({"count": page.entries.len(), "complete": is_all})
            }
            InspectQuery::Settings => return Ok(to_value(&visible(&self.node.live.running()))),
            InspectQuery::Logs => {
                let (lines, counts) = last_lines();
                json!({"lines": lines, "counts": counts})
            }
            InspectQuery::Audit => return Ok(to_value(&self.audit.records())),
            InspectQuery::Session { client } => {
                to_value(&cluster.own_session(&client).await?).unwrap_or_default()
            }
            InspectQuery::Ping { client } => match cluster.own_ping(&client).await? {
                None => json!({"count": 0}),
                Some(Some(time)) => json!({"count": 1, "rtt_ms": time.as_secs_f64() * 1000.0}),
                Some(None) => json!({"count": 1, "error": "no pong came"}),
            },
            InspectQuery::Drain => {
                let count = self.node.admission.connections();
                let node = self.node.clone();
                if !node.lifecycle.is_shutting_down() {
                    self.node.tasks.spawn(async move { drain::empty(&node).await });
                }
                json!({"count": count})
            }
            InspectQuery::LogLevel { level } => match telemetry::set_level(&level) {
                Ok(()) => json!({"count": 1}),
                Err(error) => json!({"error": error.to_string()}),
            },
            InspectQuery::Reload(mode) => match self.node.live.reload(mode).await {
                Ok(report) => {
                    json!({"count": report.live.len() + report.certificates.len(), "report": report})
                }
                Err(error) => json!({"error": error.to_string()}),
            },
        };
        Ok(Some(answer))
    }
}

fn to_value(value: &impl Serialize) -> Option<Value> {
    serde_json::to_value(value).ok()
}
