//! Strings as SockJS sends them: JSON, and besides what JSON must escape, the characters that browsers were found to
//! change or drop on the way. `specs/sockjs.md` item 32.

use bytes::{BufMut, BytesMut};

/// Bytes looked at together.
const BLOCK_BYTES: usize = 32;

/// Appends text as a JSON string, quotes included. The text is UTF-8; where it is not, what is wrong is passed on as it
/// is.
pub fn write_string(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut rest = text;
    while let Some((plain, byte, tail)) = split_at_candidate(rest) {
        out.extend_from_slice(plain);
        rest = tail;
        match (byte, tail) {
            (0xe2 | 0xef, [second, third, after @ ..]) => {
                let code = three_byte_code(byte, *second, *third);
                if is_changed_on_the_way(code) {
                    write_code_unit(out, code);
                } else {
                    out.extend_from_slice(&[byte, *second, *third]);
                }
                rest = after;
            }
            (0xe2 | 0xef, _) => out.put_u8(byte),
            _ => write_ascii(out, byte),
        }
    }
    out.extend_from_slice(rest);
    out.put_u8(b'"');
}

/// Appends text that is JSON already as a JSON string that may stand inside `<script>`: besides quotes and backslashes,
/// `<` and `/` are escaped, so that no message can end the script (item 27).
pub fn write_script_string(out: &mut BytesMut, json: &[u8]) {
    out.reserve(json.len() + 2);
    out.put_u8(b'"');
    let mut rest = json;
    while let Some(at) =
        rest.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | b'<' | b'/'))
    {
        let Some((plain, [byte, tail @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        match byte {
            b'/' => out.extend_from_slice(b"\\/"),
            b'<' => out.extend_from_slice(b"\\u003c"),
            byte => write_ascii(out, *byte),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.put_u8(b'"');
}

/// Cuts at the first byte that may need an escape. Without an early exit inside a block, so that the compiler can look at
/// a block's bytes all at once.
fn split_at_candidate(bytes: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let is_clean = |block: &[u8]| !block.iter().fold(false, |found, byte| found | is_candidate(*byte));
    let clean_blocks = bytes.chunks_exact(BLOCK_BYTES).take_while(|block| is_clean(block)).count();
    let skipped = clean_blocks * BLOCK_BYTES;
    let at = skipped + bytes.get(skipped..)?.iter().position(|byte| is_candidate(*byte))?;
    match bytes.split_at_checked(at)? {
        (plain, [byte, tail @ ..]) => Some((plain, *byte, tail)),
        _ => None,
    }
}

/// The characters above ASCII that are escaped all begin with one of two bytes.
const fn is_candidate(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xe2 | 0xef)
}

const fn three_byte_code(first: u8, second: u8, third: u8) -> u16 {
    ((first & 0x0f) as u16) << 12 | ((second & 0x3f) as u16) << 6 | (third & 0x3f) as u16
}

/// Characters that some browser is known to change, drop or fail at.
const fn is_changed_on_the_way(code: u16) -> bool {
    matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff)
}

/// The short form where there is one, as `JSON.stringify` has it.
fn write_ascii(out: &mut BytesMut, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => return write_code_unit(out, u16::from(byte)),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_code_unit(out: &mut BytesMut, code: u16) {
    const fn digit(value: u16) -> u8 {
        let value = (value & 0x0f) as u8;
        if value < 10 { b'0' + value } else { b'a' + value - 10 }
    }
    out.extend_from_slice(&[b'\\', b'u', digit(code >> 12), digit(code >> 8), digit(code >> 4), digit(code)]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn string(text: &str) -> String {
        let mut out = BytesMut::new();
        write_string(&mut out, text.as_bytes());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn item_32_every_character_of_the_list_leaves_as_a_lower_case_escape_and_no_other_above_ascii() {
        for code in 0x80..=0xffffu32 {
            let Some(character) = char::from_u32(code) else { continue };
            let listed =
                matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff);
            let expected = if listed { format!("\"\\u{code:04x}\"") } else { format!("\"{character}\"") };
            assert_eq!(string(&character.to_string()), expected, "U+{code:04X}");
        }
    }

    #[test]
    fn item_32_control_characters_quotes_and_backslashes_leave_as_json_stringify_writes_them() {
        for code in 0..0x80u8 {
            let text = char::from(code).to_string();
            assert_eq!(string(&text), serde_json::to_string(&text).unwrap(), "{code:#x}");
        }
        assert_eq!(string("  \0\n\r "), r#""  \u0000\n\r ""#);
    }

    #[test]
    fn item_27_nothing_in_a_script_string_can_end_the_script_or_the_string() {
        let mut out = BytesMut::new();
        write_script_string(&mut out, br#"a["</script><!--\""]"#);
        assert_eq!(out, br#""a[\"\u003c\/script>\u003c!--\\\"\"]""#.as_slice());
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_it_was(text in any::<String>(), filler in 0usize..80) {
            let text = format!("{}{text}\u{2028}\"{text}", "가".repeat(filler));
            prop_assert_eq!(serde_json::from_str::<String>(&string(&text)).unwrap(), text);
        }

        #[test]
        fn a_script_string_is_read_back_as_it_was(text in any::<String>()) {
            let mut out = BytesMut::new();
            write_script_string(&mut out, text.as_bytes());
            prop_assert!(!out.contains(&b'<') && !out.windows(2).any(|pair| pair == b"</"));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn bytes_that_are_no_text_cost_no_panic(bytes in any::<Vec<u8>>()) {
            let mut out = BytesMut::new();
            write_string(&mut out, &bytes);
            prop_assert!(out.len() >= bytes.len() + 2);
        }
    }
}
