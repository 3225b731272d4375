//! A written frame is read back, for each version; and however a stream is cut, the same is read.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::client::hear;
use crate::stomp::{StompCommand, StompDecoder, StompFrame, StompLimits, VERSIONS, Version, encode};

const WIDE: StompLimits =
    StompLimits { headers: 100, header_bytes: 4096, head_bytes: 65_536, body_bytes: 65_536 };

fn decoder(version: Version) -> StompDecoder {
    let mut decoder = StompDecoder::new(WIDE);
    decoder.set_version(version);
    decoder
}

fn versions() -> impl Strategy<Value = Version> {
    proptest::sample::select(VERSIONS.to_vec())
}

/// Text that a version can say: all but NUL, and without escapes neither CR nor LF nor a colon in a name.
fn header_text(version: Version, is_name: bool) -> BoxedStrategy<String> {
    let any = "[a-z:\\\\\\n\\r\\t 고-기]{0,12}";
    let text = any.prop_map(move |text: String| {
        let said = |c: &char| match (version, c) {
            (Version::V1_2, _) | (Version::V1_1, '\n') => true,
            (_, '\r' | '\n') => false,
            (Version::V1_0, ':') => !is_name,
            _ => true,
        };
        let text: String = text.chars().filter(said).collect();
        // 1.0 reads a value without the spaces before it.
        if version == Version::V1_0 && !is_name { text.trim_start_matches(' ').to_owned() } else { text }
    });
    if is_name { text.prop_filter("a name", |text| !text.is_empty()).boxed() } else { text.boxed() }
}

fn sends(version: Version) -> impl Strategy<Value = (Vec<(String, String)>, Vec<u8>)> {
    let header = (header_text(version, true), header_text(version, false));
    let headers = proptest::collection::vec(header, 0..6).prop_map(|mut headers| {
        let mut seen = std::collections::HashSet::new();
        headers.retain(|(name, _)| seen.insert(name.clone()));
        headers
    });
    (headers, proptest::collection::vec(any::<u8>(), 0..60))
}

/// Lines that make sense often enough to get far, and go wrong often enough to end in every error.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => Just(b"SEND\n".to_vec()),
        2 => Just(b"SUBSCRIBE\r\n".to_vec()),
        2 => Just(b"NACK\n".to_vec()),
        1 => Just(b"FOO\n".to_vec()),
        4 => "[a-c]:[a-c\\\\nrc:]{0,5}\n".prop_map(String::into_bytes),
        2 => (0..9_usize).prop_map(|length| format!("content-length:{length}\n").into_bytes()),
        6 => Just(b"\n".to_vec()),
        4 => Just(b"\0".to_vec()),
        1 => Just(b"\r".to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..9),
        6 => Just(b"SEND\ndestination:a\n\nbody\0\n".to_vec()),
        2 => Just(b"SEND\ncontent-length:3\n\na\0b\0".to_vec()),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_written_is_read_back(
        (version, sends) in versions().prop_flat_map(|version| (Just(version), proptest::collection::vec(sends(version), 1..4))),
        size in 1..40_usize,
    ) {
        let mut out = BytesMut::new();
        for (headers, body) in &sends {
            let mut writer = encode::client_frame(StompCommand::Send, version, &mut out);
            for (name, value) in headers {
                writer = writer.header(name, value);
            }
            writer.body(body);
        }
        let (frames, error) = hear(&mut decoder(version), out.chunks(size));
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames.len(), sends.len());
        for (frame, (headers, body)) in frames.iter().zip(&sends) {
            let read: Vec<(String, String)> = (frame.headers.iter())
                .filter(|(name, _)| *name != "content-length")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            prop_assert_eq!(&read, headers);
            prop_assert_eq!(&frame.body, body);
        }
    }

    #[test]
    fn a_stream_is_read_the_same_however_it_is_cut(stream in streams(), version in versions(), size in 1..40_usize) {
        let whole: (Vec<StompFrame>, _) = hear(&mut decoder(version), [stream.as_slice()]);
        prop_assert_eq!(&hear(&mut decoder(version), stream.chunks(1)), &whole);
        prop_assert_eq!(&hear(&mut decoder(version), stream.chunks(size)), &whole);
    }

    #[test]
    fn nothing_that_is_written_breaks_the_frame(
        version in versions(),
        headers in proptest::collection::vec(("\\PC{0,8}|[\\r\\n:\\\\\\x00]{0,4}", "\\PC{0,8}|[\\r\\n:\\\\\\x00]{0,4}"), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut out = BytesMut::new();
        let mut writer = encode::client_frame(StompCommand::Send, version, &mut out);
        for (name, value) in &headers {
            // Not the one header that gives the body its end.
            if !name.replace(|c: char| !c.is_ascii_alphabetic(), "").contains("length") {
                writer = writer.header(name, value);
            }
        }
        writer.body(&body);
        let (frames, error) = hear(&mut decoder(version), [&out[..]]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(&frames[0].body, &Bytes::from(body));
        prop_assert!(frames[0].headers.len() <= headers.len() + 1);
    }
}
