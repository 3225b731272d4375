//! `docs/protocols/websocket.md` §5, §6: what a connection may cost, idle, busy and under attack.

use super::client::{
    BINARY, CONTINUATION, FIN, Heard, LIMIT, PING, RSV1, TEXT, compressed, deflating, error_of, frame,
    header, hear, plain,
};
use crate::websocket::{Input, ProtocolError, WebSocketDecoder, WebSocketEvent};

#[test]
fn an_idle_decoder_is_small_and_holds_no_memory() {
    assert!(size_of::<WebSocketDecoder>() <= 48, "{} bytes", size_of::<WebSocketDecoder>());
    let text = "idle ".repeat(100);
    let messages = [
        frame(FIN | TEXT, b"whole"),
        [frame(TEXT, b"in "), frame(FIN | PING, b"!"), frame(FIN | CONTINUATION, b"parts")].concat(),
        frame(FIN | RSV1 | TEXT, &compressed(text.as_bytes())),
        frame(FIN | PING, b"ping"),
    ];
    for message in messages {
        for size in [1, 3, message.len()] {
            let mut decoder = deflating();
            assert!(!hear(&mut decoder, message.chunks(size)).is_empty());
            assert_eq!(decoder.held_bytes(), 0);
        }
    }
}

#[test]
fn a_message_that_arrives_whole_is_lent_from_the_input_and_not_copied() {
    let mut bytes = [frame(FIN | TEXT, b"one"), frame(FIN | BINARY, b"two")].concat();
    let range = bytes.as_ptr_range();
    let mut decoder = plain();
    let mut input = Input::new(&mut bytes);
    let mut lent = 0;
    while let Some(event) = decoder.next(&mut input).unwrap() {
        let data = match event {
            WebSocketEvent::Text(text) => text.as_bytes(),
            WebSocketEvent::Binary(data) => data,
            other => panic!("a message, not {other:?}"),
        };
        assert!(range.contains(&data.as_ptr()));
        lent += 1;
    }
    assert_eq!((lent, decoder.held_bytes()), (2, 0));
}

#[test]
fn line_6_memory_grows_with_what_arrives_and_not_with_what_is_announced() {
    let mut decoder = WebSocketDecoder::new(1 << 30, false, false);
    hear(&mut decoder, [header(FIN | BINARY, 1 << 30).as_slice()]);
    assert!(decoder.held_bytes() < 512, "{}", decoder.held_bytes());
    hear(&mut decoder, [[0; 1000].as_slice()]);
    assert!(decoder.held_bytes() < 4096, "{}", decoder.held_bytes());
}

#[test]
fn line_6_a_message_in_pieces_holds_no_more_than_it_is_long() {
    let mut decoder = plain();
    let message = frame(FIN | BINARY, &[7; LIMIT]);
    for piece in message[..message.len() - 1].chunks(1000) {
        hear(&mut decoder, [piece]);
        assert!(decoder.held_bytes() < LIMIT + 512, "{}", decoder.held_bytes());
    }
}

#[test]
fn line_6_the_limit_counts_the_sum_over_fragments() {
    let half = vec![0; LIMIT / 2];
    let frames = [frame(BINARY, &half), frame(CONTINUATION, &half), header(FIN | CONTINUATION, 1)];
    assert_eq!(error_of(&mut plain(), &frames), ProtocolError::TooBig(LIMIT));
    let fits = [frame(BINARY, &half), frame(CONTINUATION, &half), frame(FIN | CONTINUATION, b"")].concat();
    assert_eq!(hear(&mut plain(), [fits.as_slice()]), [Heard::Binary(vec![0; LIMIT])]);
}

#[test]
fn line_6_the_limit_counts_each_message_anew() {
    let full = frame(FIN | BINARY, &[0; LIMIT]);
    assert_eq!(hear(&mut plain(), [[full.as_slice(), &full].concat().as_slice()]).len(), 2);
}

#[test]
fn line_6_a_ping_is_not_counted_against_the_limit() {
    let mut decoder = WebSocketDecoder::new(4, false, false);
    let frames = [frame(TEXT, b"four"), frame(FIN | PING, b"twelve bytes"), frame(FIN | CONTINUATION, b"")];
    let expected = [Heard::Ping(b"twelve bytes".to_vec()), Heard::Text("four".to_owned())];
    assert_eq!(hear(&mut decoder, [frames.concat().as_slice()]), expected);
}

#[test]
fn ten_thousand_empty_or_tiny_fragments_hold_no_more_than_their_bytes() {
    for payload in [&b""[..], b"x"] {
        let mut decoder = plain();
        hear(&mut decoder, [frame(BINARY, payload).as_slice()]);
        let fragments = frame(CONTINUATION, payload).repeat(10_000);
        assert_eq!(hear(&mut decoder, fragments.chunks(4096)), []);
        assert!(decoder.held_bytes() < 512 + 4 * payload.len() * 10_001, "{}", decoder.held_bytes());
        let whole = hear(&mut decoder, [frame(FIN | CONTINUATION, payload).as_slice()]);
        assert_eq!(whole, [Heard::Binary(payload.repeat(10_002))]);
    }
}

#[test]
fn a_limit_without_bounds_does_not_overflow() {
    let mut decoder = WebSocketDecoder::new(usize::MAX, true, false);
    let huge = header(BINARY, i64::MAX as u64);
    assert_eq!(hear(&mut decoder, [huge.as_slice(), b"some"]), []);
    assert!(decoder.held_bytes() < 1024);
}
