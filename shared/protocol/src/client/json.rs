//! JSON as the client protocol needs it: strings, numbers and raw payloads written straight into a buffer, and the
//! check of a payload's form and depth. Below [`super::reply`] and [`super::push`]; `docs/protocols/client.md` §1.6 to §1.11.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, BytesMut};
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::escape;

/// Deepest nesting of arrays and objects in the JSON of a client or a backend. A command's own two levels count too. As deep as
/// the JSON libraries of most languages read by default, so that nothing is passed on that a receiver cannot read.
pub const JSON_DEPTH: usize = 128;

/// Why bytes are not a payload we pass on. Holds a position, never an excerpt: payloads do not belong into logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not utf-8")]
    NotUtf8,
    /// Arrays and objects nest deeper than the limit.
    #[error("json nested deeper than {max_depth} levels")]
    TooDeep {
        /// The limit that was passed.
        max_depth: usize,
    },
    /// Not exactly one JSON value.
    #[error("not one json value: line {line}, column {column}")]
    Syntax {
        /// Line of the fault, from 1.
        line: usize,
        /// Byte column of the fault in its line, from 1 (0: at the line's start).
        column: usize,
    },
}

/// Checks that `data` is exactly one JSON value (whitespace around it is fine) that nests at most `max_depth` levels.
///
/// Builds nothing and does not recurse: deep nesting costs no stack.
///
/// # Errors
/// [`JsonError`], by the first of UTF-8, depth and syntax that fails.
pub fn json_compact_check(data: &[u8], max_depth: usize) -> Result<(), JsonError> {
    let text = checked_text(data, max_depth)?;
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => Err(JsonError::Syntax { line: error.line(), column: error.column() }),
    }
}

/// Checks that a JSON value nests at most `max_depth` levels. Of JSON that a parser has taken nothing else is left to check: parsers
/// skip raw values without a limit of their own.
///
/// # Errors
/// [`JsonError::TooDeep`].
pub fn json_depth_check(json: &str, max_depth: usize) -> Result<(), JsonError> {
    if deeper_than(json.as_bytes(), max_depth) { Err(JsonError::TooDeep { max_depth }) } else { Ok(()) }
}

/// The bytes as text, if they are UTF-8 and nest at most `max_depth` levels. Says nothing of the syntax yet.
pub(crate) fn checked_text(data: &[u8], max_depth: usize) -> Result<&str, JsonError> {
    let text = simdutf8::basic::from_utf8(data).map_err(|_| JsonError::NotUtf8)?;
    if deeper_than(data, max_depth) {
        return Err(JsonError::TooDeep { max_depth });
    }
    Ok(text)
}

/// True if brackets outside strings nest deeper than `max_depth`: one linear scan, because the parser skips raw values
/// without a limit of its own. On malformed JSON the answer may be wrong either way; the parser refuses that anyway.
fn deeper_than(data: &[u8], max_depth: usize) -> bool {
    let mut depth = 0usize;
    let mut rest = data;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > max_depth {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => rest = after_string(rest),
            _ => {}
        }
    }
    false
}

/// The text behind a string whose opening quote was just read; empty if it never closes.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
        let escape = rest.get(at) == Some(&b'\\');
        // A backslash takes the byte after it along, so an escaped quote does not end the string.
        rest = rest.get(at + 1 + usize::from(escape)..).unwrap_or_default();
        if !escape {
            return rest;
        }
    }
    &[]
}

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    escape::write(out, text.as_bytes(), &escape::JSON, escape::is_escaped);
    out.put_u8(b'"');
}

/// Appends an integer in decimal.
pub fn write_integer(out: &mut BytesMut, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a raw JSON value as it is, but without raw newlines, which would end the line it stands in. Valid JSON has
/// them only between tokens, so the value stays the same.
pub fn write_raw(out: &mut BytesMut, json: &[u8]) {
    out.reserve(json.len());
    escape::write(out, json, &escape::WITHOUT_NEWLINES, |byte| matches!(byte, b'\n' | b'\r'));
}

/// Appends bytes as a JSON string of padded standard base64.
pub fn write_base64(out: &mut BytesMut, bytes: &[u8]) {
    let encoded_bytes = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.reserve(encoded_bytes + 2);
    out.put_u8(b'"');
    let start = out.len();
    out.resize(start + encoded_bytes, b'=');
    if let Some(room) = out.get_mut(start..) {
        // The room is exactly as large as the encoding, so that this cannot fail.
        let written = BASE64.encode_slice(bytes, room).unwrap_or_default();
        out.truncate(start + written);
    }
    out.put_u8(b'"');
}

/// One object being written: knows whether a comma is due, and leaves out zero and empty fields.
///
/// Field names are written as they are: pass only names that need no escape.
#[derive(Debug)]
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut BytesMut,
    first: bool,
}

impl<'o> ObjectWriter<'o> {
    /// Opens the object.
    pub(crate) fn open(out: &'o mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, first: true }
    }

    /// Closes the object.
    pub(crate) fn close(self) {
        self.out.put_u8(b'}');
    }

    fn comma(&mut self) {
        if !std::mem::replace(&mut self.first, false) {
            self.out.put_u8(b',');
        }
    }

    /// Writes the name; the value is for the caller to write into the returned buffer.
    pub(crate) fn field(&mut self, name: &'static str) -> &mut BytesMut {
        self.comma();
        self.out.put_u8(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// The same with a name that may need escapes: the key of a map.
    pub(crate) fn entry(&mut self, key: &str) -> &mut BytesMut {
        self.comma();
        write_string(self.out, key);
        self.out.put_u8(b':');
        self.out
    }

    /// A string, unless empty.
    pub(crate) fn string(&mut self, name: &'static str, value: &str) -> &mut Self {
        if !value.is_empty() {
            write_string(self.field(name), value);
        }
        self
    }

    /// An integer, unless zero.
    pub(crate) fn integer<N: itoa::Integer + Default + PartialEq>(
        &mut self,
        name: &'static str,
        value: N,
    ) -> &mut Self {
        if value != N::default() {
            write_integer(self.field(name), value);
        }
        self
    }

    /// `true`, or nothing.
    pub(crate) fn flag(&mut self, name: &'static str, value: bool) -> &mut Self {
        if value {
            self.field(name).extend_from_slice(b"true");
        }
        self
    }

    /// A raw JSON value, unless there are no bytes.
    pub(crate) fn raw(&mut self, name: &'static str, json: &[u8]) -> &mut Self {
        if !json.is_empty() {
            write_raw(self.field(name), json);
        }
        self
    }
}

#[cfg(test)]
mod tests;
