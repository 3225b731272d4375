//! The node's memory budget: one number for what clients can make a node hold, and what is held against it.
//!
//! Below outboxes, hub and sessions, which draw on it. Every worker publishes in steps what its [`holders`] hold (large
//! outboxes, unfinished input, bodies of requests), so that a delivery costs no atomic. A large reply holds a
//! [`ReplyPermit`] from the read until its last byte is written. Over the budget the largest holders of the node are
//! ended. Decision record 25.

pub mod holders;
pub mod limit;

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use bytes::{Bytes, BytesMut};

use self::holders::{HeldBytes, LargestHolders};

/// Replies from this size on hold a permit; smaller ones are bounded by the outbox they wait in.
pub const LARGE_REPLY_BYTES: usize = 64 * 1024;

/// Clients may hold this part of the budget, however much the broker keeps.
const CLIENTS_DIVISOR: usize = 4;

/// Bytes held on behalf of clients, against what may be held. Relaxed: each number stands for itself.
#[derive(Debug)]
pub struct MemoryBudget {
    limit_bytes: usize,
    replies_max_bytes: usize,
    outboxes: AtomicUsize,
    input: AtomicUsize,
    bodies: AtomicUsize,
    replies: AtomicUsize,
    broker: AtomicUsize,
    pending: AtomicUsize,
    replies_refused: AtomicU64,
    bodies_refused: AtomicU64,
    ended: AtomicU64,
    /// All holders, for the time over the budget.
    pub largest: LargestHolders,
    /// Those whose clients do not read, for the time in which large replies are refused.
    pub stalled: LargestHolders,
}

impl Default for MemoryBudget {
    /// Without limits, for nodes that nobody can reach.
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX)
    }
}

impl MemoryBudget {
    /// A budget of `limit_bytes`, of which large replies may hold `replies_max_bytes`.
    pub fn new(limit_bytes: usize, replies_max_bytes: usize) -> Self {
        Self {
            limit_bytes,
            replies_max_bytes,
            outboxes: AtomicUsize::new(0),
            input: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
            replies: AtomicUsize::new(0),
            broker: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            replies_refused: AtomicU64::new(0),
            bodies_refused: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            largest: LargestHolders::default(),
            stalled: LargestHolders::default(),
        }
    }

    /// The budget in bytes.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Bytes in large outboxes, unfinished input and bodies.
    pub fn held(&self) -> HeldBytes {
        let bytes = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        HeldBytes { outboxes: bytes(&self.outboxes), input: bytes(&self.input), bodies: bytes(&self.bodies) }
    }

    /// Bytes that large replies hold, from the read until they are written.
    pub fn reply_bytes(&self) -> usize {
        self.replies.load(Ordering::Relaxed)
    }

    /// Bytes of the embedded broker.
    pub fn broker_bytes(&self) -> usize {
        self.broker.load(Ordering::Relaxed)
    }

    /// Bytes of requests that wait for Redis.
    pub fn pending_bytes(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Bytes that clients hold. A large reply that waits in an outbox counts twice, which errs on the safe side.
    pub fn client_bytes(&self) -> usize {
        self.held().total().saturating_add(self.reply_bytes())
    }

    /// Bytes that clients may hold: what the embedded broker and requests to Redis leave, and a quarter of the budget at
    /// least. To end clients gives nothing back of what these keep, so full histories must not lock clients out.
    pub fn client_limit_bytes(&self) -> usize {
        let kept = self.broker_bytes().saturating_add(self.pending_bytes());
        self.limit_bytes.saturating_sub(kept).max(self.limit_bytes / CLIENTS_DIVISOR)
    }

    /// True while the budget is used up: new heavy reads get a temporary error.
    pub fn is_exhausted(&self) -> bool {
        self.excess_bytes() > 0
    }

    /// Bytes that clients have to give back so that the budget is not used up.
    pub fn excess_bytes(&self) -> usize {
        self.client_bytes().saturating_add(1).saturating_sub(self.client_limit_bytes())
    }

    /// A worker's holders hold `to` where they held `from`.
    pub fn change_held(&self, from: HeldBytes, to: HeldBytes) {
        change(&self.outboxes, from.outboxes, to.outboxes);
        change(&self.input, from.input, to.input);
        change(&self.bodies, from.bodies, to.bodies);
    }

    /// The embedded broker holds so many bytes, and requests to Redis so many.
    pub fn set_broker(&self, bytes: usize, pending_bytes: usize) {
        self.broker.store(bytes, Ordering::Relaxed);
        self.pending.store(pending_bytes, Ordering::Relaxed);
    }

    /// Bodies of requests that were refused or broken off so far.
    pub fn bodies_refused(&self) -> u64 {
        self.bodies_refused.load(Ordering::Relaxed)
    }

    /// A body was refused, or broken off to free memory.
    pub fn count_refused_body(&self) {
        self.bodies_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Large replies that were refused so far.
    pub fn replies_refused(&self) -> u64 {
        self.replies_refused.load(Ordering::Relaxed)
    }

    /// Connections that were ended so far to free memory.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// So many connections were ended to free memory.
    pub fn count_ended(&self, count: usize) {
        self.ended.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Permission for a reply of `bytes`; `None` while too much is under way. One reply may always be under way, however
    /// large it is.
    pub fn try_reply(self: &Arc<Self>, bytes: usize) -> Option<ReplyPermit> {
        let fits = |held: usize| {
            let sum = held.saturating_add(bytes);
            (held == 0 || sum <= self.replies_max_bytes).then_some(sum)
        };
        if self.is_exhausted()
            || self.replies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err()
        {
            self.replies_refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(ReplyPermit { budget: self.clone(), bytes })
    }

    /// Freezes a private reply. A large one is counted until its last reference is gone; `permit` is what was reserved
    /// for it.
    pub fn reply(self: &Arc<Self>, reply: BytesMut, permit: Option<ReplyPermit>) -> Bytes {
        if reply.len() < LARGE_REPLY_BYTES {
            return reply.freeze();
        }
        let mut permit = permit.unwrap_or_else(|| ReplyPermit { budget: self.clone(), bytes: 0 });
        permit.resize(reply.capacity());
        Bytes::from_owner(CountedReply { reply, _permit: permit })
    }
}

fn change(counter: &AtomicUsize, from: usize, to: usize) {
    if to >= from {
        counter.fetch_add(to - from, Ordering::Relaxed);
    } else {
        counter.fetch_sub(from - to, Ordering::Relaxed);
    }
}

/// Bytes that a large reply may hold, given back when dropped.
#[derive(Debug)]
pub struct ReplyPermit {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

impl ReplyPermit {
    /// Corrects an estimate by the true size.
    fn resize(&mut self, bytes: usize) {
        change(&self.budget.replies, self.bytes, bytes);
        self.bytes = bytes;
    }

    /// Adds the bytes of another permit of the same budget, if there is one.
    pub fn join(held: &mut Option<Self>, other: Option<Self>) {
        match (held, other) {
            (Some(held), Some(mut other)) => held.bytes += std::mem::take(&mut other.bytes),
            (held, Some(other)) => *held = Some(other),
            (_, None) => {}
        }
    }
}

impl Drop for ReplyPermit {
    fn drop(&mut self) {
        self.budget.replies.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A reply with its permit: both go together.
struct CountedReply {
    reply: BytesMut,
    _permit: ReplyPermit,
}

impl AsRef<[u8]> for CountedReply {
    fn as_ref(&self) -> &[u8] {
        &self.reply
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn large(bytes: usize) -> BytesMut {
        BytesMut::from(&*vec![b'x'; bytes])
    }

    #[test]
    fn large_replies_are_refused_beyond_their_bound_and_counted_down_when_dropped() {
        let budget = Arc::new(MemoryBudget::new(usize::MAX, 300_000));
        let first = budget.try_reply(200_000).unwrap();
        assert!(budget.try_reply(200_000).is_none());
        assert_eq!(budget.replies_refused(), 1);
        let bytes = budget.reply(large(250_000), Some(first));
        let part = bytes.slice(1..2);
        drop(bytes);
        assert!(budget.reply_bytes() >= 250_000, "a slice keeps the whole reply");
        drop(part);
        assert_eq!(budget.reply_bytes(), 0);
    }

    #[test]
    fn one_reply_may_be_under_way_however_large_it_is() {
        let budget = Arc::new(MemoryBudget::new(usize::MAX, 100));
        let only = budget.try_reply(1000).unwrap();
        assert!(budget.try_reply(1).is_none());
        drop(only);
        assert!(budget.try_reply(1).is_some());
    }

    #[test]
    fn a_small_reply_is_not_counted_and_gives_its_permit_back() {
        let budget = Arc::new(MemoryBudget::default());
        let permit = budget.try_reply(100_000);
        let _reply = budget.reply(large(100), permit);
        assert_eq!(budget.client_bytes(), 0);
    }

    #[test]
    fn joined_permits_are_given_back_once() {
        let budget = Arc::new(MemoryBudget::default());
        let mut permit = None;
        ReplyPermit::join(&mut permit, budget.try_reply(100));
        ReplyPermit::join(&mut permit, budget.try_reply(50));
        ReplyPermit::join(&mut permit, None);
        assert_eq!(budget.reply_bytes(), 150);
        drop(permit);
        assert_eq!(budget.reply_bytes(), 0);
    }

    #[test]
    fn an_exhausted_budget_refuses_large_replies() {
        let budget = Arc::new(MemoryBudget::new(1000, 1000));
        let held = HeldBytes { outboxes: 500, input: 300, bodies: 90 };
        budget.change_held(HeldBytes::default(), held);
        budget.set_broker(100, 9);
        assert!(!budget.is_exhausted());
        budget.set_broker(100, 10);
        assert!(budget.is_exhausted());
        assert_eq!(budget.excess_bytes(), 1);
        assert!(budget.try_reply(1).is_none());
        budget.change_held(held, HeldBytes::default());
        assert!(budget.try_reply(1).is_some());
    }

    #[test]
    fn a_full_broker_leaves_a_quarter_of_the_budget_to_clients() {
        let budget = Arc::new(MemoryBudget::new(1000, 1000));
        budget.set_broker(5000, 5000);
        let held = |outboxes| HeldBytes { outboxes, ..HeldBytes::default() };
        budget.change_held(held(0), held(249));
        assert!(!budget.is_exhausted());
        budget.change_held(held(249), held(250));
        assert!(budget.is_exhausted());
    }
}
