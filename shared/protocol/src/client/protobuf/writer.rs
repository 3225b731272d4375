//! Writes fields of protobuf straight into a buffer, in the order of the calls. Default values are left out.
//!
//! A message stands behind its length, so that a nested one is gone through twice: once to count, once to write.

use bytes::{BufMut as _, BytesMut};

/// Types of a field on the wire, in the low three bits of its tag.
const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// Writes the fields of one message, or counts their bytes.
pub(super) struct MessageWriter<'a> {
    /// `None`: they are only counted.
    out: Option<&'a mut BytesMut>,
    bytes: usize,
    /// The places of lists that are written later, if they are; see [`MessageWriter::list`].
    later: Option<Vec<usize>>,
}

impl<'a> MessageWriter<'a> {
    /// Appends a message with its length before it.
    pub(super) fn delimited(out: &'a mut BytesMut, body: impl Fn(&mut MessageWriter<'_>)) {
        let mut writer = Self { out: Some(out), bytes: 0, later: None };
        writer.body(&body);
    }

    /// The same, without the entries of lists: where they belong, in the order of the lists. The lengths count them.
    pub(super) fn delimited_around(
        out: &'a mut BytesMut,
        body: impl Fn(&mut MessageWriter<'_>),
    ) -> Vec<usize> {
        let mut writer = Self { out: Some(out), bytes: 0, later: Some(Vec::new()) };
        writer.body(&body);
        writer.later.unwrap_or_default()
    }

    /// Appends one entry of a list that was left out.
    pub(super) fn entry(out: &'a mut BytesMut, number: u32, body: impl Fn(&mut MessageWriter<'_>)) {
        Self { out: Some(out), bytes: 0, later: None }.message(number, body);
    }

    /// A number; 0 is left out. Negative ones are written as the 64 bits that protobuf makes of them.
    pub(super) fn number(&mut self, number: u32, value: u64) -> &mut Self {
        if value != 0 {
            self.tag(number, VARINT);
            self.varint(value);
        }
        self
    }

    /// A flag; false is left out.
    pub(super) fn flag(&mut self, number: u32, value: bool) -> &mut Self {
        self.number(number, value.into())
    }

    /// Text; the empty one is left out.
    pub(super) fn text(&mut self, number: u32, value: &str) -> &mut Self {
        self.bytes(number, value.as_bytes())
    }

    /// Bytes; none are left out.
    pub(super) fn bytes(&mut self, number: u32, value: &[u8]) -> &mut Self {
        if !value.is_empty() {
            self.tag(number, LENGTH_DELIMITED);
            self.varint(value.len() as u64);
            self.bytes += value.len();
            if let Some(out) = &mut self.out {
                out.extend_from_slice(value);
            }
        }
        self
    }

    /// A nested message, also if it is empty: its presence is what it says.
    pub(super) fn message(&mut self, number: u32, body: impl Fn(&mut MessageWriter<'_>)) -> &mut Self {
        self.tag(number, LENGTH_DELIMITED);
        self.body(&body);
        self
    }

    /// A message for each entry; where lists are written later, only their place is noted.
    pub(super) fn list<T: Copy>(
        &mut self,
        number: u32,
        entries: impl IntoIterator<Item = T>,
        body: impl Fn(&mut MessageWriter<'_>, T),
    ) -> &mut Self {
        if let (Some(out), Some(later)) = (&self.out, &mut self.later) {
            later.push(out.len());
            return self;
        }
        for entry in entries {
            self.message(number, |writer| body(writer, entry));
        }
        self
    }

    fn body(&mut self, body: &impl Fn(&mut MessageWriter<'_>)) {
        let mut counter = MessageWriter { out: None, bytes: 0, later: None };
        body(&mut counter);
        self.varint(counter.bytes as u64);
        match &mut self.out {
            Some(out) => {
                out.reserve(if self.later.is_some() { 0 } else { counter.bytes });
                body(self);
            }
            None => self.bytes += counter.bytes,
        }
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        match &mut self.out {
            Some(out) => {
                while value >= 0x80 {
                    out.put_u8(value as u8 | 0x80);
                    value >>= 7;
                }
                out.put_u8(value as u8);
            }
            // Seven bits a byte, and one byte for 0.
            None => self.bytes += (64 - (value | 1).leading_zeros() as usize).div_ceil(7),
        }
    }
}
