//! A message that did not arrive in one piece: what is there so far. RFC 6455 §5.4, §8.1.

use super::{
    error::ProtocolError,
    event::WebSocketMessageKind,
    inflate::inflate,
    input::{SplitCharacter, checked_prefix},
};

/// A message in the making. It grows with what arrives, never with what is announced.
#[derive(Debug)]
pub(super) struct PartialMessage {
    pub(super) kind: WebSocketMessageKind,
    pub(super) compressed: bool,
    /// Bytes that the headers of its frames announced so far.
    pub(super) announced: u64,
    /// The bytes that arrived: still compressed, if it is.
    pub(super) data: Vec<u8>,
    /// Bytes of uncompressed text that are known to be whole characters.
    checked: usize,
    /// The start of a character whose rest did not arrive yet, where fragments are handed on at once.
    pub(super) split: SplitCharacter,
}

impl PartialMessage {
    pub(super) fn new(kind: WebSocketMessageKind, compressed: bool, announced: u64) -> Self {
        Self { kind, compressed, announced, data: Vec::new(), checked: 0, split: SplitCharacter::default() }
    }

    /// Adds what arrived. `outstanding` bytes of the message are still to come, where that is known. Text is checked
    /// at once.
    pub(super) fn push(&mut self, chunk: &[u8], outstanding: Option<u64>) -> Result<(), ProtocolError> {
        self.make_room(chunk.len(), outstanding);
        self.data.extend_from_slice(chunk);
        if self.kind == WebSocketMessageKind::Text && !self.compressed {
            self.checked += checked_prefix(self.data.get(self.checked..).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Doubles, as a vector does, but not beyond the end of the message.
    fn make_room(&mut self, needed: usize, outstanding: Option<u64>) {
        if self.data.capacity() - self.data.len() < needed {
            let outstanding = outstanding.and_then(|bytes| bytes.try_into().ok()).unwrap_or(usize::MAX);
            let doubled = self.data.len().saturating_add(needed);
            self.data.reserve_exact(doubled.min(needed.saturating_add(outstanding)));
        }
    }

    /// The message is all there: inflates it, or finds its last character cut off.
    pub(super) fn complete(&mut self, max_message_bytes: usize) -> Result<(), ProtocolError> {
        if self.compressed {
            self.data = inflate(self.kind, &self.data, max_message_bytes)?;
        } else if self.kind == WebSocketMessageKind::Text && self.checked < self.data.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(())
    }
}
