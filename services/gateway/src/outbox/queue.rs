//! The chunks of an outbox, oldest first. A connection mostly waits for none or for one, which needs no allocation.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Chunks in one vectored write: the kernel's fast path holds 8 to 64, larger gains nothing measurable.
const VECTORS: usize = 64;

/// Chunks that a queue has room for when a second one comes.
const MANY: usize = 8;

/// Bytes that leave in one piece.
#[derive(Debug)]
pub(super) struct OutboxChunk {
    pub(super) bytes: Bytes,
    /// The next chunk belongs to the same message: both leave, or neither.
    pub(super) is_joined: bool,
}

/// Chunks in order; none of them is empty.
#[derive(Debug, Default)]
pub(super) enum OutboxQueue {
    #[default]
    Empty,
    /// One that belongs to no other.
    One(Bytes),
    /// At least one, after there were more.
    Many(VecDeque<OutboxChunk>),
}

impl OutboxQueue {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn push(&mut self, bytes: Bytes, is_joined: bool) {
        match self {
            Self::Empty if !is_joined => *self = Self::One(bytes),
            Self::Many(chunks) => chunks.push_back(OutboxChunk { bytes, is_joined }),
            Self::Empty | Self::One(_) => {
                // A message in two pieces is mostly alone, and small allocations are the cheap ones; others come in numbers.
                let mut chunks = VecDeque::with_capacity(if is_joined { 2 } else { MANY });
                if let Self::One(first) = std::mem::take(self) {
                    chunks.push_back(OutboxChunk { bytes: first, is_joined: false });
                }
                chunks.push_back(OutboxChunk { bytes, is_joined });
                *self = Self::Many(chunks);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<OutboxChunk> {
        match self {
            Self::Empty => None,
            Self::One(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Some(OutboxChunk { bytes, is_joined: false })
            }
            Self::Many(chunks) => {
                let chunk = chunks.pop_front();
                if chunks.is_empty() {
                    // Give the capacity back: most connections are idle most of the time.
                    *self = Self::Empty;
                }
                chunk
            }
        }
    }

    /// Takes so many bytes out, of those that wait and at least one. Returns whether a message is partly out by that.
    pub(super) fn advance(&mut self, mut written: usize) -> bool {
        let chunks = match self {
            Self::Empty => return false,
            Self::One(bytes) if written < bytes.len() => {
                bytes.advance(written);
                return true;
            }
            Self::One(_) => {
                *self = Self::Empty;
                return false;
            }
            Self::Many(chunks) => chunks,
        };
        let mut is_started = false;
        while written > 0 {
            let Some(front) = chunks.front_mut() else { break };
            if written < front.bytes.len() {
                front.bytes.advance(written);
                return true;
            }
            written -= front.bytes.len();
            is_started = front.is_joined;
            chunks.pop_front();
        }
        if chunks.is_empty() {
            // Give the capacity back: most connections are idle most of the time.
            *self = Self::Empty;
        }
        is_started
    }

    /// Shows the oldest chunks, up to [`VECTORS`] of them.
    pub(super) fn with_slices<R>(&self, look: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        match self {
            Self::Empty => look(&[]),
            Self::One(bytes) => look(&[IoSlice::new(bytes)]),
            Self::Many(chunks) => {
                let mut slices = [IoSlice::new(&[]); VECTORS];
                let mut count = 0;
                for (slice, chunk) in slices.iter_mut().zip(chunks) {
                    *slice = IoSlice::new(&chunk.bytes);
                    count += 1;
                }
                look(slices.get(..count).unwrap_or(&[]))
            }
        }
    }

    /// The chunks, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(bytes) => (Some(bytes), None),
            Self::Many(chunks) => (None, Some(chunks)),
        };
        many.into_iter().flat_map(|chunks| chunks.iter().rev().map(|chunk| &chunk.bytes)).chain(one)
    }

    /// Drops all chunks but those of the message that is partly out, if there is one.
    pub(super) fn keep_started(&mut self, is_started: bool) {
        match self {
            Self::Many(chunks) if is_started => {
                let last = chunks.iter().position(|chunk| !chunk.is_joined);
                chunks.truncate(last.map_or(chunks.len(), |last| last + 1));
            }
            Self::One(_) if is_started => {}
            _ => *self = Self::Empty,
        }
    }
}
