//! However the stream is cut, the events are the same: whole, byte by byte, or anyhow.

use proptest::prelude::*;

use super::client::{FIN, Heard, RSV1, compressed, frame, hear};
use crate::websocket::WebSocketDecoder;

/// Frames that make sense often enough to get far, and go wrong often enough to end in every error.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![8 => Just(0_u8), 4 => Just(1), 2 => Just(2), 1 => Just(8), 3 => Just(9), 1 => Just(10), 1 => 0..16_u8];
    let fin = prop_oneof![Just(0), Just(FIN)];
    let reserved = prop_oneof![12 => Just(0_u8), 6 => Just(RSV1), 1 => Just(0x20)];
    let payload = prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..140),
        1 => Just(vec![]),
        1 => Just("니".as_bytes()[..2].to_vec()),
        1 => Just("니".as_bytes()[2..].to_vec()),
        2 => (0..200_usize).prop_map(|count| compressed(&vec![b'a'; 20 + count])),
        1 => Just(vec![0x03, 0xe8, b'b', b'y', b'e']),
    ];
    (opcode, fin, reserved, payload).prop_map(|(opcode, fin, reserved, payload)| {
        let control = opcode >= 8;
        let fin = if control { FIN } else { fin };
        let reserved = if control || opcode == 0 { reserved & 0x20 } else { reserved };
        frame(fin | reserved | opcode, &payload)
    })
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(frames(), 1..12).prop_map(|frames| frames.concat())
}

/// The events with the fragments of each message put together: where they are cut is not promised.
fn joined(heard: Vec<Heard>) -> (Vec<Heard>, Vec<u8>) {
    let mut open = Vec::new();
    let mut messages = Vec::new();
    for heard in heard {
        match heard {
            Heard::Fragment(kind, data, last) => {
                open.extend_from_slice(&data);
                if last {
                    messages.push(Heard::Fragment(kind, std::mem::take(&mut open), true));
                }
            }
            Heard::Text(text) => {
                messages.push(Heard::Fragment(
                    crate::websocket::WebSocketMessageKind::Text,
                    text.into_bytes(),
                    true,
                ));
            }
            Heard::Binary(data) => {
                messages.push(Heard::Fragment(crate::websocket::WebSocketMessageKind::Binary, data, true));
            }
            other => messages.push(other),
        }
    }
    (messages, open)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_stream_is_heard_the_same_however_it_is_cut(
        stream in streams(),
        size in 1..50_usize,
        deflate in any::<bool>(),
        limit in 0..400_usize,
    ) {
        let decoder = || WebSocketDecoder::new(limit, deflate, false);
        let whole = hear(&mut decoder(), [stream.as_slice()]);
        prop_assert_eq!(&hear(&mut decoder(), stream.chunks(1)), &whole);
        prop_assert_eq!(&hear(&mut decoder(), stream.chunks(size)), &whole);
    }

    #[test]
    fn fragments_add_up_to_the_same_messages_however_the_stream_is_cut(
        stream in streams(),
        size in 1..50_usize,
        deflate in any::<bool>(),
    ) {
        let (messages, _) = joined(hear(&mut WebSocketDecoder::new(1000, deflate, false), [stream.as_slice()]));
        for size in [1, size, stream.len()] {
            let (parts, _) = joined(hear(&mut WebSocketDecoder::new(1000, deflate, true), stream.chunks(size)));
            prop_assert_eq!(&parts, &messages);
        }
    }
}
