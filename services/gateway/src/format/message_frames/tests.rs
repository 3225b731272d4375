//! Frames for many subscriptions: their sizes, their memory, and the ids of messages without a position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use gorani_broker::{DataKind, Publication};
use gorani_protocol::stomp::Version;

use super::*;

const THRESHOLD_BYTES: usize = 600;

fn subscription(id: &str, acks: bool) -> SubscriptionHeaders {
    SubscriptionHeaders { id: Some(id.into()), destination: "/topic/a".into(), acks }
}

fn headers(framing: Framing, subscription: Vec<SubscriptionHeaders>) -> MessageHeaders {
    let text_only = framing.is_text_only();
    MessageHeaders {
        style: FrameStyle { version: Version::V1_2, text_only, trailing_eol: false },
        subscriptions: subscription,
    }
}

/// A publication without a position.
fn text(bytes: usize) -> ChannelEvent {
    let data = vec![b'x'; bytes].into();
    ChannelEvent::Publication(Arc::new(Publication { data, kind: DataKind::Text, ..Publication::default() }))
}

fn whole(pairs: impl Iterator<Item = (Bytes, Bytes)>) -> Vec<u8> {
    pairs.flat_map(|(own, shared)| [own, shared].concat()).collect()
}

/// The header `message-id` of each message of a run, in one kind of frames.
fn message_ids(frames: &mut MessageFrames, copies: &[SubscriptionCopy], run: &[ChannelEvent]) -> Vec<String> {
    let mut deflaters = Deflaters::new(usize::MAX);
    let bytes = whole(frames.pairs(copies, (Framing::Raw, run, true), &mut deflaters));
    let text = String::from_utf8(bytes).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("message-id:")).map(str::to_owned).collect()
}

#[test]
fn the_size_of_a_frame_is_known_before_it_is_written() {
    let framings = [
        Framing::Raw,
        Framing::WebSocket,
        Framing::WebSocketDeflate { window_bits: 15 },
        Framing::SockJs,
        Framing::SockJsWebSocket { deflate_window_bits: None },
        Framing::SockJsWebSocket { deflate_window_bits: Some(10) },
    ];
    let mut deflaters = Deflaters::new(THRESHOLD_BYTES);
    for framing in framings {
        for bytes in [0, 10, 100, 200, 5_000, 70_000] {
            let shared = SharedFrames::new(&vec![b'x'; bytes], true, framing, &mut deflaters);
            for id in ["s", "a-long-id-of-a-subscription"] {
                let start = start(&subscription(id, false), headers(framing, Vec::new()).style, framing);
                let mut written = Vec::new();
                shared.write_head(&start, framing, &mut written);
                written.extend_from_slice(shared.rest());
                assert_eq!(shared.frame_bytes(&start, framing), written.len(), "{framing:?}, {bytes} bytes");
            }
        }
    }
}

#[test]
fn a_subscription_pays_for_no_more_memory_than_its_own_bytes() {
    let framing = Framing::WebSocket;
    let (mut frames, mut deflaters) = (MessageFrames::default(), Deflaters::new(usize::MAX));
    let copies = frames
        .acquire(&headers(framing, vec![subscription("one", false), subscription("two", true)]), framing);
    // Small ones are copied together with the start of a large one, whose body is shared.
    let run = [text(100), text(64 * 1024), text(10)];
    let pairs: Vec<_> = frames.pairs(&copies, (framing, &run, true), &mut deflaters).collect();
    assert_eq!(pairs.len(), 3);
    for (own, shared) in pairs {
        assert!(own.len() < 1024 && (shared.is_empty() || shared.len() >= 64 * 1024));
        let bytes = own.len();
        assert_eq!(own.try_into_mut().unwrap().capacity(), bytes);
    }
}

#[test]
fn messages_without_a_position_are_numbered_through_from_run_to_run() {
    let framing = Framing::Raw;
    let mut frames = MessageFrames::default();
    let kinds = [subscription("one", false), subscription("two", true)];
    let [one, two] = kinds.map(|subscription| frames.acquire(&headers(framing, vec![subscription]), framing));
    for (messages, ids) in [(1, vec!["m-1"]), (3, vec!["m-2", "m-3", "m-4"]), (1, vec!["m-5"])] {
        frames.begin();
        let run: Vec<_> = (0..messages).map(|_| text(1)).collect();
        assert_eq!(message_ids(&mut frames, &one, &run), ids);
        // One message has one id, for all subscribers.
        assert_eq!(message_ids(&mut frames, &two, &run), ids);
    }
}

#[test]
fn the_memory_in_which_messages_are_made_is_kept_up_to_a_bound() {
    let framing = Framing::Raw;
    let mut frames = MessageFrames::default();
    let copies = frames.acquire(&headers(framing, vec![subscription("one", false)]), framing);
    for (before, bytes, kept) in [(KEPT_BYTES, 10, KEPT_BYTES), (KEPT_BYTES + 1, 10, 0), (0, 1024 * 1024, 0)]
    {
        frames.message = BytesMut::with_capacity(before);
        frames.begin();
        assert_eq!(message_ids(&mut frames, &copies, &[text(bytes)]).len(), 1);
        assert_eq!(frames.message.capacity(), kept, "{bytes} bytes in {before}");
    }
}
