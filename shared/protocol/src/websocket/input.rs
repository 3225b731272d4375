//! The bytes of a client on their way through the decoder: those that one read from the socket brought, unmasked where
//! they lie (RFC 6455 §5.3), and those that are kept while a header, a payload or a message is incomplete (§5.4, §8.1).
//! An idle connection keeps none.

use std::ops::Range;

use super::{
    ProtocolError, WebSocketMessageKind,
    frame::{MAX_HEADER_BYTES, Opcode},
};

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

/// The input that is kept while something is incomplete, or lent to an event until the next call.
#[derive(Debug, Default)]
pub(super) struct PartialInput {
    pub(super) header: PartialHeader,
    pub(super) frame: Option<PartialFrame>,
    pub(super) control: Vec<u8>,
    pub(super) message: Option<PartialMessage>,
    pub(super) lent: Lent,
}

#[derive(Debug, Default)]
pub(super) struct PartialHeader {
    bytes: [u8; MAX_HEADER_BYTES],
    pub(super) length: usize,
}

/// A frame whose payload did not arrive whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialFrame {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// The key for the next byte.
    pub(super) mask: [u8; 4],
    pub(super) outstanding: u64,
}

/// The part that the last event borrowed, to be given back before the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Lent {
    #[default]
    Nothing,
    Control,
    Character,
    Message,
}

impl PartialInput {
    /// The bytes that the event that borrows `lent` shows.
    pub(super) fn lent(&self, lent: Lent) -> &[u8] {
        let message = self.message.as_ref();
        match lent {
            Lent::Nothing => &[],
            Lent::Control => &self.control,
            Lent::Character => message.map_or(&[], |message| message.split.bytes()),
            Lent::Message => message.map_or(&[], |message| {
                // Where fragments are handed on, all that is left of a message is its last character.
                if message.split.is_empty() { &message.data } else { message.split.bytes() }
            }),
        }
    }

    /// Takes back what the last event borrowed.
    pub(super) fn give_back(&mut self) {
        match std::mem::take(&mut self.lent) {
            Lent::Nothing => {}
            Lent::Control => self.control = Vec::new(),
            Lent::Message => self.message = None,
            Lent::Character => {
                if let Some(message) = &mut self.message {
                    message.split = SplitCharacter::default();
                }
            }
        }
    }

    /// The bytes of memory held.
    pub(super) fn held_bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, |message| message.data.capacity());
        size_of::<Self>() + self.control.capacity() + message
    }

    pub(super) fn is_idle(&self) -> bool {
        self.header.length == 0 && self.frame.is_none() && self.control.is_empty() && self.message.is_none()
    }
}

impl PartialHeader {
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds as much as fits; how much that was.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let before = self.length;
        for (slot, byte) in self.bytes.iter_mut().skip(before).zip(bytes) {
            *slot = *byte;
            self.length += 1;
        }
        self.length - before
    }
}

impl PartialFrame {
    /// Takes what the input has of this frame's payload, at most `most` bytes.
    pub(super) fn take(&mut self, most: usize, input: &mut Input<'_>) -> Range<usize> {
        let outstanding = usize::try_from(self.outstanding).unwrap_or(usize::MAX);
        let range = input.take(outstanding.min(most).min(input.remaining()), self.mask);
        self.outstanding -= range.len() as u64;
        self.mask = advance(self.mask, range.len());
        range
    }
}

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

    /// Refuses a whole text whose last character is cut off.
    pub(super) fn check_end(&self) -> Result<(), ProtocolError> {
        if self.kind == WebSocketMessageKind::Text && self.checked < self.data.len() {
            return Err(ProtocolError::InvalidUtf8);
        }
        Ok(())
    }
}
