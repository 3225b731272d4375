//! The bytes that one read from the socket brought, on their way through the decoder.

use std::ops::Range;

use super::mask;

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

    /// How many bytes no decoder has taken yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Whether all bytes are taken.
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
            mask::unmask(key, bytes);
        }
        range
    }

    /// Bytes that were taken.
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        self.bytes.get(range).unwrap_or_default()
    }
}
