//! Commands and queries of the HTTP API, over all nodes: the own sessions and those of the others, merged. Other nodes ask for
//! this node's connections, channels and numbers.

use std::{collections::btree_map::Entry, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    ClusterMember,
    envelope::{ClusterAnswer, ClusterQuery, EnvelopeBody},
    membership::NodeCounts,
    peers::ClusterError,
    presence::node_of,
    rpc::Recipients,
};
use crate::{
    hub::{
        inbox::QueryRejected,
        scan::{ANSWER_BYTES, ConnectionInfo, ScanPage, ScanRequest, size_of_channel, size_of_view},
    },
    session_command::SessionCommand,
};

/// Longest wait of a request until it may scan. Then it gets a 429.
const SCAN_WAIT: Duration = Duration::from_millis(500);
/// Time for the workers to answer. A worker that is held up for longer makes this one request fail.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1);

/// A node as the others of its cluster see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOverview {
    /// Random id of this run of the node.
    pub id: String,
    /// Its name; the id where it has told none.
    pub name: String,
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
        let own = self.local_connections(user, after, limit).await?;
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
        let mut all = self.local_channels(pattern, after, limit).await?;
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

    /// Subscribers of a channel on all nodes.
    pub async fn subscribers(self: &Arc<Self>, channel: &str) -> Result<usize, ClusterError> {
        let ask = ClusterQuery::Subscribers { channel: channel.to_owned() };
        let asked = self.write(Recipients::Others, EnvelopeBody::Ask(ask)).await?;
        let mut all = self.local_subscribers(channel).await?;
        for (_, answer) in asked.answers().await? {
            match answer {
                ClusterAnswer::Subscribers(more) => all += more,
                ClusterAnswer::Busy => return Err(ClusterError::Busy),
                _ => {}
            }
        }
        Ok(all)
    }

    /// The nodes of the cluster by id. One that lives and does not answer is shown with what it last said of itself.
    pub async fn nodes(self: &Arc<Self>) -> Result<Vec<NodeOverview>, ClusterError> {
        let asked = self.write(Recipients::Others, EnvelopeBody::Ask(ClusterQuery::Counts)).await?;
        let mut nodes = vec![NodeOverview {
            id: self.id.to_string(),
            name: self.policy.node_name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            counts: self.local_counts(),
        }];
        let (answers, silent) = asked.answers_in_time().await;
        let answered = answers.into_iter().map(|(node, answer)| {
            let counts = if let ClusterAnswer::Counts(counts) = answer { Some(counts) } else { None };
            (node, counts)
        });
        for (id, counts) in answered.chain(silent.into_iter().map(|node| (node, None))) {
            let said = self.peers.description(&id);
            let counts = counts.unwrap_or(said.counts);
            let name = if said.name.is_empty() { id.clone() } else { said.name };
            nodes.push(NodeOverview { id, name, version: said.version, uptime_s: said.uptime_s, counts });
        }
        nodes.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(nodes)
    }

    /// Sends a query to every worker and gathers the answers; a worker that is gone gives none.
    ///
    /// [`ClusterError::Busy`] if too many scans are under way, [`ClusterError::Unanswered`] with this node's id if a worker does
    /// not answer in time.
    pub(super) async fn ask_workers<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> ScanRequest,
    ) -> Result<Vec<T>, ClusterError> {
        let Ok(Ok(_permit)) = timeout(SCAN_WAIT, self.scans.acquire()).await else {
            return Err(ClusterError::Busy);
        };
        let silent = || ClusterError::Unanswered(vec![self.id.as_ref().to_owned()]);
        let deadline = Instant::now() + SCAN_TIMEOUT;
        let mut asked = Vec::new();
        for inbox in self.workers.inboxes() {
            let (answer, answered) = oneshot::channel();
            match inbox.ask(question(answer)) {
                Ok(()) => asked.push(answered),
                Err(QueryRejected::Gone) => {}
                Err(QueryRejected::Full) => return Err(silent()),
            }
        }
        let answers = timeout_at(deadline, join_all(asked)).await;
        Ok(answers.map_err(|_| silent())?.into_iter().filter_map(Result::ok).collect())
    }

    /// One page of the pages of all workers, cut to `limit` entries and the bytes of an answer. `add`: puts entries of one name
    /// together.
    pub(super) async fn page_of_workers<T>(
        &self,
        request: impl Fn(oneshot::Sender<ScanPage<T>>) -> ScanRequest,
        limit: usize,
        add: impl Fn(&mut T, T),
        size: impl Fn(&str, &T) -> usize,
    ) -> Result<ScanPage<T>, ClusterError> {
        let mut all = ScanPage::default();
        for page in self.ask_workers(request).await? {
            merge(&mut all, page, &add);
        }
        cut(&mut all, limit, size);
        Ok(all)
    }

    /// Connections of this node by client id, of one user if named, after the cursor, at most `limit`.
    pub(super) async fn local_connections(
        &self,
        user: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<ConnectionInfo>, ClusterError> {
        let request = |answer| ScanRequest::Connections {
            user: user.map(str::to_owned),
            after: after.to_owned(),
            limit,
            answer,
        };
        self.page_of_workers(request, limit, |_, _| {}, size_of_view).await
    }

    /// Channels with subscribers on this node, and how many: those that match, after the cursor, at most `limit`.
    pub(super) async fn local_channels(
        &self,
        pattern: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<ScanPage<usize>, ClusterError> {
        let request = |answer| ScanRequest::Channels {
            pattern: pattern.map(str::to_owned),
            after: after.to_owned(),
            limit,
            answer,
        };
        self.page_of_workers(request, limit, |count, more| *count += more, |name, _| size_of_channel(name))
            .await
    }

    /// Subscribers of a channel on this node.
    pub(super) async fn local_subscribers(&self, channel: &str) -> Result<usize, ClusterError> {
        let request = |answer| ScanRequest::Subscribers { channel: channel.to_owned(), answer };
        Ok(self.ask_workers(request).await?.into_iter().sum())
    }

    /// Numbers of this node, as they are kept: no worker is asked.
    pub(super) fn local_counts(&self) -> NodeCounts {
        let sessions = &self.metrics.sessions;
        NodeCounts {
            clients: sessions.clients(),
            users: sessions.users(),
            channels: self.workers.interest.wanted(),
            subscriptions: sessions.subscriptions(),
        }
    }
}

fn of_node(node: &str, page: ScanPage<ConnectionInfo>) -> ScanPage<(String, ConnectionInfo)> {
    let with_node = |(client, view)| (client, (node.to_owned(), view));
    ScanPage { entries: page.entries.into_iter().map(with_node).collect(), cut_at: page.cut_at }
}

/// Puts two pages together. Where one was cut short, nothing is known of what comes after the name at which it was.
fn merge<T>(all: &mut ScanPage<T>, page: ScanPage<T>, add: impl Fn(&mut T, T)) {
    for (name, value) in page.entries {
        match all.entries.entry(name) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(mut taken) => add(taken.get_mut(), value),
        }
    }
    let ends = [all.cut_at.take(), page.cut_at];
    if let Some(end) = ends.into_iter().flatten().min() {
        all.entries.retain(|name, _| *name <= end);
        all.cut_at = Some(end);
    }
}

/// Cuts a page to its limit, and to the bytes of an answer; the entry that passes them is the last.
fn cut<T>(page: &mut ScanPage<T>, limit: usize, size: impl Fn(&str, &T) -> usize) {
    let mut bytes = 0;
    let mut fitting = 0;
    let mut last: Option<&String> = None;
    for (name, value) in page.entries.iter().take(limit) {
        if bytes >= ANSWER_BYTES {
            page.cut_at = last.cloned();
            break;
        }
        bytes += size(name, value);
        fitting += 1;
        last = Some(name);
    }
    if fitting < page.entries.len() {
        let entries = std::mem::take(&mut page.entries);
        page.entries = entries.into_iter().take(fitting).collect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn page(names: &[&str], cut_at: Option<&str>) -> ScanPage<usize> {
        let entries = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        ScanPage { entries, cut_at: cut_at.map(str::to_owned) }
    }

    #[test]
    fn nothing_is_listed_beyond_the_name_at_which_a_page_was_cut() {
        let mut all = page(&["a", "d", "f"], None);
        merge(&mut all, page(&["b", "c"], Some("d")), |count, more| *count += more);
        assert_eq!(all, page(&["a", "b", "c", "d"], Some("d")));
        merge(&mut all, page(&["a", "x"], None), |count, more| *count += more);
        assert_eq!(all.entries.keys().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!((all.entries["a"], all.cut_at.as_deref()), (2, Some("d")));
        // One that found nothing looked less far.
        merge(&mut all, page(&[], Some("b")), |count, more| *count += more);
        assert_eq!(all.entries.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(all.cut_at.as_deref(), Some("b"));
    }

    #[test]
    fn a_page_ends_with_the_entry_that_passes_the_bytes_of_an_answer() {
        let mut large = page(&["a", "b", "c"], None);
        cut(&mut large, 3, |_, _| ANSWER_BYTES);
        assert_eq!(large, page(&["a"], Some("a")));
        let mut small = page(&["a", "b", "c"], None);
        cut(&mut small, 2, |_, _| 1);
        assert_eq!(small, page(&["a", "b"], None));
    }
}
