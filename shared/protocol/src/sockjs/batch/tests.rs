//! Batches of clients: what is read, what is refused, and that nothing of a refused one is taken.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const LIMITS: BatchLimits = BatchLimits { max_messages: 4, message_max_bytes: 16 };
const WIDE: BatchLimits = BatchLimits { max_messages: 1000, message_max_bytes: 1 << 20 };

fn read(text: &str) -> Result<Vec<String>, BatchError> {
    Ok(decode(text.as_bytes(), LIMITS)?.into_iter().map(Cow::into_owned).collect())
}

#[test]
fn item_21_an_array_of_strings_or_a_single_string_is_a_batch() {
    assert_eq!(read(r#"["a","b"]"#).unwrap(), ["a", "b"]);
    assert_eq!(read(" [ \"a\" ,\t\"b\"\r\n] ").unwrap(), ["a", "b"]);
    assert_eq!(read(r#""a""#).unwrap(), ["a"]);
    assert_eq!(read(r#"["",""]"#).unwrap(), ["", ""]);
}

#[test]
fn item_24_an_empty_array_is_a_batch_of_nothing() {
    assert_eq!(read("[]").unwrap(), Vec::<String>::new());
    assert_eq!(read(" [ ] ").unwrap(), Vec::<String>::new());
}

#[test]
fn item_24_no_bytes_are_told_from_broken_json() {
    assert_eq!(read(""), Err(BatchError::Empty));
    assert_eq!(BatchError::Empty.to_string(), "Payload expected.");
    assert_eq!(BatchError::Broken.to_string(), "Broken JSON encoding.");
}

#[test]
fn item_24_what_is_not_json_is_broken() {
    for text in [
        "[\"x",
        "[\"x\"",
        "\"x",
        "x",
        "[x]",
        "[\"x\",]",
        "[,\"x\"]",
        "[\"x\"\"y\"]",
        "[\"x\"]]",
        "[\"x\"] 1",
        " ",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "[\"\\u+123\"]",
        "[\"\\u12가\"]",
        "[\"\n\"]",
        "[\"\\",
        "[\"\\u",
        "]",
        "{}",
    ] {
        assert_eq!(read(text), Err(BatchError::Broken), "{text:?}");
    }
    assert_eq!(decode(b"[\"\xff\"]", LIMITS), Err(BatchError::Broken));
}

#[test]
fn json_that_is_not_strings_is_broken_however_deep_it_nests() {
    for text in ["1", "null", "true", "{}", "[1]", "[null]", "[[\"x\"]]", "[{\"a\":\"b\"}]"] {
        assert_eq!(read(text), Err(BatchError::Broken), "{text:?}");
    }
    assert_eq!(read(&"[".repeat(1 << 20)), Err(BatchError::Broken));
}

#[test]
fn item_32_every_escape_of_a_client_is_understood() {
    assert_eq!(read(r#"["\"\\\/\b\f\n\r\t"]"#).unwrap(), ["\"\\/\u{8}\u{c}\n\r\t"]);
    assert_eq!(read(r#"["\u0041\u00e9\uFFFF"]"#).unwrap(), ["A\u{e9}\u{ffff}"]);
    assert_eq!(read(r#"["\ud83e\udd8c"]"#).unwrap(), ["\u{1f98c}"]);
    assert_eq!(read(r#"["\u0000"]"#).unwrap(), ["\0"]);
}

#[test]
fn item_32_half_a_surrogate_pair_becomes_the_replacement_character_and_the_rest_lives() {
    assert_eq!(read(r#"["a\ud800b","c"]"#).unwrap(), ["a\u{fffd}b", "c"]);
    assert_eq!(read(r#"["\udc00"]"#).unwrap(), ["\u{fffd}"]);
    assert_eq!(read(r#"["\ud800\ud83e\udd8c"]"#).unwrap(), ["\u{fffd}\u{1f98c}"]);
    assert_eq!(read(r#"["\ud800\u0041"]"#).unwrap(), ["\u{fffd}A"]);
    assert_eq!(read(r#"["\ud800\n"]"#).unwrap(), ["\u{fffd}\n"]);
    assert_eq!(read(r#"["\ud800"]"#).unwrap(), ["\u{fffd}"]);
}

#[test]
fn a_batch_of_too_many_messages_is_refused_whole() {
    assert_eq!(read(r#"["1","2","3","4"]"#).unwrap().len(), 4);
    assert_eq!(read(r#"["1","2","3","4","5"]"#), Err(BatchError::TooMany));
}

#[test]
fn a_message_over_its_size_is_refused_by_its_decoded_bytes() {
    assert_eq!(read(&format!("[\"{}\"]", "x".repeat(16))).unwrap().len(), 1);
    assert_eq!(read(&format!("[\"{}\"]", "x".repeat(17))), Err(BatchError::TooLarge));
    assert_eq!(read(&format!("[\"{}\"]", "\\n".repeat(16))).unwrap(), ["\n".repeat(16)]);
    assert_eq!(read(&format!("[\"{}\"]", "\\n".repeat(17))), Err(BatchError::TooLarge));
}

proptest! {
    #[test]
    fn whatever_json_writes_is_read_back(messages in prop::collection::vec(any::<String>(), 0..20)) {
        let text = serde_json::to_vec(&messages).unwrap();
        prop_assert_eq!(decode(&text, WIDE).unwrap(), messages);
    }

    #[test]
    fn every_pair_of_code_units_is_read_as_javascript_means_it(first: u16, second: u16) {
        let text = format!("[\"\\u{first:04x}\\u{second:04X}\"]");
        prop_assert_eq!(decode(text.as_bytes(), WIDE).unwrap(), [String::from_utf16_lossy(&[first, second])]);
    }

    #[test]
    fn what_is_read_is_what_a_json_library_reads(text in r#"[\[\]",\\u0-9a-f n]{0,24}"#) {
        let expected = serde_json::from_str::<Vec<String>>(&text)
            .or_else(|_| serde_json::from_str::<String>(&text).map(|one| vec![one]));
        match (decode(text.as_bytes(), WIDE), expected) {
            (Ok(read), Ok(expected)) => prop_assert_eq!(read, expected),
            // The library refuses lone surrogates.
            (Ok(read), Err(_)) => {
                let replaced = read.iter().any(|message| message.contains(char::REPLACEMENT_CHARACTER));
                prop_assert!(replaced);
            }
            (Err(_), expected) => prop_assert!(expected.is_err()),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
        let _ = decode(&bytes, LIMITS);
    }
}

#[test]
fn item_28_a_form_carries_the_batch_in_its_field_d() {
    for content_type in [FORM, "Application/X-WWW-Form-Urlencoded; charset=UTF-8"] {
        assert_eq!(*payload(Some(content_type), b"d=%5B%22abc%22%5D"), *b"[\"abc\"]");
        assert_eq!(*payload(Some(content_type), b"x=1&d=%5B%22a+b%22%5D&d=2"), *b"[\"a b\"]");
    }
}

#[test]
fn item_28_plain_text_is_the_batch_and_is_not_decoded() {
    for content_type in [Some("text/plain"), Some(""), None] {
        assert_eq!(*payload(content_type, b"[\"%61bc\"]"), *b"[\"%61bc\"]");
    }
}

#[test]
fn item_28_a_form_without_the_field_or_with_an_empty_one_has_no_payload() {
    for body in [b"".as_slice(), b"d", b"d=", b"e=%5B%5D"] {
        assert_eq!(*payload(Some(FORM), body), *b"");
    }
}
