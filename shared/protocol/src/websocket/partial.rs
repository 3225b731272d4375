//! A decoder's state while something is incomplete: a header, a payload, a message. An idle connection has none.

use std::ops::Range;

use super::{
    frame::{MAX_HEADER_BYTES, Opcode},
    input::{Input, SplitCharacter, advance},
    message::PartialMessage,
};

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
