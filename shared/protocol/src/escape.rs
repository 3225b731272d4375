//! Bytes that are written with some of them replaced, as JSON strings are: a block at a time, so that text full of what
//! must be replaced costs little more than plain text. What a client may fill with quotes, it will.

use bytes::BytesMut;

/// Bytes looked at together.
pub(crate) const BLOCK_BYTES: usize = 32;
/// Room for the longest replacement, `\u0000`, in as many bytes as one instruction moves.
const LONGEST_BYTES: usize = 8;

/// The text that replaces a byte or a character.
#[derive(Clone, Copy)]
pub(crate) struct Replacement {
    text: [u8; LONGEST_BYTES],
    bytes: u8,
}

impl Replacement {
    /// The byte itself.
    const fn same(byte: u8) -> Self {
        Self { text: [byte, 0, 0, 0, 0, 0, 0, 0], bytes: 1 }
    }

    /// Three bytes as they are.
    pub(crate) const fn three(first: u8, second: u8, third: u8) -> Self {
        Self { text: [first, second, third, 0, 0, 0, 0, 0], bytes: 3 }
    }

    /// `\u` and four digits, in lower case.
    pub(crate) const fn code_unit(code: u16) -> Self {
        const fn digit(value: u16) -> u8 {
            let value = (value & 0x0f) as u8;
            if value < 10 { b'0' + value } else { b'a' + value - 10 }
        }
        let text = [b'\\', b'u', digit(code >> 12), digit(code >> 8), digit(code >> 4), digit(code), 0, 0];
        Self { text, bytes: 6 }
    }

    /// The short form where there is one, as `JSON.stringify` has it.
    const fn json(byte: u8) -> Self {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => return Self::code_unit(byte as u16),
            _ => return Self::same(byte),
        };
        Self { text: [b'\\', short, 0, 0, 0, 0, 0, 0], bytes: 2 }
    }

    /// As [`Replacement::json`], of a string that stands inside `<script>`: no text can end the script.
    const fn script(byte: u8) -> Self {
        match byte {
            b'/' => Self { text: [b'\\', b'/', 0, 0, 0, 0, 0, 0], bytes: 2 },
            b'<' => Self::code_unit(b'<' as u16),
            _ => Self::json(byte),
        }
    }

    const fn without_newlines(byte: u8) -> Self {
        match byte {
            b'\n' | b'\r' => Self { text: [0; LONGEST_BYTES], bytes: 0 },
            _ => Self::same(byte),
        }
    }
}

/// A replacement for each byte.
pub(crate) type ReplacementTable = [Replacement; 256];

/// Replacements of what JSON must escape in a string.
pub(crate) static JSON: ReplacementTable = table(Kind::Json);
/// The same, and what could end a script.
pub(crate) static SCRIPT: ReplacementTable = table(Kind::Script);
/// Newlines are left out.
pub(crate) static WITHOUT_NEWLINES: ReplacementTable = table(Kind::WithoutNewlines);

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Script,
    WithoutNewlines,
}

#[allow(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
const fn table(kind: Kind) -> ReplacementTable {
    let mut table = [Replacement::same(0); 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match kind {
            Kind::Json => Replacement::json(byte as u8),
            Kind::Script => Replacement::script(byte as u8),
            Kind::WithoutNewlines => Replacement::without_newlines(byte as u8),
        };
        byte += 1;
    }
    table
}

/// True if JSON must escape a byte in a string. Without short cuts, so that many bytes are looked at at once.
pub(crate) const fn is_escaped(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The number of bytes of a text that JSON must escape in a string.
#[must_use]
pub fn escapes(text: &[u8]) -> usize {
    // Counted in bytes and then added up: so the compiler can count many at once.
    let of = |block: &[u8]| block.iter().fold(0_u8, |count, byte| count + u8::from(is_escaped(*byte)));
    text.chunks(BLOCK_BYTES).map(|block| usize::from(of(block))).sum()
}

/// Room for what a block becomes.
pub(crate) struct ReplacementRoom {
    bytes: [u8; (BLOCK_BYTES + 1) * LONGEST_BYTES],
    used: usize,
}

impl ReplacementRoom {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; (BLOCK_BYTES + 1) * LONGEST_BYTES], used: 0 }
    }

    /// Takes up to [`BLOCK_BYTES`] replacements; all their bytes are written, and the next begins behind those that count.
    pub(crate) fn push(&mut self, replacement: &Replacement) {
        if let Some(room) = self.bytes.get_mut(self.used..).and_then(<[u8]>::first_chunk_mut) {
            *room = replacement.text;
            self.used += usize::from(replacement.bytes);
        }
    }

    pub(crate) fn flush(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(self.bytes.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

/// The number of bytes at the front, in whole blocks, that stay as they are. No early exit inside a block, so that the compiler
/// can look at a block's bytes all at once.
pub(crate) fn kept_bytes(bytes: &[u8], is_replaced: impl Fn(u8) -> bool) -> usize {
    let is_kept =
        |block: &&[u8; BLOCK_BYTES]| !block.iter().fold(false, |found, byte| found | is_replaced(*byte));
    bytes.as_chunks().0.iter().take_while(is_kept).count() * BLOCK_BYTES
}

/// Appends bytes, each as the table has it; `is_replaced` is true of those that it changes.
pub(crate) fn write(
    out: &mut BytesMut,
    bytes: &[u8],
    table: &ReplacementTable,
    is_replaced: impl Fn(u8) -> bool,
) {
    let mut room = ReplacementRoom::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (plain, tail) = rest.split_at_checked(kept_bytes(rest, &is_replaced)).unwrap_or((rest, &[]));
        let (block, tail) = tail.split_at_checked(BLOCK_BYTES).unwrap_or((tail, &[]));
        out.extend_from_slice(plain);
        for replacement in block.iter().filter_map(|byte| table.get(usize::from(*byte))) {
            room.push(replacement);
        }
        room.flush(out);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_the_json_string_that_serde_writes(text in r#"([\x00-\x24\\]|[a-z]{30}|.){0,120}"#) {
            let mut out = BytesMut::new();
            write(&mut out, text.as_bytes(), &JSON, is_escaped);
            let expected = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(format!("\"{}\"", std::str::from_utf8(&out).unwrap()), expected);
        }

        #[test]
        fn nothing_but_newlines_is_left_out(text in "([\r\n]|[a-z]{30}|.){0,120}") {
            let mut out = BytesMut::new();
            write(&mut out, text.as_bytes(), &WITHOUT_NEWLINES, |byte| matches!(byte, b'\n' | b'\r'));
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), text.replace(['\r', '\n'], ""));
        }
    }
}
