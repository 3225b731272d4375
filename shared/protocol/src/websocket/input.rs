//! The bytes that one read from the socket brought, on their way through the decoder.
//!
//! Unmasking at memory speed. RFC 6455 §5.3.
//!
//! Text that arrives in pieces: whole characters, and one that is cut off. RFC 6455 §8.1.

use std::ops::Range;

use super::error::ProtocolError;

/// A read buffer and how far it is decoded. Payloads are unmasked where they lie, so a message that arrived whole is
/// lent from here and never copied.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl<'b> Input<'b> {
    /// The bytes as they came.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The number of bytes that no decoder has taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// True if all bytes are taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// The bytes that are not taken yet, still masked.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Takes all bytes that are left, as they came, for protocols without a mask.
    #[must_use]
    pub fn take_rest(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.at, self.bytes.len());
        self.bytes.get(from..).unwrap_or_default()
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.at = self.bytes.len().min(self.at + count);
    }

    pub(super) fn discard(&mut self) {
        self.at = self.bytes.len();
    }

    /// Takes up to `count` bytes and unmasks them; the range is for [`Input::slice`].
    pub(super) fn take(&mut self, count: usize, key: [u8; 4]) -> Range<usize> {
        let from = self.at;
        self.skip(count);
        let range = from..self.at;
        if let Some(bytes) = self.bytes.get_mut(range.clone()) {
            unmask(key, bytes);
        }
        range
    }

    /// Bytes that were taken.
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}

/// XORs `bytes` with the repeated `key`, in place; masks and unmasks alike.
///
/// Eight bytes at a time over aligned-size chunks, which the compiler turns into vector instructions.
pub fn unmask(key: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for the bytes that follow the first `done` bytes of a payload.
#[must_use]
pub fn advance(mut key: [u8; 4], done: usize) -> [u8; 4] {
    key.rotate_left(done % 4);
    key
}

/// The number of bytes at the front of `bytes` that are whole characters; at most the start of one more follows them.
///
/// # Errors
/// No bytes that may follow could make it valid.
pub(super) fn checked_prefix(bytes: &[u8]) -> Result<usize, ProtocolError> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(text) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(ProtocolError::InvalidUtf8),
    }
}

/// Up to 4 bytes of one character that arrived in pieces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SplitCharacter {
    bytes: [u8; 4],
    length: usize,
}

impl SplitCharacter {
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds bytes: the caller gives no more than fit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for (slot, byte) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *slot = *byte;
            self.length += 1;
        }
    }

    /// The number of bytes that the character lacks, by its first byte.
    pub(super) fn lacks(&self) -> usize {
        let whole = match self.bytes.first() {
            Some(0xc0..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..) => 4,
            _ => 1,
        };
        whole.max(self.length) - self.length
    }
}
