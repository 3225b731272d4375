//! The outbox: ready bytes that wait for one connection, bounded in bytes.
//!
//! It stands between a worker's hub, which fills it, and the connection's actor, which writes it to the socket. Both
//! live on one thread, so it needs neither locks nor atomics. Filling an empty outbox wakes the actor once; all that
//! comes until the actor runs leaves in one vectored write. `docs/architecture.md` §3.5.

mod holders;
mod queue;

use std::{
    cell::{RefCell, RefMut},
    io::IoSlice,
    rc::Rc,
    sync::OnceLock,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use tokio::time::Instant;

use self::queue::{OutboxChunk, OutboxQueue};
use crate::{
    disconnect::Disconnect,
    memory::holders::{OUTBOX_BYTES, list},
};

/// The state that a session's writer finds: bytes to write, a command to end, or neither.
#[derive(Debug, Default)]
struct OutboxState {
    queue: OutboxQueue,
    bytes: usize,
    limit_bytes: usize,
    /// The front chunk, or one that it belongs to, is partly on the wire: it must be finished whatever happens.
    front_started: bool,
    overflowed: bool,
    /// Bytes at the head, up to the end of the newest large reply, which do not count against the limit.
    exempt_bytes: usize,
    waker: Option<Waker>,
    /// Those who wait until less waits here. Rare, and behind a pointer: every idle connection has an outbox.
    #[allow(clippy::box_collection, reason = "8 bytes in each of many idle connections instead of 24")]
    room_wanted: Option<Box<Vec<Waker>>>,
    /// The writer is woken already and has not come yet.
    woken: bool,
    /// It is among this thread's holders of memory.
    is_listed: bool,
    /// Unfinished input of the connection, where it is much.
    input_bytes: u32,
    /// The time since when bytes wait without a break ([`tick_ms`]), noted by the writer where it leaves some behind; 0 where none do.
    blocked_since: u32,
    /// Bytes taken out so far: tells a client that reads from one that does not.
    written: u64,
}

/// Bytes ready for the wire, shared by the hub and the connection's actor. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Rc<RefCell<OutboxState>>);

/// The outbox is over its limit; the connection is to be closed as a slow consumer ([`Disconnect::SLOW`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Outbox {
    /// An empty outbox that takes up to `limit_bytes` at a time.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(OutboxState { limit_bytes, ..OutboxState::default() })))
    }

    /// Puts bytes in line and wakes the writer if it had nothing to do.
    ///
    /// Over the limit nothing is queued, the outbox stays closed for more, and the writer is woken to end the
    /// connection: a gap is never hidden from the client by later bytes.
    pub fn push(&self, bytes: Bytes) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        state.admit(bytes.len())?;
        state.put(bytes, false);
        self.list(state);
        Ok(())
    }

    /// Puts two pieces in line that belong together, as [`Outbox::push`] does one: both leave, or neither.
    pub fn push_pair(&self, head: Bytes, rest: Bytes) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        state.admit(head.len().saturating_add(rest.len()))?;
        state.put_pair(head, rest);
        self.list(state);
        Ok(())
    }

    /// Puts the answer to a command in line. It may be as large as answers may be, and does not count against the limit
    /// while it is written: a client that recovers much is not slow for that. But only one such answer waits at a time:
    /// who asks on without reading is slow.
    pub fn push_reply(&self, bytes: Bytes) -> Result<(), Overflow> {
        self.push_reply_pair(bytes, Bytes::new())
    }

    /// As [`Outbox::push_reply`], of a message in two pieces: both leave, or neither.
    pub fn push_reply_pair(&self, head: Bytes, rest: Bytes) -> Result<(), Overflow> {
        self.push_exempt(head, rest, false)
    }

    /// Puts what a session missed in one of its channels in line: a part of the answer to its connect (decision record 26). Any
    /// number of parts may wait, together more than anything else may. What is large in them has a permit of the memory budget,
    /// and there are as many as the session has channels.
    pub fn push_replay(&self, bytes: Bytes) -> Result<(), Overflow> {
        self.push_exempt(bytes, Bytes::new(), true)
    }

    fn push_exempt(&self, head: Bytes, rest: Bytes, is_replay: bool) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        if state.overflowed {
            return Err(Overflow);
        }
        let exempt = if is_replay { state.exempt_bytes } else { 0 };
        let before = state.bytes.saturating_sub(exempt);
        if before > state.limit_bytes {
            return state.overflow();
        }
        state.put_pair(head, rest);
        if is_replay || state.bytes > state.limit_bytes {
            state.exempt_bytes = state.bytes;
        }
        self.list(state);
        Ok(())
    }

    /// Lists the outbox among the holders of memory, once it is a large one.
    fn list(&self, mut state: RefMut<'_, OutboxState>) {
        if state.bytes >= OUTBOX_BYTES && !state.is_listed {
            state.is_listed = true;
            drop(state);
            list(&self.0);
        }
    }

    /// Ends the connection as an overflow does; false if it ends already.
    pub fn close_as_slow(&self) -> bool {
        let mut state = self.0.borrow_mut();
        !state.overflowed && state.overflow().is_err()
    }

    /// Overflows now where a reply would: one that is never sent need not be made.
    pub fn expect_reply(&self) {
        let mut state = self.0.borrow_mut();
        if !state.overflowed && state.bytes > state.limit_bytes {
            let _ = state.overflow();
        }
    }

    /// The writer leaves bytes behind: the peer or its transport takes no more for now.
    pub fn note_blocked(&self) {
        let mut state = self.0.borrow_mut();
        if state.blocked_since == 0 && !state.queue.is_empty() {
            state.blocked_since = tick_ms();
        }
    }

    /// Bytes waiting, and the milliseconds for which the writer has left some behind without a break: the oldest byte is at most
    /// so old.
    pub fn waiting(&self) -> (usize, u32) {
        let state = self.0.borrow();
        let since = state.blocked_since;
        (state.bytes, if since == 0 || state.bytes == 0 { 0 } else { tick_ms().wrapping_sub(since) })
    }

    /// True if the writer has left bytes behind: the client does not take all that comes.
    pub fn is_blocked(&self) -> bool {
        self.0.borrow().blocked_since != 0
    }

    /// Bytes taken out so far.
    pub fn written(&self) -> u64 {
        self.0.borrow().written
    }

    /// Shows the newest chunks, up to `most` of them.
    pub fn each_newest(&self, most: usize, show: impl FnMut(&[u8])) {
        self.0.borrow().queue.newest_first().take(most).map(AsRef::as_ref).for_each(show);
    }

    /// Bytes waiting.
    pub fn len_bytes(&self) -> usize {
        self.0.borrow().bytes
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().queue.is_empty()
    }

    /// The reason to end the connection, if the outbox overflowed.
    pub fn overflow(&self) -> Option<Disconnect> {
        self.0.borrow().overflowed.then_some(Disconnect::SLOW)
    }

    /// Drops what waits, but for a message that is partly written, and takes `last` as the last bytes of all.
    pub fn replace_with(&self, last: Bytes) {
        let mut state = self.0.borrow_mut();
        let is_started = state.front_started;
        state.queue.keep_started(is_started);
        if !last.is_empty() {
            state.queue.push(last, false);
        }
        state.bytes = state.queue.newest_first().map(Bytes::len).sum();
        state.exempt_bytes = 0;
        state.overflowed = true;
        state.wake_for_room();
        state.wake();
    }

    /// Remembers whom to wake when bytes come.
    pub fn register(&self, task: &Context<'_>) {
        let mut state = self.0.borrow_mut();
        state.woken = false;
        match &state.waker {
            Some(waker) if waker.will_wake(task.waker()) => {}
            _ => state.waker = Some(task.waker().clone()),
        }
    }

    /// Waits until at most half of what may wait here does, or nothing more is taken.
    pub async fn room(&self) {
        std::future::poll_fn(|task| {
            let mut state = self.0.borrow_mut();
            if state.overflowed || state.bytes <= state.limit_bytes / 2 {
                return Poll::Ready(());
            }
            state.room_wanted.get_or_insert_default().push(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// All bytes that ever waited here.
    pub fn queued(&self) -> u64 {
        let state = self.0.borrow();
        state.written + state.bytes as u64
    }

    /// Waits until the first so many bytes of all are written, as far as the writer says: while more than half of the limit waits
    /// it does not. False if the outbox overflowed. Where the connection ends it may wait for ever.
    pub async fn written_to(&self, bytes: u64) -> bool {
        self.watch(|state| state.written >= bytes).await
    }

    /// Waits as [`Outbox::written_to`], until nothing waits.
    pub async fn written_all(&self) -> bool {
        self.watch(|state| state.bytes == 0).await
    }

    async fn watch(&self, is_done: impl Fn(&OutboxState) -> bool) -> bool {
        std::future::poll_fn(|task| {
            let mut state = self.0.borrow_mut();
            if state.overflowed {
                return Poll::Ready(false);
            }
            if is_done(&state) {
                return Poll::Ready(true);
            }
            state.room_wanted.get_or_insert_default().push(task.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Wakes the writer although no bytes came.
    pub fn wake(&self) {
        self.0.borrow_mut().wake();
    }

    /// Shows the waiting chunks to `write` (up to 64 of them), which tells how many bytes it took.
    pub fn write_with<E>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>) -> Result<usize, E> {
        let mut state = self.0.borrow_mut();
        let written = state.queue.with_slices(write)?;
        state.advance(written);
        Ok(written)
    }

    /// Takes the oldest chunk out, for transports that do not write to a socket themselves.
    pub fn pop(&self) -> Option<Bytes> {
        let mut state = self.0.borrow_mut();
        let OutboxChunk { bytes: chunk, is_joined } = state.queue.pop()?;
        state.bytes -= chunk.len();
        state.written += chunk.len() as u64;
        state.exempt_bytes = state.exempt_bytes.saturating_sub(chunk.len());
        state.front_started = is_joined;
        state.note_emptied();
        state.wake_for_room();
        Some(chunk)
    }
}

/// Milliseconds of a clock that only runs forward, for differences below 49 days; never 0. By tokio's clock, which tests move.
fn tick_ms() -> u32 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let elapsed = now.saturating_duration_since(*BEGAN.get_or_init(|| now)).as_millis();
    #[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
    let tick = elapsed as u32;
    tick.max(1)
}

impl OutboxState {
    /// Waking only marks a task of this thread as ready; nothing of it runs before this borrow has ended.
    fn wake(&mut self) {
        if let Some(waker) = &self.waker
            && !std::mem::replace(&mut self.woken, true)
        {
            waker.wake_by_ref();
        }
    }

    /// Checks that so many bytes more may wait.
    fn admit(&mut self, bytes: usize) -> Result<(), Overflow> {
        if self.overflowed {
            return Err(Overflow);
        }
        // A message may be larger than what is left as long as the outbox is empty: the limit is about waiting.
        let counted = self.bytes.saturating_sub(self.exempt_bytes);
        if counted.saturating_add(bytes) > self.limit_bytes && !self.queue.is_empty() {
            return self.overflow();
        }
        Ok(())
    }

    fn put_pair(&mut self, head: Bytes, rest: Bytes) {
        let is_joined = !rest.is_empty();
        self.put(head, is_joined);
        self.put(rest, false);
    }

    fn put(&mut self, bytes: Bytes, is_joined: bool) {
        if bytes.is_empty() {
            return;
        }
        if self.queue.is_empty() {
            self.wake();
        }
        self.bytes += bytes.len();
        self.queue.push(bytes, is_joined);
    }

    fn overflow(&mut self) -> Result<(), Overflow> {
        self.overflowed = true;
        self.wake_for_room();
        self.wake();
        Err(Overflow)
    }

    fn wake_for_room(&mut self) {
        if self.room_wanted.is_some() && (self.overflowed || self.bytes <= self.limit_bytes / 2) {
            self.room_wanted.take().into_iter().flat_map(|wanted| *wanted).for_each(Waker::wake);
        }
    }

    /// If nothing waits any more, nothing is blocked.
    fn note_emptied(&mut self) {
        if self.blocked_since != 0 && self.queue.is_empty() {
            self.blocked_since = 0;
        }
    }

    fn advance(&mut self, written: usize) {
        if written == 0 {
            return;
        }
        self.bytes = self.bytes.saturating_sub(written);
        self.written += written as u64;
        self.wake_for_room();
        self.exempt_bytes = self.exempt_bytes.saturating_sub(written);
        self.front_started = self.queue.advance(written);
        self.note_emptied();
    }
}

#[cfg(test)]
mod tests;
