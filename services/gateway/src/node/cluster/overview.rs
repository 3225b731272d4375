//! Commands and queries of the HTTP API, over all nodes: the own sessions and those of the others, merged.

use std::sync::Arc;

use super::{
    ClusterError, ClusterMember, NodeCounts,
    client_node::node_of,
    envelope::{ClusterAnswer, ClusterQuery, EnvelopeBody},
    local_queries::{cut, merge},
    rpc::Recipients,
};
use crate::{
    hub::scan::{ConnectionInfo, ScanPage, size_of_channel, size_of_view},
    session_command::SessionCommand,
    version::VERSION,
};

/// A node as the others of its cluster see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOverview {
    /// Random id of this run of the node.
    pub id: String,
    /// Version of the server.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Its numbers.
    pub counts: NodeCounts,
}

impl ClusterMember {
    /// Carries a command out on the sessions of all nodes, or of the one node that holds the client, if one is named.
    ///
    /// `Ok` when the sessions of every node that lives have it. On an error it may be with some of them, unless the error
    /// says otherwise.
    pub async fn send_command(self: &Arc<Self>, command: SessionCommand) -> Result<(), ClusterError> {
        let holder = command.client().and_then(node_of).map(str::to_owned);
        let recipients = match holder.as_deref() {
            Some(own) if *own == *self.id => {
                return self.run_command(command).await;
            }
            Some(other) => Recipients::Node(other),
            None => Recipients::Others,
        };
        let written = self.write(recipients, EnvelopeBody::Order(command.clone())).await?;
        if holder.is_none() {
            self.run_command(command).await?;
        }
        written.answers().await.map(drop)
    }

    async fn run_command(&self, command: SessionCommand) -> Result<(), ClusterError> {
        if self.workers.dispatch_command_in_time(command).await {
            Ok(())
        } else {
            Err(ClusterError::Unanswered(vec![self.id.as_ref().to_owned()]))
        }
    }

    /// Connections of all nodes by client id, each with its node: of one user if named, after the cursor, at most `limit`.
    pub async fn connections_after(
        self: &Arc<Self>,
        user: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<(String, ConnectionInfo)>, ClusterError> {
        let ask = ClusterQuery::Connections { user: user.map(str::to_owned), after: after.to_owned(), limit };
        let asked = self.write(Recipients::Others, EnvelopeBody::Ask(ask)).await?;
        let own = self.queries.connections(user, after, limit).await?;
        let mut all = of_node(&self.id, own);
        for (node, answer) in asked.answers().await? {
            let page = match answer {
                ClusterAnswer::Connections(entries) => ScanPage { entries, cut_at: None },
                ClusterAnswer::ConnectionsCut(entries) => {
                    let cut_at = entries.last_key_value().map(|(client, _)| client.clone());
                    ScanPage { entries, cut_at }
                }
                ClusterAnswer::Busy => return Err(ClusterError::Busy),
                _ => continue,
            };
            merge(&mut all, of_node(&node, page), |_, _| {});
        }
        // Each node gave its first ones, so the first ones of all are among them.
        cut(&mut all, limit, |client, (_, view)| size_of_view(client, view));
        Ok(all)
    }

    /// Channels with subscribers on any node, and how many: those that match, after the cursor, at most `limit`.
    pub async fn channels_after(
        self: &Arc<Self>,
        pattern: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<usize>, ClusterError> {
        let ask =
            ClusterQuery::Channels { pattern: pattern.map(str::to_owned), after: after.to_owned(), limit };
        let asked = self.write(Recipients::Others, EnvelopeBody::Ask(ask)).await?;
        let mut all = self.queries.channels(pattern, after, limit).await?;
        for (_, answer) in asked.answers().await? {
            let page = match answer {
                ClusterAnswer::Channels(entries) => ScanPage { entries, cut_at: None },
                ClusterAnswer::ChannelsCut { channels, until } => {
                    ScanPage { entries: channels, cut_at: Some(until) }
                }
                ClusterAnswer::Busy => return Err(ClusterError::Busy),
                _ => continue,
            };
            merge(&mut all, page, |count, more| *count += more);
        }
        // As above; and the nodes that have subscribers of one of them counted them.
        cut(&mut all, limit, |name, _| size_of_channel(name));
        Ok(all)
    }

    /// The nodes of the cluster by id. One that lives and does not answer is shown with what it last said of itself.
    pub async fn nodes(self: &Arc<Self>) -> Result<Vec<NodeOverview>, ClusterError> {
        let asked = self.write(Recipients::Others, EnvelopeBody::Ask(ClusterQuery::Counts)).await?;
        let mut nodes = vec![NodeOverview {
            id: self.id.to_string(),
            version: VERSION.to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            counts: self.queries.counts(),
        }];
        let (answers, silent) = asked.answers_in_time().await;
        let answered = answers.into_iter().map(|(node, answer)| {
            let counts = if let ClusterAnswer::Counts(counts) = answer { Some(counts) } else { None };
            (node, counts)
        });
        for (id, counts) in answered.chain(silent.into_iter().map(|node| (node, None))) {
            let said = self.peers.description(&id);
            let counts = counts.unwrap_or(said.counts);
            nodes.push(NodeOverview { id, version: said.version, uptime_s: said.uptime_s, counts });
        }
        nodes.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(nodes)
    }
}

fn of_node(node: &str, page: ScanPage<ConnectionInfo>) -> ScanPage<(String, ConnectionInfo)> {
    let with_node = |(client, view)| (client, (node.to_owned(), view));
    ScanPage { entries: page.entries.into_iter().map(with_node).collect(), cut_at: page.cut_at }
}
