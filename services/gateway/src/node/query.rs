//! Questions to all workers of this node: connections, channels; and its kept numbers. The API asks all nodes, see
//! [`super::cluster`].

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    time::{timeout, timeout_at},
};

use crate::{
    hub::{
        control::ConnectionView,
        scan::{ANSWER_BYTES, Page, Question, size_of_view},
        worker::Unasked,
    },
    node::{Node, cluster::ClusterError},
};

/// Scans of a node at a time: each of them looks at every channel or session.
pub(in crate::node) const SCANS_AT_A_TIME: usize = 2;
/// How long a request waits until it may scan. Then it gets a 429.
const SCAN_WAIT: Duration = Duration::from_millis(500);
/// Time for the workers to answer. A worker that is held up for longer makes this one request fail.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1);

/// Numbers of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Clients that are connected.
    pub clients: usize,
    /// Distinct users among them.
    pub users: usize,
    /// Channels with subscribers.
    pub channels: usize,
    /// Subscriptions of all clients.
    pub subscriptions: usize,
}

/// A node as the others of its cluster see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Random id of this run of the node.
    pub id: String,
    /// Version of the server.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Its numbers.
    pub counts: Counts,
}

impl Node {
    /// Puts a question to every worker and gathers the answers; a worker that is gone gives none.
    ///
    /// [`ClusterError::Busy`] if too many scans are under way, [`ClusterError::Unanswered`] with this node's id if a worker does
    /// not answer in time.
    async fn ask<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> Question,
    ) -> Result<Vec<T>, ClusterError> {
        let Ok(Ok(_permit)) = timeout(SCAN_WAIT, self.scans.acquire()).await else {
            return Err(ClusterError::Busy);
        };
        let silent = || ClusterError::Unanswered(vec![self.id.as_ref().to_owned()]);
        let deadline = tokio::time::Instant::now() + SCAN_TIMEOUT;
        let mut asked = Vec::new();
        for inbox in self.inboxes() {
            let (answer, answered) = oneshot::channel();
            match inbox.ask(question(answer)) {
                Ok(()) => asked.push(answered),
                Err(Unasked::Gone) => {}
                Err(Unasked::Full) => return Err(silent()),
            }
        }
        let answers = timeout_at(deadline, futures_util::future::join_all(asked)).await;
        Ok(answers.map_err(|_| silent())?.into_iter().filter_map(Result::ok).collect())
    }

    /// Connections of this node by client id, of one user if named, after the cursor, at most `limit`.
    pub(in crate::node) async fn own_connections(
        &self,
        user: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<Page<ConnectionView>, ClusterError> {
        let answers = self
            .ask(|answer| Question::Connections {
                user: user.map(str::to_owned),
                after: after.to_owned(),
                limit,
                answer,
            })
            .await?;
        let mut all = Page::default();
        for page in answers {
            merge(&mut all, page, |_, _| {});
        }
        cut(&mut all, limit, size_of_view);
        Ok(all)
    }

    /// Channels with subscribers on this node, and how many: those that match, after the cursor, at most `limit`.
    pub(in crate::node) async fn own_channels(
        &self,
        pattern: Option<&str>,
        after: &str,
        limit: usize,
    ) -> Result<BTreeMap<String, usize>, ClusterError> {
        let answers = self
            .ask(|answer| Question::Channels {
                pattern: pattern.map(str::to_owned),
                after: after.to_owned(),
                limit,
                answer,
            })
            .await?;
        let mut all = Page::default();
        for page in answers {
            merge(&mut all, page, |count, more| *count += more);
        }
        Ok(first(all.entries, limit))
    }

    /// Numbers of this node, as they are kept: no worker is asked.
    pub(in crate::node) fn counts(&self) -> Counts {
        let sessions = &self.metrics.sessions;
        Counts {
            clients: sessions.clients(),
            users: sessions.users(),
            channels: self.interest.wanted(),
            subscriptions: sessions.subscriptions(),
        }
    }
}

/// The first entries by key.
pub(super) fn first<K: Ord, V>(all: BTreeMap<K, V>, limit: usize) -> BTreeMap<K, V> {
    if all.len() <= limit { all } else { all.into_iter().take(limit).collect() }
}

/// Puts two pages together. Where one was cut short, nothing is known of what comes after its last entry.
pub(super) fn merge<T>(all: &mut Page<T>, page: Page<T>, add: impl Fn(&mut T, T)) {
    let end = |page: &Page<T>| {
        if page.is_cut { page.entries.last_key_value().map(|(name, _)| name.clone()) } else { None }
    };
    let ends = [end(all), end(&page)];
    for (name, value) in page.entries {
        match all.entries.entry(name) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => add(taken.get_mut(), value),
        }
    }
    all.is_cut |= page.is_cut;
    if let Some(end) = ends.into_iter().flatten().min() {
        all.entries.retain(|name, _| *name <= end);
    }
}

/// Cuts a page to its limit, and to the bytes of an answer; the entry that passes them is the last.
pub(super) fn cut<T>(page: &mut Page<T>, limit: usize, size: impl Fn(&str, &T) -> usize) {
    let mut bytes = 0;
    let mut fitting = 0;
    for (name, value) in page.entries.iter().take(limit) {
        if bytes >= ANSWER_BYTES {
            page.is_cut = true;
            break;
        }
        bytes += size(name, value);
        fitting += 1;
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

    fn page(names: &[&str], is_cut: bool) -> Page<usize> {
        Page { entries: names.iter().map(|name| ((*name).to_owned(), 1)).collect(), is_cut }
    }

    #[test]
    fn nothing_is_listed_beyond_the_end_of_a_page_that_was_cut() {
        let mut all = page(&["a", "d", "f"], false);
        merge(&mut all, page(&["b", "c"], true), |count, more| *count += more);
        assert_eq!(all, page(&["a", "b", "c"], true));
        merge(&mut all, page(&["a", "x"], false), |count, more| *count += more);
        assert_eq!(all.entries.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((all.entries["a"], all.is_cut), (2, true));
    }

    #[test]
    fn a_page_ends_with_the_entry_that_passes_the_bytes_of_an_answer() {
        let mut large = page(&["a", "b", "c"], false);
        cut(&mut large, 3, |_, _| ANSWER_BYTES);
        assert_eq!(large, page(&["a"], true));
        let mut small = page(&["a", "b", "c"], false);
        cut(&mut small, 2, |_, _| 1);
        assert_eq!(small, page(&["a", "b"], false));
    }
}
