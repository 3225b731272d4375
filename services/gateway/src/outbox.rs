//! The outbox: ready bytes that wait for one connection, bounded in bytes.
//!
//! It stands between a worker's hub, which fills it, and the connection's actor, which writes it to the socket. Both
//! live on one thread, so it needs neither locks nor atomics. Filling an empty outbox wakes the actor once; all that
//! comes until the actor runs leaves in one vectored write. Design §3.

mod holders;
mod replay;

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    io::IoSlice,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};

use crate::{
    disconnect::Disconnect,
    memory::holders::{OUTBOX_BYTES, list},
};

/// What a session's writer finds when it looks: bytes to write, an order to end, or neither.
#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Chunk>,
    bytes: usize,
    limit_bytes: usize,
    /// The front chunk, or one that it belongs to, is partly on the wire: it must be finished whatever happens.
    front_started: bool,
    overflowed: bool,
    /// Bytes at the head, up to the end of the newest large reply, which do not count against the limit.
    exempt_bytes: usize,
    waker: Option<Waker>,
    /// Those who wait until less waits here.
    room_wanted: Vec<Waker>,
    /// The writer is woken already and has not come yet.
    woken: bool,
    /// It is among this thread's holders of memory.
    is_listed: bool,
    /// Unfinished input of the connection, where it is much.
    input_bytes: u32,
    /// Bytes taken out so far: tells a client that reads from one that does not.
    written: u64,
}

/// Bytes that leave in one piece.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// The next chunk belongs to the same message: both leave, or neither.
    is_joined: bool,
}

/// Bytes ready for the wire, shared by the hub and the connection's actor. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Rc<RefCell<State>>);

/// The outbox is over its limit; the connection is to be closed as a slow consumer ([`Disconnect::SLOW`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Outbox {
    /// An empty outbox that takes up to `limit_bytes` at a time.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(State { limit_bytes, ..State::default() })))
    }

    /// Puts bytes in line and wakes the writer if it had nothing to do.
    ///
    /// Over the limit nothing is queued, the outbox stays closed for more, and the writer is woken to end the
    /// connection: a gap is never hidden from the client by later bytes.
    pub fn push(&self, bytes: Bytes) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        if state.overflowed {
            return Err(Overflow);
        }
        // A single chunk may be larger than what is left as long as the outbox is empty: the limit is about waiting.
        let counted = state.bytes.saturating_sub(state.exempt_bytes);
        if counted.saturating_add(bytes.len()) > state.limit_bytes && !state.queue.is_empty() {
            return state.overflow();
        }
        state.put(bytes, false);
        self.list(state);
        Ok(())
    }

    /// Puts pieces in line that belong together, as [`Outbox::push`] does one: all of them leave, or none.
    pub fn push_joined(&self, pieces: &mut Vec<Bytes>) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        pieces.retain(|piece| !piece.is_empty());
        let counted = state.bytes.saturating_sub(state.exempt_bytes);
        let bytes = pieces.iter().map(Bytes::len).sum();
        if state.overflowed {
            pieces.clear();
            return Err(Overflow);
        }
        if counted.saturating_add(bytes) > state.limit_bytes && !state.queue.is_empty() {
            pieces.clear();
            return state.overflow();
        }
        let last = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.drain(..).enumerate() {
            state.put(piece, index < last);
        }
        self.list(state);
        Ok(())
    }

    /// Puts the answer to a command in line. It may be as large as answers may be, and does not count against the limit
    /// while it is written: a client that recovers much is not slow for that. But only one such answer waits at a time:
    /// who asks on without reading is slow.
    pub fn push_reply(&self, bytes: Bytes) -> Result<(), Overflow> {
        self.push_exempt(bytes, false)
    }

    fn push_exempt(&self, bytes: Bytes, is_replay: bool) -> Result<(), Overflow> {
        let mut state = self.0.borrow_mut();
        if state.overflowed {
            return Err(Overflow);
        }
        let exempt = if is_replay { state.exempt_bytes } else { 0 };
        let before = state.bytes.saturating_sub(exempt);
        if before > state.limit_bytes {
            return state.overflow();
        }
        let is_exempt = is_replay || state.bytes.saturating_add(bytes.len()) > state.limit_bytes;
        state.put(bytes, false);
        if is_exempt {
            state.exempt_bytes = state.bytes;
        }
        self.list(state);
        Ok(())
    }

    /// Lists the outbox among the holders of memory, once it is a large one.
    fn list(&self, mut state: RefMut<'_, State>) {
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

    /// Bytes waiting.
    pub fn len_bytes(&self) -> usize {
        self.0.borrow().bytes
    }

    /// Whether nothing waits.
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
        let mut is_kept = state.front_started;
        state.queue.retain(|chunk| {
            let is_next_kept = is_kept && chunk.is_joined;
            std::mem::replace(&mut is_kept, is_next_kept)
        });
        state.queue.push_back(Chunk { bytes: last, is_joined: false });
        state.bytes = state.queue.iter().map(|chunk| chunk.bytes.len()).sum();
        state.exempt_bytes = 0;
        state.overflowed = true;
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
            state.room_wanted.push(task.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Wakes the writer although no bytes came.
    pub fn wake(&self) {
        self.0.borrow_mut().wake();
    }

    /// Shows the waiting chunks to `write` (up to 64 of them), which tells how many bytes it took.
    pub fn write_with<E>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>) -> Result<usize, E> {
        /// Chunks in one vectored write: the kernel's fast path holds 8 to 64, larger gains nothing measurable.
        const VECTORS: usize = 64;
        let mut state = self.0.borrow_mut();
        let mut slices = [IoSlice::new(&[]); VECTORS];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&state.queue) {
            *slice = IoSlice::new(&chunk.bytes);
            count += 1;
        }
        let written = write(slices.get(..count).unwrap_or(&[]))?;
        state.advance(written);
        Ok(written)
    }

    /// Takes the oldest chunk out, for transports that do not write to a socket themselves.
    pub fn pop(&self) -> Option<Bytes> {
        let mut state = self.0.borrow_mut();
        let Chunk { bytes: chunk, is_joined } = state.queue.pop_front()?;
        state.bytes -= chunk.len();
        state.written += chunk.len() as u64;
        state.exempt_bytes = state.exempt_bytes.saturating_sub(chunk.len());
        state.front_started = is_joined;
        if state.queue.is_empty() {
            // Give the capacity back: most connections are idle most of the time.
            state.queue = VecDeque::new();
        }
        state.tell_room();
        Some(chunk)
    }
}

impl State {
    /// Waking only marks a task of this thread as ready; nothing of it runs before this borrow has ended.
    fn wake(&mut self) {
        if let Some(waker) = &self.waker
            && !std::mem::replace(&mut self.woken, true)
        {
            waker.wake_by_ref();
        }
    }

    fn put(&mut self, bytes: Bytes, is_joined: bool) {
        if bytes.is_empty() {
            return;
        }
        if self.queue.is_empty() {
            self.wake();
        }
        self.bytes += bytes.len();
        self.queue.push_back(Chunk { bytes, is_joined });
    }

    fn overflow(&mut self) -> Result<(), Overflow> {
        self.overflowed = true;
        self.tell_room();
        self.wake();
        Err(Overflow)
    }

    fn tell_room(&mut self) {
        if !self.room_wanted.is_empty() && (self.overflowed || self.bytes <= self.limit_bytes / 2) {
            std::mem::take(&mut self.room_wanted).into_iter().for_each(Waker::wake);
        }
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes = self.bytes.saturating_sub(written);
        self.written += written as u64;
        self.tell_room();
        self.exempt_bytes = self.exempt_bytes.saturating_sub(written);
        while written > 0 {
            let Some(front) = self.queue.front_mut() else { break };
            if written < front.bytes.len() {
                front.bytes.advance(written);
                self.front_started = true;
                return;
            }
            written -= front.bytes.len();
            self.front_started = front.is_joined;
            self.queue.pop_front();
        }
        if self.queue.is_empty() {
            // Give the capacity back: most connections are idle most of the time.
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn write_up_to(outbox: &Outbox, most: usize) -> Vec<u8> {
        let mut seen = Vec::new();
        outbox
            .write_with(|slices| {
                for slice in slices {
                    seen.extend_from_slice(slice);
                }
                seen.truncate(most);
                Ok::<_, ()>(seen.len())
            })
            .unwrap();
        seen
    }

    #[test]
    fn what_is_pushed_leaves_in_order_whatever_the_writes_take() {
        let outbox = Outbox::new(100);
        outbox.push(Bytes::from_static(b"hello ")).unwrap();
        outbox.push(Bytes::from_static(b"wide ")).unwrap();
        outbox.push(Bytes::from_static(b"world")).unwrap();
        let mut all = Vec::new();
        while !outbox.is_empty() {
            all.extend(write_up_to(&outbox, 4));
        }
        assert_eq!(all, b"hello wide world");
        assert_eq!(outbox.len_bytes(), 0);
    }

    #[test]
    fn over_its_limit_it_takes_nothing_more_and_says_slow() {
        let outbox = Outbox::new(10);
        outbox.push(Bytes::from_static(b"12345678")).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"9ab")), Err(Overflow));
        assert_eq!(outbox.push(Bytes::from_static(b"c")), Err(Overflow));
        assert_eq!(outbox.overflow(), Some(Disconnect::SLOW));
        assert_eq!(outbox.len_bytes(), 8);
    }

    #[test]
    fn a_large_reply_does_not_make_a_client_slow_but_asking_on_without_reading_does() {
        const LARGE: &[u8] = b"a reply that is larger than the limit";
        let outbox = Outbox::new(10);
        outbox.push(Bytes::from_static(b"12")).unwrap();
        outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
        outbox.push(Bytes::from_static(b"345678")).unwrap();
        assert_eq!(write_up_to(&outbox, 30).len(), 30);
        outbox.push(Bytes::from_static(b"9abc")).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"d")), Err(Overflow));

        let outbox = Outbox::new(10);
        outbox.expect_reply();
        outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
        assert_eq!(outbox.push_reply(Bytes::from_static(b"x")), Err(Overflow));

        // The same, known before the second reply is made.
        let outbox = Outbox::new(10);
        outbox.push_reply(Bytes::from_static(LARGE)).unwrap();
        outbox.expect_reply();
        assert_eq!(outbox.overflow(), Some(Disconnect::SLOW));
    }

    #[test]
    fn pieces_of_one_message_leave_together_or_not_at_all() {
        let head_and_rest = || vec![Bytes::from_static(b"head "), Bytes::from_static(b"rest ")];
        for most in 0..=15 {
            let outbox = Outbox::new(100);
            outbox.push_joined(&mut head_and_rest()).unwrap();
            outbox.push_joined(&mut head_and_rest()).unwrap();
            let mut all = write_up_to(&outbox, most);
            outbox.replace_with(Bytes::from_static(b"bye"));
            while !outbox.is_empty() {
                all.extend(write_up_to(&outbox, 100));
            }
            let messages = most.div_ceil(10);
            assert_eq!(
                all,
                ["head rest ".repeat(messages).as_bytes(), b"bye"].concat(),
                "{most} bytes written"
            );
        }
        let outbox = Outbox::new(12);
        outbox.push(Bytes::from_static(b"123")).unwrap();
        assert_eq!(outbox.push_joined(&mut head_and_rest()), Err(Overflow));
        assert_eq!(outbox.len_bytes(), 3);
    }

    #[test]
    fn a_chunk_that_is_partly_written_is_finished_before_the_last_word() {
        let outbox = Outbox::new(100);
        outbox.push(Bytes::from_static(b"abcdef")).unwrap();
        outbox.push(Bytes::from_static(b"dropped")).unwrap();
        assert_eq!(write_up_to(&outbox, 2), b"ab");
        outbox.replace_with(Bytes::from_static(b"bye"));
        assert_eq!(write_up_to(&outbox, 100), b"cdefbye");
    }
}
