//! The answers given to publications with an idempotency key. `docs/protocols/http.md` §5.5.

use std::{
    collections::{HashMap, VecDeque},
    mem::size_of,
    sync::Arc,
};

use super::{
    clock::{Nanos, nanos},
    usage_budget::UsageBudget,
};
use crate::{Idempotency, Position};

/// Bytes of one remembered key beside its text: its entries in the table and in the line, both of which may be twice as
/// large as needed, and the counters of the shared text.
const ANSWER_BYTES: usize = 2
    * (size_of::<(Arc<str>, IdempotentAnswer)>() + size_of::<Arc<str>>() + 2 * size_of::<u64>())
    + 2 * size_of::<usize>();

#[derive(Debug)]
struct IdempotentAnswer {
    position: Position,
    deadline: Nanos,
    ticket: u64,
}

/// One shard's answers: a table by key, and the line in which they were given, oldest first.
#[derive(Debug, Default)]
pub(super) struct IdempotentAnswers {
    table: HashMap<Arc<str>, IdempotentAnswer>,
    line: VecDeque<Given>,
    next_ticket: u64,
}

/// An entry of the line. Its answer is gone when the table has another ticket under the key.
#[derive(Debug)]
struct Given {
    key: Arc<str>,
    ticket: u64,
    at: Nanos,
}

impl IdempotentAnswers {
    /// The answer given earlier, if it is still remembered.
    pub(super) fn find(&self, key: &str, now: Nanos) -> Option<Position> {
        let answer = self.table.get(key)?;
        (answer.deadline > now).then(|| answer.position.clone())
    }

    /// Remembers an answer.
    pub(super) fn remember(
        &mut self,
        key: String,
        position: Position,
        ttl: Nanos,
        now: Nanos,
        usage: &UsageBudget,
    ) {
        let key: Arc<str> = key.into();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        usage.answers.add(1);
        usage.answer_bytes.add(ANSWER_BYTES + key.len());
        self.line.push_back(Given { key: Arc::clone(&key), ticket, at: now });
        self.table.insert(key, IdempotentAnswer { position, deadline: now.saturating_add(ttl), ticket });
    }

    /// Time at which the oldest answer was given.
    pub(super) fn oldest(&self) -> Option<Nanos> {
        self.line.front().map(|given| given.at)
    }

    /// Forgets the oldest one.
    pub(super) fn forget_oldest(&mut self, usage: &UsageBudget) {
        let Some(given) = self.line.pop_front() else { return };
        usage.answers.subtract(1);
        usage.answer_bytes.subtract(ANSWER_BYTES + given.key.len());
        if self.table.get(&given.key).is_some_and(|answer| answer.ticket == given.ticket) {
            self.table.remove(&given.key);
        }
        if self.line.capacity() / 4 > self.line.len() {
            self.line.shrink_to(2 * self.line.len());
            self.table.shrink_to(2 * self.table.len());
        }
    }

    /// Forgets the oldest one if its time is over; true if it was. One behind a longer-lived one waits for it.
    pub(super) fn forget_expired(&mut self, now: Nanos, usage: &UsageBudget) -> bool {
        let Some(given) = self.line.front() else { return false };
        let lives = (self.table.get(&given.key))
            .is_some_and(|answer| answer.ticket == given.ticket && answer.deadline > now);
        if !lives {
            self.forget_oldest(usage);
        }
        !lives
    }
}

/// The key under which the answer to a publication is remembered. The channel's length keeps apart what two different
/// pairs would otherwise spell alike.
pub(super) fn answer_key(channel: &str, idempotency: &Idempotency) -> String {
    format!("{} {channel}{}", channel.len(), idempotency.key)
}

/// Time for which an answer is remembered.
pub(super) fn answer_ttl(idempotency: &Idempotency) -> Nanos {
    nanos(idempotency.ttl)
}
