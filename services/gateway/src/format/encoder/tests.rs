//! Frames that share all but an id are, byte for byte, the frames that each subscription would have had by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use gorani_broker::{DataKind, Publication};
use gorani_protocol::{
    client::ClientForm,
    stomp::Version,
    websocket::{Input, WebSocketDecoder, WebSocketEvent as Decoded},
};

use super::*;
use crate::format::message_headers::{self, FrameStyle, MessageHeaders, SubscriptionHeaders};

const THRESHOLD_BYTES: usize = 600;

fn framings() -> [Framing; 7] {
    [
        Framing::Raw,
        Framing::WebSocket,
        Framing::WebSocketDeflate { window_bits: 15 },
        Framing::WebSocketDeflate { window_bits: 8 },
        Framing::SockJs,
        Framing::SockJsWebSocket { deflate_window_bits: None },
        Framing::SockJsWebSocket { deflate_window_bits: Some(10) },
    ]
}

fn subscription(id: Option<&str>, acks: bool) -> SubscriptionHeaders {
    SubscriptionHeaders { id: id.map(Into::into), destination: "/topic/a".into(), acks }
}

fn publication(kind: DataKind, data: &[u8], offset: u64) -> ChannelEvent {
    ChannelEvent::Publication(Arc::new(Publication {
        data: Bytes::copy_from_slice(data),
        kind,
        offset,
        epoch: "e".into(),
        tags: vec![("colour".to_owned(), "red\n:\\".to_owned())],
        ..Publication::default()
    }))
}

/// The chunks that one subscriber was sent.
#[derive(Default)]
struct Chunks(RefCell<VecDeque<Bytes>>);

impl Chunks {
    fn pop(&self) -> Option<Bytes> {
        self.0.borrow_mut().pop_front()
    }

    /// Takes what becomes of a run of the channel `a:b`, as the hub puts it into an outbox.
    fn deliver(&self, encoder: &mut Encoder, id: EncodingId, run: &[ChannelEvent]) {
        let mut chunks = self.0.borrow_mut();
        match encoder.ready(id) {
            Some(bytes) => chunks.push_back(bytes.clone()),
            None => encoder.encode_run(id, "a:b", run, |head, rest| {
                chunks.extend([head, rest].into_iter().filter(|chunk| !chunk.is_empty()));
                true
            }),
        }
    }
}

fn taken(outbox: &Chunks) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(chunk) = outbox.pop() {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// The bytes of a run for one set of headers, each frame written whole and framed by itself.
fn by_itself(headers: &MessageHeaders, framing: Framing, run: &[ChannelEvent]) -> Vec<u8> {
    let mut encoder = Encoder::new(usize::MAX);
    let (mut out, mut message_id) = (BytesMut::new(), String::new());
    for (event, serial) in run.iter().zip(1..) {
        let ChannelEvent::Publication(publication) = event else { continue };
        message_headers::write_message_id(publication, serial, &mut message_id);
        for subscription in &headers.subscriptions {
            let mut message = BytesMut::new();
            subscription.write(headers.style, publication, &message_id, &mut message);
            match message_headers::message_kind(publication, headers.style) {
                MessageKind::Text => encoder.frame_text(framing, &message, &mut out),
                MessageKind::Binary => encoder.frame_binary(framing, &message, &mut out),
            }
        }
    }
    out.to_vec()
}

/// The messages in frames of WebSocket.
fn decoded(mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    // A server's frames as a client's: with a mask of zeros.
    let mut masked = Vec::new();
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let (header, length) = match rest[1] {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            127 => (10, usize::try_from(u64::from_be_bytes(rest[2..10].try_into().unwrap())).unwrap()),
            short => (2, usize::from(short)),
        };
        masked.extend([rest[0], rest[1] | 0x80]);
        masked.extend(&rest[2..header]);
        masked.extend([0; 4]);
        masked.extend(&rest[header..header + length]);
        rest = &mut rest[header + length..];
    }
    let mut decoder = WebSocketDecoder::new(usize::MAX, true, false);
    let mut input = Input::new(&mut masked);
    let mut messages = Vec::new();
    while let Some(event) = decoder.next(&mut input).unwrap() {
        messages.push(match event {
            Decoded::Text(text) => text.as_bytes().to_vec(),
            Decoded::Binary(data) => data.to_vec(),
            other => panic!("{other:?}"),
        });
    }
    messages
}

#[test]
fn shared_frames_are_those_that_each_would_have_had_by_itself() {
    let large = format!("[\"{}\",\"하나\"]", "lorem ipsum ".repeat(300));
    let bodies: [(DataKind, &[u8]); 5] = [
        (DataKind::Json, b"1"),
        (DataKind::Text, "\u{2028}\"quoted\"\n".as_bytes()),
        (DataKind::Json, large.as_bytes()),
        (DataKind::Binary, b"\xff\x00\xfe"),
        (DataKind::Text, b""),
    ];
    for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
        for framing in framings() {
            let style = FrameStyle {
                version,
                text_only: framing.is_text_only(),
                trailing_eol: framing == Framing::Raw,
            };
            let headers = [
                vec![subscription(Some("sub-0"), false)],
                vec![subscription(Some("sub-1"), false)],
                vec![subscription(Some("sub-1"), false)],
                vec![subscription(None, false)],
                vec![
                    subscription(Some("a:b\\c\n\"하"), true),
                    subscription(Some("sub-0"), false),
                    subscription(Some("x"), true),
                ],
            ];
            let mut encoder = Encoder::new(THRESHOLD_BYTES);
            let subscribed = headers.map(|subscription| {
                let headers = Arc::new(MessageHeaders { style, subscriptions: subscription });
                let protocol = Protocol::Stomp(headers.clone());
                (headers, encoder.acquire(&Encoding { protocol, framing }), Chunks::default())
            });
            let run: Vec<ChannelEvent> = bodies
                .iter()
                .zip(0..)
                .map(|((kind, data), offset)| publication(*kind, data, offset))
                .collect();
            encoder.begin();
            for (headers, id, outbox) in &subscribed {
                outbox.deliver(&mut encoder, *id, &run);
                let (seen, alone) = (taken(outbox), by_itself(headers, framing, &run));
                let is_deflated = matches!(
                    framing,
                    Framing::WebSocketDeflate { .. }
                        | Framing::SockJsWebSocket { deflate_window_bits: Some(_) }
                );
                if is_deflated {
                    assert!(
                        framing == (Framing::WebSocketDeflate { window_bits: 8 }) || seen.len() < alone.len()
                    );
                    assert_eq!(decoded(seen), decoded(alone), "{version:?} {framing:?} {headers:?}");
                } else {
                    assert!(seen == alone, "{version:?} {framing:?} {headers:?}");
                }
            }
        }
    }
}

#[test]
fn ids_of_their_own_share_the_bytes_of_a_large_body() {
    let mut encoder = Encoder::new(usize::MAX);
    let style = FrameStyle { version: Version::V1_2, text_only: false, trailing_eol: false };
    let subscribed: Vec<_> = (0..100)
        .map(|number| {
            let subscription = vec![subscription(Some(&format!("sub-{number}")), false)];
            let protocol = Protocol::Stomp(Arc::new(MessageHeaders { style, subscriptions: subscription }));
            (encoder.acquire(&Encoding { protocol, framing: Framing::WebSocket }), Chunks::default())
        })
        .collect();
    let run = [publication(DataKind::Text, &[b'x'; 64 * 1024], 1)];
    encoder.begin();
    let rests: Vec<*const u8> = subscribed
        .iter()
        .map(|(id, outbox)| {
            outbox.deliver(&mut encoder, *id, &run);
            let chunks: Vec<Bytes> = std::iter::from_fn(|| outbox.pop()).collect();
            assert_eq!(chunks.len(), 2);
            assert!(chunks[0].len() < 64, "{} bytes of its own", chunks[0].len());
            chunks[1].as_ptr()
        })
        .collect();
    assert!(rests.iter().all(|rest| *rest == rests[0]), "the body was copied");
}

#[test]
fn encodings_are_forgotten_with_the_last_subscription_that_has_them() {
    let mut encoder = Encoder::new(usize::MAX);
    let style = FrameStyle { version: Version::V1_2, text_only: false, trailing_eol: false };
    let headers = |number: usize| {
        Arc::new(MessageHeaders {
            style,
            subscriptions: vec![subscription(Some(&number.to_string()), false)],
        })
    };
    let encoding = |number| Encoding { protocol: Protocol::Stomp(headers(number)), framing: Framing::Raw };
    let ids: Vec<EncodingId> = (0..1000).map(|number| encoder.acquire(&encoding(number % 500))).collect();
    assert_eq!((encoder.encodings.len(), encoder.frames.kinds()), (500, 1));
    let ids: Vec<EncodingId> =
        ids.into_iter().map(|id| encoder.change_format(id, &SubscriptionFormat::Stomp(headers(7)))).collect();
    assert_eq!((encoder.encodings.len(), encoder.frames.kinds()), (1, 1));
    let outbox = Chunks::default();
    outbox.deliver(&mut encoder, ids[0], &[publication(DataKind::Text, b"x", 1)]);
    for id in ids {
        encoder.release(id);
    }
    assert_eq!((encoder.encodings.len(), encoder.frames.kinds()), (0, 0));
    // What was made for a number is not subscription under it to others.
    let other =
        encoder.acquire(&Encoding { protocol: Protocol::Client(ClientForm::Json), framing: Framing::Lines });
    outbox.deliver(&mut encoder, other, &[publication(DataKind::Json, b"1", 1)]);
    assert!(taken(&outbox).ends_with(b"}\n"));
}

#[test]
fn what_would_take_long_to_deflate_is_sent_as_it_is() {
    let framing = Framing::WebSocketDeflate { window_bits: 15 };
    let mut encoder = Encoder::new(THRESHOLD_BYTES);
    for (bytes, is_deflated) in
        [(THRESHOLD_BYTES - 1, false), (THRESHOLD_BYTES, true), (256 * 1024, true), (256 * 1024 + 1, false)]
    {
        let (message, mut out) = (vec![b'x'; bytes], BytesMut::new());
        encoder.frame_text(framing, &message, &mut out);
        assert_eq!(out.len() < bytes, is_deflated, "{bytes} bytes");
        let head = encoder.head(framing, MessageKind::Text, bytes);
        assert_eq!(head.is_none(), is_deflated, "{bytes} bytes");
        if let Some(head) = head {
            assert!(out == [&head, &message[..]].concat(), "{bytes} bytes");
        }
    }
}

#[test]
fn a_head_and_a_message_are_what_the_framing_makes_of_it() {
    let message = "lorem ipsum ".repeat(10_000);
    let mut encoder = Encoder::new(usize::MAX);
    for framing in framings() {
        let mut out = BytesMut::new();
        encoder.frame_text(framing, message.as_bytes(), &mut out);
        match encoder.head(framing, MessageKind::Text, message.len()) {
            Some(head) => assert!(out == [&head, message.as_bytes()].concat(), "{framing:?}"),
            None => assert!(framing.is_text_only(), "{framing:?}"),
        }
    }
}

/// CPU time of this thread for a fan-out to so many subscribers with ids of their own.
fn cost(subscribers: usize) -> Duration {
    let mut encoder = Encoder::new(usize::MAX);
    let style = FrameStyle { version: Version::V1_2, text_only: false, trailing_eol: false };
    let subscribed: Vec<_> = (0..subscribers)
        .map(|number| {
            let subscription = vec![subscription(Some(&format!("sub-{number}")), false)];
            let protocol = Protocol::Stomp(Arc::new(MessageHeaders { style, subscriptions: subscription }));
            (encoder.acquire(&Encoding { protocol, framing: Framing::WebSocket }), Chunks::default())
        })
        .collect();
    let run = [publication(DataKind::Text, b"hello", 1)];
    let began = cpu_time();
    encoder.begin();
    for (id, outbox) in &subscribed {
        outbox.deliver(&mut encoder, *id, &run);
    }
    cpu_time() - began
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn the_cost_of_ids_of_their_own_grows_with_their_number_and_not_with_its_square() {
    // The least of several, since caches are cold in the first.
    let least = |subscribers| (0..5).map(|_| cost(subscribers)).min().unwrap();
    let (few, many) = (least(500), least(8000));
    assert!(many < few * 16 * 4, "500 cost {few:?}, 8000 cost {many:?}");
}

#[test]
fn events_with_ids_are_made_once_for_all_receivers_of_a_channel() {
    let mut encoder = Encoder::new(THRESHOLD_BYTES);
    let encoding = Encoding { protocol: Protocol::WithPositions, framing: Framing::EventsWithIds };
    let id = encoder.acquire(&encoding);
    let run = [publication(DataKind::Json, b"{}", 7), publication(DataKind::Json, b"[1]", 8)];
    let outboxes = [(); 2].map(|()| Chunks::default());
    encoder.begin();
    for outbox in &outboxes {
        outbox.deliver(&mut encoder, id, &run);
    }
    let [first, second] = outboxes.map(|outbox| outbox.pop().unwrap());
    assert_eq!(first.as_ptr(), second.as_ptr());
    let text = std::str::from_utf8(&first).unwrap();
    let events: Vec<&str> = text.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 2);
    for (event, start) in events.into_iter().zip(["id: a~3ab.7.e\ndata: {", "id: a~3ab.8.e\ndata: {"]) {
        assert!(event.starts_with(start), "{event}");
    }
}

#[test]
fn a_run_in_protobuf_is_encoded_once_in_binary_frames_and_the_payload_is_as_it_was_published() {
    let large = vec![b'x'; 4000];
    let run = [publication(DataKind::Binary, b"\xff\x00", 1), publication(DataKind::Json, &large, 2)];
    let mut expected = BytesMut::new();
    let messages: Vec<Vec<u8>> = run
        .iter()
        .map(|event| {
            expected.clear();
            encode_event(&Protocol::Client(ClientForm::Protobuf), "a:b", event, &mut expected);
            expected.to_vec()
        })
        .collect();
    assert!(messages[0].windows(2).any(|bytes| bytes == b"\xff\x00"));
    for window in [None, Some(15)] {
        let framing =
            window.map_or(Framing::WebSocket, |window_bits| Framing::WebSocketDeflate { window_bits });
        let mut encoder = Encoder::new(THRESHOLD_BYTES);
        let encoding = Encoding { protocol: Protocol::Client(ClientForm::Protobuf), framing };
        let json = Encoding { protocol: Protocol::Client(ClientForm::Json), framing };
        let ids = [encoder.acquire(&encoding), encoder.acquire(&encoding), encoder.acquire(&json)];
        assert!(ids[0] == ids[1] && ids[0] != ids[2]);
        let chunks = [Chunks::default(), Chunks::default()];
        encoder.begin();
        for chunks in &chunks {
            chunks.deliver(&mut encoder, ids[0], &run);
        }
        let (first, second) = (chunks[0].pop().unwrap(), chunks[1].pop().unwrap());
        assert_eq!(first.as_ptr(), second.as_ptr(), "one encoding for all");
        assert_eq!(first[0], 0x82, "a binary frame");
        assert_eq!(first.len() < 1000, window.is_some());
        assert_eq!(decoded(first.to_vec()), messages);
    }
    let stream = Encoding { protocol: Protocol::Client(ClientForm::Protobuf), framing: Framing::Raw };
    assert_eq!(Encoder::new(THRESHOLD_BYTES).encode(&stream, "a:b", &run), messages.concat());
}
