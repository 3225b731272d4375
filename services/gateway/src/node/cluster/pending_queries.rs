//! Queries that wait for answers: a bounded table, by the number of the query.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::envelope::ClusterAnswer;

/// Queries that may wait at a time.
const WAITING_MAX: usize = 4096;

type PendingTable = Mutex<HashMap<u64, mpsc::Sender<(String, ClusterAnswer)>>>;

/// The table of the queries that wait for answers.
#[derive(Debug, Default)]
pub(super) struct PendingQueries {
    next: AtomicU64,
    table: Arc<PendingTable>,
}

/// A query that waits; dropped, it waits no longer.
pub(super) struct PendingQuery {
    pub(super) id: u64,
    answers: mpsc::Receiver<(String, ClusterAnswer)>,
    table: Arc<PendingTable>,
}

impl PendingQueries {
    /// Begins to wait for the answers of so many nodes; `None` if too many queries wait.
    pub(super) fn begin(&self, nodes: usize) -> Option<PendingQuery> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::channel(nodes.max(1));
        let mut table = self.table.lock();
        if table.len() >= WAITING_MAX {
            return None;
        }
        table.insert(id, sender);
        Some(PendingQuery { id, answers, table: Arc::clone(&self.table) })
    }

    /// Hands an answer to its query, if that still waits.
    pub(super) fn resolve(&self, id: u64, from: String, answer: ClusterAnswer) {
        if let Some(sender) = self.table.lock().get(&id) {
            // More answers than nodes were asked: one of them repeats itself.
            let _ = sender.try_send((from, answer));
        }
    }
}

impl PendingQuery {
    /// The next answer. Pending while there is none.
    pub(super) async fn answer(&mut self) -> (String, ClusterAnswer) {
        match self.answers.recv().await {
            Some(answer) => answer,
            // The table holds the other end as long as this lives.
            None => std::future::pending().await,
        }
    }
}

impl Drop for PendingQuery {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn answers_find_their_question_and_late_ones_nobody() {
        let waiting = PendingQueries::default();
        let (mut one, mut other) = (waiting.begin(1).unwrap(), waiting.begin(2).unwrap());
        waiting.resolve(other.id, "a".to_owned(), ClusterAnswer::Done);
        waiting.resolve(one.id, "b".to_owned(), ClusterAnswer::Done);
        waiting.resolve(one.id, "b".to_owned(), ClusterAnswer::Done);
        assert_eq!(other.answer().await.0, "a");
        assert_eq!(one.answer().await.0, "b");
        let late = one.id;
        drop(one);
        waiting.resolve(late, "b".to_owned(), ClusterAnswer::Done);
        assert_eq!(waiting.table.lock().len(), 1);
    }

    #[test]
    fn questions_are_bounded() {
        let waiting = PendingQueries::default();
        let questions: Vec<_> = (0..WAITING_MAX).map(|_| waiting.begin(1).unwrap()).collect();
        assert!(waiting.begin(1).is_none());
        drop(questions);
        assert!(waiting.begin(1).is_some());
    }
}
