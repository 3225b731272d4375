//! Text that arrives in pieces: whole characters, and one that is cut off. RFC 6455 §8.1.

use super::error::ProtocolError;

/// How many bytes at the front of `bytes` are whole characters; at most the start of one more follows them.
///
/// # Errors
/// Where no bytes that may follow could make it valid.
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

    /// How many bytes the character lacks, by its first byte.
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
