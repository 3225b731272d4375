//! No publisher can write what a MESSAGE frame says for the server: every version of the reader, every protocol of origin.
//!
//! The frames are read by a parser of this file, strict and lenient, and never by our own decoder: a fault that both shared
//! would not be seen.

use bytes::{Bytes, BytesMut};
use gorani_broker::{DataKind, Publication};
use gorani_protocol::stomp::{StompCommand, StompDecoder, StompLimits, Version, encode};
use proptest::{collection::vec, prelude::*};

use crate::{
    format::message_headers::{DeliveryHeaders, FrameStyle, SubscriptionHeaders},
    session::stomp::send::publication,
};

const VERSIONS: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];
/// The server's own headers of a message; the body's length is checked apart.
const OURS: [(&str, &str); 4] =
    [("subscription", "s-1"), ("message-id", "e-7"), ("destination", "/topic/n:a"), ("ack", "a-1")];
/// Signs that some version escapes, drops or trims.
const SIGNS: [&str; 9] = ["\r", "\n", "\0", ":", "\\", "\\r", "\\c", " ", "\t"];

/// The limits of the decoder that reads the SENDs.
const LIMITS: StompLimits =
    StompLimits { headers: 100, header_bytes: 16 * 1024, head_bytes: 64 * 1024, body_bytes: 64 * 1024 };

/// A MESSAGE frame as a client reads it: of repeated headers the first counts (STOMP 1.2, "Repeated Header Entries").
struct Read {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Read {
    /// Reads the only frame of `bytes`. `is_lenient`: names are trimmed and their case ignored, as some libraries do.
    fn only(bytes: &[u8], version: Version, is_lenient: bool) -> Self {
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split('\n');
        assert_eq!(lines.next(), Some("MESSAGE"));
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                assert!(!line.contains(['\r', '\0']), "{line:?}");
                let (name, value) = line.split_once(':').unwrap();
                let name = unescaped(name, version);
                let name = if is_lenient { name.trim().to_ascii_lowercase() } else { name };
                (name, unescaped(value, version))
            })
            .collect();
        let read = Self { headers, body: Vec::new() };
        let behind = &bytes[end + 2..];
        let length = read.first("content-length").map(|length| length.parse().unwrap());
        let length = length.unwrap_or_else(|| behind.iter().position(|byte| *byte == 0).unwrap());
        assert_eq!(&behind[length..], b"\0", "one frame, and nothing behind it");
        Self { body: behind[..length].to_vec(), ..read }
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(known, _)| known == name).count()
    }
}

fn unescaped(text: &str, version: Version) -> String {
    if version == Version::V1_0 {
        return text.to_owned();
    }
    let mut plain = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        plain.push(match (sign, version) {
            ('\\', _) => match signs.next().unwrap() {
                'n' => '\n',
                'c' => ':',
                '\\' => '\\',
                'r' if version == Version::V1_2 => '\r',
                other => panic!("no escape of {version}: {other:?}"),
            },
            _ => sign,
        });
    }
    plain
}

/// Checks the frame that a subscriber of each version gets of a publication.
fn check(publication: &Publication) {
    for (version, text_only) in VERSIONS.into_iter().flat_map(|version| [(version, false), (version, true)]) {
        let shown =
            SubscriptionHeaders { id: Some("s-1".into()), destination: "/topic/n:a".into(), acks: true };
        let delivery = DeliveryHeaders { ack: Some("a-1"), redelivered: false, more: &[] };
        let mut out = BytesMut::new();
        shown.write_delivery(
            FrameStyle { version, text_only, trailing_eol: false },
            publication,
            "e-7",
            delivery,
            &mut out,
        );
        for is_lenient in [false, true] {
            let read = Read::only(&out, version, is_lenient);
            for (name, value) in OURS {
                let expected = (name != "ack" || version == Version::V1_2).then_some(value);
                assert_eq!(read.first(name), expected, "{version} {name} of {publication:?}");
                assert_eq!(read.count(name), usize::from(expected.is_some()), "{version} {name}");
            }
            for never in
                ["redelivered", "receipt", "receipt-id", "user-name", "heart-beat", "session", "offset"]
            {
                assert_eq!(read.first(never), None, "{version} {never} of {publication:?}");
            }
            let is_encoded = text_only && std::str::from_utf8(&publication.data).is_err();
            assert_eq!(read.first("encoding"), is_encoded.then_some("base64"));
            if !is_encoded {
                assert_eq!(read.body, publication.data, "{version} of {publication:?}");
            }
            assert_eq!(read.count("content-length"), usize::from(!read.body.is_empty()));
        }
    }
}

/// Names of the server's headers with signs in them, and any other names.
fn names() -> impl Strategy<Value = String> {
    let reserved = prop::sample::select(vec![
        "content-length",
        "Content-Length",
        "content-type",
        "subscription",
        "destination",
        "message-id",
        "redelivered",
        "ack",
        "receipt-id",
        "encoding",
        "offset",
    ]);
    let disguised =
        (reserved, vec((any::<prop::sample::Index>(), prop::sample::select(SIGNS.to_vec())), 0..3)).prop_map(
            |(name, signs)| {
                let mut name = name.to_owned();
                for (at, sign) in signs {
                    name.insert_str(at.index(name.len() + 1), sign);
                }
                name
            },
        );
    prop_oneof![3 => disguised, 1 => any::<String>()]
}

fn tags() -> impl Strategy<Value = Vec<(String, String)>> {
    let signs = vec(prop::sample::select(SIGNS.to_vec()), 0..4).prop_map(|signs| signs.concat());
    let values = prop_oneof![any::<String>(), signs, Just("1".to_owned())];
    vec((names(), values), 0..6)
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let forged = b"x\0MESSAGE\nsubscription:1\nmessage-id:f\ndestination:/topic/n:admin\n\nforged\0".to_vec();
    prop_oneof![vec(any::<u8>(), 0..40), Just(forged), Just(b"\n\n\0\n".to_vec())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Publications of the HTTP API and of the client protocol: tags are any text.
    #[test]
    fn tags_of_any_text_forge_nothing(tags in tags(), body in bodies(), is_binary in any::<bool>()) {
        let kind = if is_binary { DataKind::Binary } else { DataKind::Text };
        check(&Publication { data: Bytes::from(body), kind, tags, ..Publication::default() });
    }

    /// SENDs of every version: headers as its decoder reads them. Queues and user destinations take the same publication.
    #[test]
    fn headers_of_a_send_forge_nothing(tags in tags(), body in bodies(), origin in prop::sample::select(VERSIONS.to_vec())) {
        let mut wire = BytesMut::new();
        let mut frame = encode::client_frame(StompCommand::Send, origin, &mut wire).header("destination", "/topic/n:a");
        frame = frame.content_length(body.len());
        for (name, value) in &tags {
            frame = frame.header(name, value);
        }
        frame.body(&body);
        let mut decoder = StompDecoder::new(LIMITS);
        decoder.set_version(origin);
        // A frame that the decoder refuses is not published.
        if let Ok(Some(frame)) = decoder.next(&mut &wire[..]) {
            check(&publication(&frame.headers, frame.body.clone(), 0).unwrap());
        }
    }
}

#[test]
fn a_name_that_the_readers_version_cannot_say_is_left_out_whole() {
    let tag = |name: &str| vec![(name.to_owned(), "1".to_owned())];
    for (name, said) in [
        ("content\r-length", [false, false, true]),
        ("content\n-length", [false, true, true]),
        ("content\0-length", [false; 3]),
        ("x:y", [false, true, true]),
        ("x\\y", [true; 3]),
        (" content-length ", [false; 3]),
        ("CONTENT-LENGTH", [false; 3]),
    ] {
        let publication =
            Publication { data: Bytes::from_static(b"body"), tags: tag(name), ..Publication::default() };
        check(&publication);
        for (version, is_said) in VERSIONS.into_iter().zip(said) {
            let shown = SubscriptionHeaders { id: None, destination: "/topic/n:a".into(), acks: false };
            let mut out = BytesMut::new();
            shown.write(
                FrameStyle { version, text_only: false, trailing_eol: false },
                &publication,
                "e-7",
                &mut out,
            );
            assert_eq!(
                Read::only(&out, version, false).first(name),
                is_said.then_some("1"),
                "{version} {name:?}"
            );
        }
    }
}
