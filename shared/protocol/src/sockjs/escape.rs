//! Strings as SockJS sends them: JSON, and besides what JSON must escape, the characters that browsers were found to
//! change or drop on the way. `docs/protocols/sockjs.md` §3.5.

use bytes::{BufMut, BytesMut};

use crate::escape::{self, Replacement, ReplacementRoom};

/// Appends text as a JSON string, quotes included. The text is UTF-8; where it is not, what is wrong is passed on as it
/// is.
pub fn write_string(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    // Two, since one that a call may change is slower to fill.
    let (mut room, mut characters) = (ReplacementRoom::new(), ReplacementRoom::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, tail) =
            rest.split_at_checked(escape::kept_bytes(rest, is_candidate)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        rest = tail;
        let block = rest.get(..escape::BLOCK_BYTES).unwrap_or(rest);
        if block.iter().fold(false, |found, byte| found | is_first_of_three(*byte)) {
            rest = write_characters(rest, &mut characters);
            characters.flush(out);
        } else {
            block
                .iter()
                .filter_map(|byte| escape::JSON.get(usize::from(*byte)))
                .for_each(|same| room.push(same));
            rest = rest.get(block.len()..).unwrap_or_default();
            room.flush(out);
        }
    }
    out.put_u8(b'"');
}

/// Appends text that is JSON already as a JSON string that may stand inside `<script>`: besides quotes and backslashes,
/// `<` and `/` are escaped, so that no message can end the script (`docs/protocols/sockjs.md` §5.8).
pub fn write_script_string(out: &mut BytesMut, json: &[u8]) {
    out.reserve(json.len() + 2);
    out.put_u8(b'"');
    escape::write(out, json, &escape::SCRIPT, |byte| escape::is_escaped(byte) || matches!(byte, b'<' | b'/'));
    out.put_u8(b'"');
}

/// Writes some of the text, character by character where they have three bytes, and returns what is left.
fn write_characters<'a>(text: &'a [u8], room: &mut ReplacementRoom) -> &'a [u8] {
    let mut rest = text;
    for _ in 0..escape::BLOCK_BYTES {
        let Some((first, tail)) = rest.split_first() else { break };
        rest = tail;
        match tail {
            [second, third, after @ ..] if is_first_of_three(*first) => {
                let code = three_byte_code(*first, *second, *third);
                room.push(&if is_changed_on_the_way(code) {
                    Replacement::code_unit(code)
                } else {
                    Replacement::three(*first, *second, *third)
                });
                rest = after;
            }
            _ => escape::JSON.get(usize::from(*first)).into_iter().for_each(|same| room.push(same)),
        }
    }
    rest
}

/// The characters above ASCII that are escaped all begin with one of two bytes.
const fn is_first_of_three(byte: u8) -> bool {
    (byte == 0xe2) | (byte == 0xef)
}

const fn is_candidate(byte: u8) -> bool {
    escape::is_escaped(byte) | is_first_of_three(byte)
}

const fn three_byte_code(first: u8, second: u8, third: u8) -> u16 {
    ((first & 0x0f) as u16) << 12 | ((second & 0x3f) as u16) << 6 | (third & 0x3f) as u16
}

/// Characters that some browser is known to change, drop or fail at.
const fn is_changed_on_the_way(code: u16) -> bool {
    matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff)
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
