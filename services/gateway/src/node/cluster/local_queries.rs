//! Queries to all workers of this node: connections, channels; and its kept numbers. The API asks all nodes, see
//! [`super::overview`].

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, oneshot},
    time::{timeout, timeout_at},
};

use super::{description::NodeCounts, error::ClusterError};
use crate::{
    hub::{
        inbox::QueryRejected,
        scan::{ANSWER_BYTES, ConnectionInfo, ScanPage, ScanRequest, size_of_channel, size_of_view},
    },
    metrics::Metrics,
    node::workers::Workers,
};

/// Scans of a node at a time: each of them may take up to 25 ms of every worker's time.
pub(super) const SCANS_AT_A_TIME: usize = 2;
/// Longest wait of a request until it may scan. Then it gets a 429.
const SCAN_WAIT: Duration = Duration::from_millis(500);
/// Time for the workers to answer. A worker that is held up for longer makes this one request fail.
const SCAN_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks the workers of this node.
pub(super) struct LocalQueries {
    node_id: Arc<str>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    /// Scans of the workers that may be under way.
    scans: Semaphore,
}

impl LocalQueries {
    pub(super) fn new(node_id: Arc<str>, workers: Arc<Workers>, metrics: Arc<Metrics>) -> Self {
        Self { node_id, workers, metrics, scans: Semaphore::new(SCANS_AT_A_TIME) }
    }

    /// Sends a query to every worker and gathers the answers; a worker that is gone gives none.
    ///
    /// [`ClusterError::Busy`] if too many scans are under way, [`ClusterError::Unanswered`] with this node's id if a worker does
    /// not answer in time.
    async fn ask<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> ScanRequest,
    ) -> Result<Vec<T>, ClusterError> {
        let Ok(Ok(_permit)) = timeout(SCAN_WAIT, self.scans.acquire()).await else {
            return Err(ClusterError::Busy);
        };
        let silent = || ClusterError::Unanswered(vec![self.node_id.as_ref().to_owned()]);
        let deadline = tokio::time::Instant::now() + SCAN_TIMEOUT;
        let mut asked = Vec::new();
        for inbox in self.workers.inboxes() {
            let (answer, answered) = oneshot::channel();
            match inbox.ask(question(answer)) {
                Ok(()) => asked.push(answered),
                Err(QueryRejected::Gone) => {}
                Err(QueryRejected::Full) => return Err(silent()),
            }
        }
        let answers = timeout_at(deadline, futures_util::future::join_all(asked)).await;
        Ok(answers.map_err(|_| silent())?.into_iter().filter_map(Result::ok).collect())
    }

    /// One page of the pages of all workers, cut to `limit` entries and the bytes of an answer. `add`: puts entries of one name
    /// together.
    async fn page<T>(
        &self,
        request: impl Fn(oneshot::Sender<ScanPage<T>>) -> ScanRequest,
        limit: usize,
        add: impl Fn(&mut T, T),
        size: impl Fn(&str, &T) -> usize,
    ) -> Result<ScanPage<T>, ClusterError> {
        let mut all = ScanPage::default();
        for page in self.ask(request).await? {
            merge(&mut all, page, &add);
        }
        cut(&mut all, limit, size);
        Ok(all)
    }

    /// Connections of this node by client id, of one user if named, after the cursor, at most `limit`.
    pub(super) async fn connections(
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
        self.page(request, limit, |_, _| {}, size_of_view).await
    }

    /// Channels with subscribers on this node, and how many: those that match, after the cursor, at most `limit`.
    pub(super) async fn channels(
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
        self.page(request, limit, |count, more| *count += more, |name, _| size_of_channel(name)).await
    }

    /// Numbers of this node, as they are kept: no worker is asked.
    pub(super) fn counts(&self) -> NodeCounts {
        let sessions = &self.metrics.sessions;
        NodeCounts {
            clients: sessions.clients(),
            users: sessions.users(),
            channels: self.workers.interest.wanted(),
            subscriptions: sessions.subscriptions(),
        }
    }
}

/// Puts two pages together. Where one was cut short, nothing is known of what comes after the name at which it was.
pub(super) fn merge<T>(all: &mut ScanPage<T>, page: ScanPage<T>, add: impl Fn(&mut T, T)) {
    for (name, value) in page.entries {
        match all.entries.entry(name) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(value);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => add(taken.get_mut(), value),
        }
    }
    let ends = [all.cut_at.take(), page.cut_at];
    if let Some(end) = ends.into_iter().flatten().min() {
        all.entries.retain(|name, _| *name <= end);
        all.cut_at = Some(end);
    }
}

/// Cuts a page to its limit, and to the bytes of an answer; the entry that passes them is the last.
pub(super) fn cut<T>(page: &mut ScanPage<T>, limit: usize, size: impl Fn(&str, &T) -> usize) {
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
