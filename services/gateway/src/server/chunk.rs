//! One chunk of HTTP/1.1 (RFC 9112 §7.1) of many pieces of bytes: its size, the pieces, the line break behind them. For
//! HTTP/1.0 the pieces alone.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Bytes of the longest size, 16 hexadecimal digits, with the line break.
const SIZE_BYTES: usize = 18;
/// The line break behind the pieces.
const TAIL: &[u8] = b"\r\n";
/// The last chunk.
const LAST: &[u8] = b"0\r\n\r\n";
/// Slices of one vectored write.
const SLICES: usize = 64;
/// Mean bytes of a piece up to which copying it costs less than handing it over by itself.
const SMALL_BYTES: usize = 1024;
/// Pieces that an idle chunk keeps room for.
const KEPT_PIECES: usize = 4;

/// The part of a chunk that is not written yet.
#[derive(Debug, Default)]
pub(super) struct PendingChunk {
    size: [u8; SIZE_BYTES],
    /// Bytes of `size` that are not written, at its end.
    size_left: usize,
    pieces: VecDeque<Bytes>,
    /// Bytes of the pieces.
    bytes: usize,
    /// Bytes of [`TAIL`] that are not written.
    tail_left: usize,
}

impl PendingChunk {
    /// The pieces, to fill an empty chunk before [`PendingChunk::begin`].
    pub(super) fn pieces_mut(&mut self) -> &mut VecDeque<Bytes> {
        &mut self.pieces
    }

    /// Makes a chunk of the pieces.
    pub(super) fn begin(&mut self, is_chunked: bool) {
        self.bytes = self.pieces.iter().map(Bytes::len).sum();
        if is_chunked && self.bytes > 0 {
            self.write_size();
            self.tail_left = TAIL.len();
        }
    }

    /// The last chunk, without pieces.
    pub(super) fn begin_last(&mut self, is_chunked: bool) {
        if is_chunked {
            self.pieces.push_back(Bytes::from_static(LAST));
            self.bytes = LAST.len();
        }
    }

    /// Writes the size of the pieces from the end on, digit by digit.
    fn write_size(&mut self) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut left = self.bytes;
        let mut free = SIZE_BYTES - TAIL.len();
        let (digits, tail) = self.size.split_at_mut(free);
        tail.copy_from_slice(TAIL);
        for byte in digits.iter_mut().rev() {
            *byte = DIGITS.get(left % 16).copied().unwrap_or(b'0');
            free -= 1;
            left /= 16;
            if left == 0 {
                break;
            }
        }
        self.size_left = SIZE_BYTES - free;
    }

    /// Bytes that are left to write.
    pub(super) fn len(&self) -> usize {
        self.size_left + self.bytes + self.tail_left
    }

    /// True if all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if copying the pieces costs less than handing each over.
    pub(super) fn has_small_pieces(&self) -> bool {
        self.bytes <= SMALL_BYTES * self.pieces.len()
    }

    /// Takes so many bytes out.
    pub(super) fn advance(&mut self, written: usize) {
        let mut left = take(&mut self.size_left, written);
        while left > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let count = left.min(piece.len());
            left -= count;
            self.bytes -= count;
            if count < piece.len() {
                piece.advance(count);
            } else {
                self.pieces.pop_front();
            }
        }
        take(&mut self.tail_left, left);
        if self.pieces.is_empty() && self.pieces.capacity() > KEPT_PIECES {
            self.pieces = VecDeque::new();
        }
    }

    /// The part that is left, in order.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let size = self.size.get(SIZE_BYTES - self.size_left..).unwrap_or_default();
        let tail = TAIL.get(TAIL.len() - self.tail_left..).unwrap_or_default();
        let ends = [size, tail].map(|end| (!end.is_empty()).then_some(end));
        let [size, tail] = ends;
        size.into_iter().chain(self.pieces.iter().map(Bytes::as_ref)).chain(tail)
    }

    /// Appends what is left.
    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        self.slices().for_each(|slice| out.extend_from_slice(slice));
    }

    /// Shows what is left, up to [`SLICES`] slices of it.
    pub(super) fn with_slices<R>(&self, look: impl FnOnce(&[IoSlice<'_>]) -> R) -> R {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, bytes) in slices.iter_mut().zip(self.slices()) {
            *slice = IoSlice::new(bytes);
            count += 1;
        }
        look(slices.get(..count).unwrap_or(&[]))
    }
}

/// Takes up to `count` from `left`, and returns what remains of `count`.
fn take(left: &mut usize, count: usize) -> usize {
    let taken = count.min(*left);
    *left -= taken;
    count - taken
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn chunk(pieces: &[&'static str], is_chunked: bool) -> PendingChunk {
        let mut chunk = PendingChunk::default();
        chunk.pieces_mut().extend(pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())));
        chunk.begin(is_chunked);
        chunk
    }

    fn left(chunk: &PendingChunk) -> Vec<u8> {
        let mut copied = Vec::new();
        chunk.copy_to(&mut copied);
        let sliced =
            chunk.with_slices(|slices| slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>());
        assert_eq!(copied, sliced);
        assert_eq!(copied.len(), chunk.len());
        copied
    }

    #[test]
    fn all_pieces_are_one_chunk_with_the_size_of_all() {
        assert_eq!(left(&chunk(&["0123456789", "abcdefg"], true)), b"11\r\n0123456789abcdefg\r\n");
        assert_eq!(left(&chunk(&["0123456789", "abcdefg"], false)), b"0123456789abcdefg");
        let large: &'static str = "x".repeat(0x1_2345).leak();
        assert!(left(&chunk(&[large], true)).starts_with(b"12345\r\nxxx"));
    }

    #[test]
    fn a_chunk_goes_on_after_every_byte_where_a_write_may_end() {
        let whole = b"11\r\n0123456789abcdefg\r\n";
        for first in 0..=whole.len() {
            for second in 0..=whole.len() - first {
                let mut chunk = chunk(&["0123456789", "abcdefg"], true);
                chunk.advance(first);
                assert_eq!(left(&chunk), whole.get(first..).unwrap());
                chunk.advance(second);
                assert_eq!(left(&chunk), whole.get(first + second..).unwrap());
                assert_eq!(chunk.is_empty(), first + second == whole.len());
            }
        }
    }

    #[test]
    fn the_last_chunk_is_empty_and_http_1_0_has_none() {
        for (is_chunked, last) in [(true, LAST), (false, b"".as_slice())] {
            let mut chunk = PendingChunk::default();
            chunk.begin_last(is_chunked);
            assert_eq!(left(&chunk), last);
        }
    }

    #[test]
    fn more_pieces_than_one_write_takes_follow_in_the_next() {
        let pieces = vec!["a"; 2 * SLICES];
        let mut chunk = chunk(&pieces, true);
        let shown = chunk.with_slices(|slices| slices.iter().map(|slice| slice.len()).sum());
        chunk.advance(shown);
        let rest = chunk.with_slices(|slices| slices.len());
        assert_eq!((shown, rest), (4 + SLICES - 1, SLICES));
    }

    #[test]
    fn an_idle_chunk_keeps_room_for_few_pieces() {
        let mut chunk = chunk(&["a"; 100], true);
        chunk.advance(chunk.len());
        assert!(chunk.is_empty() && chunk.pieces.capacity() <= KEPT_PIECES);
    }
}
