//! `docs/protocols/websocket.md` §9: pings and pongs, also in the middle of a message.

use bytes::BytesMut;

use super::client::{BINARY, CONTINUATION, FIN, Heard, PING, PONG, TEXT, frame, hear, heard, plain};
use crate::websocket::encode;

#[test]
fn line_9_a_ping_is_heard_with_its_payload_and_its_pong_carries_the_same() {
    let payload = [0xfe; 125];
    assert_eq!(heard(&[frame(FIN | PING, &payload)]), [Heard::Ping(payload.to_vec())]);
    let mut out = BytesMut::new();
    encode::pong(&payload, &mut out);
    assert_eq!(out[..2], [0x8a, 125]);
    assert_eq!(out[2..], payload);
    out.clear();
    encode::ping(b"", &mut out);
    assert_eq!(out[..], [0x89, 0]);
}

#[test]
fn line_9_an_unsolicited_pong_is_fine() {
    let frames = [frame(FIN | PONG, b"nobody asked"), frame(FIN | TEXT, b"on")];
    assert_eq!(heard(&frames), [Heard::Pong(b"nobody asked".to_vec()), Heard::Text("on".to_owned())]);
}

#[test]
fn line_9_control_frames_may_stand_between_fragments() {
    let frames = [
        frame(TEXT, b"one "),
        frame(FIN | PING, b"1"),
        frame(CONTINUATION, b"two "),
        frame(FIN | PONG, b"2"),
        frame(FIN | PING, b"3"),
        frame(FIN | CONTINUATION, b"three"),
        frame(FIN | BINARY, b"next"),
    ];
    let expected = [
        Heard::Ping(b"1".to_vec()),
        Heard::Pong(b"2".to_vec()),
        Heard::Ping(b"3".to_vec()),
        Heard::Text("one two three".to_owned()),
        Heard::Binary(b"next".to_vec()),
    ];
    assert_eq!(heard(&frames), expected);
    assert_eq!(hear(&mut plain(), frames.concat().chunks(1)), expected);
}

#[test]
fn line_9_many_pings_in_one_packet_are_all_heard_in_order() {
    let frames: Vec<_> = (0..1000_u16).map(|number| frame(FIN | PING, &number.to_be_bytes())).collect();
    let expected: Vec<_> = (0..1000_u16).map(|number| Heard::Ping(number.to_be_bytes().to_vec())).collect();
    assert_eq!(heard(&frames), expected);
}

#[test]
fn a_control_payload_over_125_bytes_is_cut() {
    let mut out = BytesMut::new();
    encode::ping(&[1; 200], &mut out);
    assert_eq!((out.len(), out[1]), (127, 125));
}
