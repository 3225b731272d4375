//! Transactions of a client of STOMP: what it sends and acknowledges while one is open is part of it, and happens at COMMIT or not at
//! all.

use std::sync::Arc;

use super::{AwaitedReceipt, StompClient};
use crate::simulation::{jobs::Job, server::SimServer};

/// The only one that is open at a time has this name.
pub(super) const NAME: &str = "t";

/// The content of the open transaction.
#[derive(Default)]
pub(super) struct SimTransaction {
    /// Name, number, and true if it goes to a queue.
    sends: Vec<(Arc<str>, u64, bool)>,
    /// Messages that an ACK in it is about, with the id of their subscription and what stands in the ACK.
    settled: Vec<(String, Vec<(Job, String)>)>,
}

impl SimTransaction {
    pub(super) fn send(&mut self, name: &Arc<str>, number: u64, is_queue: bool) {
        self.sends.push((name.clone(), number, is_queue));
    }

    pub(super) fn settle(&mut self, consumer: &str, settled: Vec<(Job, String)>) {
        self.settled.push((consumer.to_owned(), settled));
    }
}

impl StompClient {
    pub(in crate::simulation) fn has_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    /// Begins a transaction. False if one is open.
    pub(in crate::simulation) fn begin(&mut self) -> bool {
        if !self.is_connected() || self.has_transaction() {
            return false;
        }
        self.transaction = Some(SimTransaction::default());
        self.send(format!("BEGIN\ntransaction:{NAME}\n\n\0"));
        true
    }

    /// Ends it, and all of it happens. False if none is open.
    pub(in crate::simulation) fn commit(&mut self, server: &mut SimServer) -> bool {
        if !self.is_connected() {
            return false;
        }
        let Some(SimTransaction { sends, settled }) = self.transaction.take() else { return false };
        server.log.commit(sends.iter().map(|(_, number, _)| *number));
        let mut confirmed = Vec::new();
        for (id, jobs) in settled {
            // What was of a subscription that has ended may have gone back to its queue.
            let is_open = self.consumers.get(&id).is_some_and(|consumer| !consumer.is_left);
            for (job, _) in jobs {
                server.log.jobs.handled(&job);
                confirmed.extend(is_open.then_some(job));
            }
        }
        let receipt = self.ask(AwaitedReceipt::Commit(sends, confirmed));
        self.send(format!("COMMIT\ntransaction:{NAME}\nreceipt:{receipt}\n\n\0"));
        true
    }

    /// Ends it, and nothing of it happens. False if none is open.
    pub(in crate::simulation) fn abort(&mut self) -> bool {
        if !self.is_connected() {
            return false;
        }
        let Some(SimTransaction { settled, .. }) = self.transaction.take() else { return false };
        for (id, jobs) in settled.into_iter().rev() {
            if let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| !consumer.is_left) {
                consumer.hold_again(jobs);
            }
        }
        self.send(format!("ABORT\ntransaction:{NAME}\n\n\0"));
        true
    }
}
