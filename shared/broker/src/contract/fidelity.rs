//! A publication arrives unchanged, live and from the history. [`crate::Publication`].

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    Harness,
    samples::{AMPLE, everything, kept, live, two_ends, without_position},
};
use crate::{ClientInfo, DataKind, Publication, PublishOptions, TraceContext};

/// The largest message that the HTTP API takes (`docs/protocols/http.md` §4.4).
const LARGE_BYTES: usize = 1 << 20;

/// Publications that differ in each field from the default, and one with as little as possible.
fn specimens() -> Vec<Publication> {
    let info = ClientInfo {
        user: "user 42".to_owned(),
        client: "c0ffee".to_owned(),
        connection_info: Bytes::from_static(br#"{"name":"\u0000 \"quoted\" \\","n":[1,2.50,null]}"#),
        channel_info: Bytes::from_static("{\"이름\":\"고라니\"}".as_bytes()),
    };
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let full = Publication {
        data: Bytes::from_static(br#"{"a": [1, {"b": "\n"}],  "big":12345678901234567890}"#),
        kind: DataKind::Json,
        tags: vec![tag("z", "last first"), tag("a", ""), tag("quote", "\"'\\\n\0"), tag("", "고라니")],
        info: Some(Arc::new(info)),
        time_ms: 1_700_000_000_123,
        exclude_client: "the-sender".to_owned(),
        trace: TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"a=1")
            .map(Arc::new),
        ..Default::default()
    };
    let nameless = Publication { info: Some(Arc::default()), tags: Vec::new(), ..full.clone() };
    let bare = Publication { data: Bytes::from_static(b"null"), ..Default::default() };
    vec![full, nameless, bare]
}

fn every_kind() -> Vec<Publication> {
    let of = |kind, data: Vec<u8>| Publication { kind, data: data.into(), time_ms: 1, ..Default::default() };
    vec![
        of(DataKind::Json, b"\"plain\"".to_vec()),
        of(DataKind::Text, "line\r\nbreak, \u{0}, \u{7f}, 고라니 🦌".into()),
        of(DataKind::Text, Vec::new()),
        of(DataKind::Binary, (0..=255).collect()),
        of(DataKind::Binary, vec![0xff, 0xfe, b'\n', 0xc3]),
        of(DataKind::Binary, Vec::new()),
    ]
}

/// Publishes all of them on one node; they must come out the same on another one.
async fn travel(harness: &impl Harness, publications: Vec<Publication>, options: PublishOptions) {
    let (publisher, listener) = two_ends(harness).await;
    listener.subscribe("news").await;
    for publication in &publications {
        publisher.broker.publish("news", publication.clone(), options.clone()).await.unwrap();
    }
    let heard = listener.sink.wait_for_publications("news", publications.len()).await;
    for (heard, published) in heard.iter().zip(&publications) {
        assert_eq!(&without_position(heard), published, "live");
    }
    if options.retention.keeps_history() {
        let page = listener.read("news", everything(), options.retention).await;
        assert_eq!(page.publications, heard, "the history has what was heard, with offset and epoch");
    }
}

pub async fn every_field_survives_the_trip_without_history(harness: &impl Harness) {
    travel(harness, specimens(), live()).await;
}

pub async fn every_field_survives_the_trip_and_the_history(harness: &impl Harness) {
    travel(harness, specimens(), kept(AMPLE)).await;
}

pub async fn every_kind_of_data_survives(harness: &impl Harness) {
    travel(harness, every_kind(), kept(AMPLE)).await;
}

pub async fn a_large_payload_survives(harness: &impl Harness) {
    let noise =
        (0..LARGE_BYTES).map(|place| (place.wrapping_mul(2_654_435_761) >> 16) as u8).collect::<Vec<u8>>();
    let publication = Publication { kind: DataKind::Binary, data: noise.into(), ..Default::default() };
    travel(harness, vec![publication.clone(), publication], kept(AMPLE)).await;
}

pub async fn odd_channel_names_are_told_apart(harness: &impl Harness) {
    let (publisher, listener) = two_ends(harness).await;
    let longest = "x".repeat(255);
    let almost = format!("{}y", &longest[1..]);
    // Signs that patterns, hash tags, key separators, quoting and case folding could fall for.
    let names = [
        "a",
        "A",
        "a:",
        ":a",
        "a::b",
        "a:b",
        "*",
        "?",
        "a*",
        "a?",
        "[ab]",
        "{a}",
        "{a}b",
        "{b}a",
        "{}",
        "}{",
        "a}b",
        "{",
        "$private",
        "name#42",
        "name#42,43",
        "#",
        " ",
        "  ",
        "a b",
        "\"",
        "'",
        "\\",
        "\\n",
        "%s",
        "%",
        "a/b",
        "../a",
        "~",
        "a:history",
        "a:position",
        "{a}:stream",
        "0",
        "-1",
        "nil",
        "|",
        "<a>",
        "&",
        "@",
        "^",
        "`",
        "(a)",
        "a=b;c",
        "!",
        // Scripts, the two forms of one letter, signs without width, and those whose bytes look like separators elsewhere.
        "채팅방",
        "채팅:방",
        "{채팅}방",
        "%EC%B1%84",
        "\u{e9}",
        "e\u{301}",
        "а",
        "\u{200b}",
        "\u{202e}a",
        "\u{a0}",
        "\u{3000}",
        "👩‍👩‍👧",
        "\u{10ffff}",
        longest.as_str(),
        almost.as_str(),
    ];
    let channels: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
    listener.broker.subscribe(&channels).await.unwrap();
    let mut epochs = HashMap::new();
    for name in names {
        let published = publisher.publish(name, format!("for {name}"), kept(AMPLE)).await;
        assert_eq!(published.position.offset, 1, "{name:?}");
        assert_eq!(epochs.insert(published.position.epoch, name), None, "{name:?}");
    }
    for name in names {
        assert_eq!(listener.heard(name, 1).await, [format!("for {name}")]);
        let page = listener.read(name, everything(), AMPLE).await;
        assert_eq!(page.publications.len(), 1, "{name:?}");
        assert_eq!(page.publications[0].data, format!("for {name}"));
    }
}
