//! A worker's share in the memory budget: it publishes what its clients hold, ends those of them that are the largest of the
//! node where too much is held.

use std::{sync::Arc, time::Duration};

use gorani_broker::Broker;
use tokio::time::Instant;

use crate::memory::{
    MemoryBudget,
    holders::{self, Candidate, HeldBytes},
    largest::ShedTurn,
};

/// Time between two surveys of the holders of memory. [`holders::STALLED_SURVEYS`] of them are 2 s.
const SURVEY_EVERY: Duration = Duration::from_millis(200);

/// Keeps the memory budget on one worker.
pub(super) struct MemoryMonitor {
    /// Number of the worker.
    pub(super) index: usize,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) memory: Arc<MemoryBudget>,
}

impl MemoryMonitor {
    /// Keeps the budget, for ever.
    pub(super) async fn run(self) {
        let mut published = HeldBytes::default();
        let mut refused = 0;
        loop {
            tokio::time::sleep(SURVEY_EVERY).await;
            self.survey(&mut published, &mut refused);
        }
    }

    /// One survey. `published` is what the budget knows of this worker, `refused` how many large replies were refused before.
    fn survey(&self, published: &mut HeldBytes, refused: &mut u64) {
        let broker = self.broker.stats();
        self.memory.set_broker(broker.memory_bytes, broker.pending_bytes);
        let mut survey = holders::survey();
        let others = self.memory.client_bytes().saturating_sub(published.total());
        if others.saturating_add(survey.held.total()) >= self.memory.client_limit_bytes() {
            // Shared chunks were counted once for every subscriber: only now is it worth to look closer.
            survey = holders::exact_survey();
        }
        self.publish(published, survey.held);
        let mut turn = self.memory.largest.turn();
        let (count, given_back) = self.end_largest(&mut turn, survey.largest(), self.memory.excess_bytes());
        // They are told, and give it back within this turn of the worker.
        let held = survey.held - given_back;
        self.publish(published, held);
        drop(turn);
        if count > 0 {
            let bytes = given_back.total();
            tracing::warn!(count, bytes, "memory.max_bytes exceeded; ended the largest connections");
        }
        let refused_now = self.memory.replies_refused();
        let are_refused = std::mem::replace(refused, refused_now) != refused_now;
        // One is enough where nothing was ended yet.
        let wanted = usize::from(are_refused && count == 0);
        let mut turn = self.memory.stalled.turn();
        let (count, given_back) = self.end_largest(&mut turn, survey.stalled(), wanted);
        self.publish(published, held - given_back);
        drop(turn);
        if count > 0 {
            let bytes = given_back.total();
            tracing::warn!(
                bytes,
                "large replies are refused; ended the largest connection that does not read"
            );
        }
    }

    fn publish(&self, published: &mut HeldBytes, held: HeldBytes) {
        self.memory.change_held(*published, held);
        *published = held;
    }

    /// Ends those of this worker's holders that are among the largest of the node, until these have given back `bytes`.
    /// Returns how many there were and what they give back.
    fn end_largest(&self, node: &mut ShedTurn<'_>, own: &[Candidate], bytes: usize) -> (usize, HeldBytes) {
        let sizes: Vec<usize> = own.iter().map(Candidate::bytes).collect();
        let count = node.report(self.index, &sizes, bytes, Instant::now());
        let given_back =
            own.iter().take(count).map(Candidate::end).fold(HeldBytes::default(), |sum, held| sum + held);
        self.memory.count_ended(count);
        (count, given_back)
    }
}
