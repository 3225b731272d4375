//! `docs/protocols/websocket.md` §11 to §13: compressed messages in and out.

use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::client::{
    BINARY, CONTINUATION, FIN, Heard, LIMIT, PING, RSV1, TEXT, compressed, deflating, error_of, frame,
    header, hear,
};
use crate::websocket::{Deflater, Inflater, Opcode, ProtocolError, WebSocketDecoder, WebSocketMessageKind};

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    Inflater::new().inflate(WebSocketMessageKind::Binary, compressed, LIMIT)
}

#[test]
fn line_12_the_examples_of_rfc_7692_are_read() {
    // §7.2.3.1 one block, §7.2.3.2 twice with a window of its own, §7.2.3.3 stored, §7.2.3.4 final, §7.2.3.5 two.
    let examples: [&[u8]; 4] = [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ];
    for example in examples {
        assert_eq!(
            hear(&mut deflating(), [frame(FIN | RSV1 | TEXT, example).as_slice()]),
            [Heard::Text("Hello".to_owned())],
            "{example:x?}"
        );
    }
    let fragments = [
        frame(RSV1 | TEXT, &[0xf2, 0x48, 0xcd]),
        frame(FIN | PING, b"!"),
        frame(FIN | CONTINUATION, &[0xc9, 0xc9, 0x07, 0x00]),
    ];
    assert_eq!(
        hear(&mut deflating(), [fragments.concat().as_slice()]),
        [Heard::Ping(b"!".to_vec()), Heard::Text("Hello".to_owned())]
    );
}

#[test]
fn line_12_an_empty_message_may_be_an_empty_block_or_nothing() {
    for empty in [&[0x00][..], &[], &[0x02, 0x00], &[0x03, 0x00]] {
        let frame = frame(FIN | RSV1 | TEXT, empty);
        assert_eq!(hear(&mut deflating(), [frame.as_slice()]), [Heard::Text(String::new())], "{empty:x?}");
    }
}

#[test]
fn line_12_a_stream_that_ends_with_the_message_is_read() {
    assert_eq!(inflate(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]), Ok(b"Hello".to_vec()));
    let twice = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00].repeat(2);
    assert_eq!(inflate(&twice), Ok(b"HelloHello".to_vec()));
}

#[test]
fn line_12_messages_may_be_compressed_or_not_one_by_one() {
    let text = "again and again and again ".repeat(10);
    let frames = [
        frame(FIN | TEXT, b"plain"),
        frame(FIN | RSV1 | TEXT, &compressed(text.as_bytes())),
        frame(BINARY, b"pl"),
        frame(FIN | CONTINUATION, b"ain"),
        frame(FIN | RSV1 | BINARY, &compressed(text.as_bytes())),
    ];
    let expected = [
        Heard::Text("plain".to_owned()),
        Heard::Text(text.clone()),
        Heard::Binary(b"plain".to_vec()),
        Heard::Binary(text.into_bytes()),
    ];
    assert_eq!(hear(&mut deflating(), [frames.concat().as_slice()]), expected);
    assert_eq!(hear(&mut deflating(), frames.concat().chunks(1)), expected);
}

#[test]
fn line_12_a_bomb_is_refused_with_bounded_memory() {
    let bomb = compressed(&vec![b'0'; 64 << 20]);
    assert!(bomb.len() < 80_000, "{}", bomb.len());
    let too_big = Inflater::new().inflate(WebSocketMessageKind::Text, &bomb, LIMIT).unwrap_err();
    assert_eq!((too_big, too_big.close_code()), (ProtocolError::TooBig(LIMIT), 1009));
    let small_bomb = compressed(&vec![b'0'; LIMIT + 1]);
    let mut decoder = deflating();
    assert_eq!(
        error_of(&mut decoder, &[frame(FIN | RSV1 | TEXT, &small_bomb)]),
        ProtocolError::TooBig(LIMIT)
    );
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn line_12_a_message_of_exactly_the_limit_is_read_and_holds_no_more() {
    for limit in [1, 100, 4096, LIMIT] {
        let payload = vec![b'0'; limit];
        let whole = {
            let mut compress = Compress::new(Compression::best(), false);
            let mut out = Vec::with_capacity(limit + 100);
            compress.compress_vec(&payload, &mut out, FlushCompress::Sync).unwrap();
            out.truncate(out.len() - 4);
            out
        };
        let inflated = Inflater::new().inflate(WebSocketMessageKind::Text, &whole, limit).unwrap();
        assert_eq!(inflated, payload);
        assert!(inflated.capacity() <= limit + 1);
        assert_eq!(
            Inflater::new().inflate(WebSocketMessageKind::Text, &whole, limit - 1),
            Err(ProtocolError::TooBig(limit - 1))
        );
    }
}

#[test]
fn line_12_a_compressed_message_that_announces_too_much_is_refused_from_its_header() {
    let announced = header(FIN | RSV1 | BINARY, 2 * LIMIT as u64);
    assert_eq!(error_of(&mut deflating(), &[announced]), ProtocolError::TooBig(LIMIT));
    let part = frame(RSV1 | BINARY, &vec![0; LIMIT]);
    let rest = header(FIN | CONTINUATION, LIMIT as u64);
    assert_eq!(error_of(&mut deflating(), &[part, rest]), ProtocolError::TooBig(LIMIT));
}

#[test]
fn line_12_damaged_or_truncated_data_is_refused_with_1007() {
    let text = "some text that is long enough to be compressed, compressed, compressed";
    let good = compressed(text.as_bytes());
    let truncated = &good[..good.len() / 2];
    // The block announces 100 bytes and would take what is put behind the message for its own.
    let swallowing = b"\x00\x64\x00\x9b\xffHe";
    for bad in [&b"\xff\xff\xff"[..], b"\x06", b"\x00\x05\x00\xfa\xffHe", swallowing, truncated] {
        let error = error_of(&mut deflating(), &[frame(FIN | RSV1 | BINARY, bad)]);
        assert_eq!((error, error.close_code()), (ProtocolError::InvalidDeflate, 1007), "{bad:x?}");
    }
}

#[test]
fn line_12_a_message_cannot_refer_to_the_one_before() {
    // §7.2.3.2: the second "Hello" of a client that keeps its window although the answer forbids it.
    let mut decoder = deflating();
    let first = frame(FIN | RSV1 | TEXT, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
    let second = frame(FIN | RSV1 | TEXT, &[0xf2, 0x00, 0x11, 0x00, 0x00]);
    let heard = hear(&mut decoder, [first.as_slice(), &second]);
    assert_eq!(heard, [Heard::Text("Hello".to_owned()), Heard::Error(ProtocolError::InvalidDeflate)]);
}

#[test]
fn line_7_compressed_text_is_checked_as_it_is_inflated() {
    let mut text = vec![b'a'; 300];
    text[150] = 0xff;
    let invalid = error_of(&mut deflating(), &[frame(FIN | RSV1 | TEXT, &compressed(&text))]);
    assert_eq!((invalid, invalid.close_code()), (ProtocolError::InvalidUtf8, 1007));
    // Found before the limit is reached.
    let bomb: Vec<u8> = [0xff].into_iter().chain(std::iter::repeat_n(b'0', 10 * LIMIT)).collect();
    let invalid = Inflater::new().inflate(WebSocketMessageKind::Text, &compressed(&bomb), LIMIT);
    assert_eq!(invalid, Err(ProtocolError::InvalidUtf8));
    // A last character that is cut off.
    let mut cut = vec![b'a'; 300];
    cut.extend_from_slice(&"니".as_bytes()[..2]);
    let invalid = error_of(&mut deflating(), &[frame(FIN | RSV1 | TEXT, &compressed(&cut))]);
    assert_eq!(invalid, ProtocolError::InvalidUtf8);
}

#[test]
fn line_13_a_message_that_would_not_become_smaller_is_sent_as_it_is() {
    let mut deflater = Deflater::new(15, 6);
    let mut out = BytesMut::new();
    assert!(!deflater.compress(b"abc", &mut out));
    assert!(out.is_empty());
    deflater.frame(Opcode::Text, b"abc", &mut out);
    assert_eq!(out[..], *b"\x81\x03abc");
}

#[test]
fn line_13_a_compressed_frame_says_so() {
    let mut out = BytesMut::new();
    Deflater::new(15, 6).frame(Opcode::Text, &[b'a'; 1000], &mut out);
    assert_eq!(out[0], FIN | RSV1 | TEXT);
    assert_eq!(usize::from(out[1]), out.len() - 2);
    assert_eq!(inflate(&out[2..]), Ok(vec![b'a'; 1000]));
}

#[test]
fn line_11_with_the_smallest_window_only_what_fits_into_it_is_compressed() {
    let mut deflater = Deflater::new(8, 9);
    let mut out = BytesMut::new();
    assert!(deflater.compress(&[b'a'; 256], &mut out));
    assert_eq!(inflate(&out), Ok(vec![b'a'; 256]));
    assert!(!deflater.compress(&[b'a'; 257], &mut BytesMut::new()));
}

/// Something between noise, which does not compress, and repetition, which does.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let words = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 1..6);
    (words, proptest::collection::vec(any::<prop::sample::Index>(), 0..3000))
        .prop_map(|(words, order)| order.iter().flat_map(|index| index.get(&words).clone()).collect())
}

#[test]
fn line_11_the_negotiated_window_is_kept() {
    // Two equal halves of noise: only a window that reaches from one to the other makes the second small.
    let mut state = 0x9e37_79b9_u32;
    let half: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    })
    .take(2000)
    .collect();
    let payload = half.repeat(2);
    for (window_bits, reaches) in [(8, false), (9, false), (10, false), (12, true), (15, true)] {
        let mut out = BytesMut::new();
        assert_eq!(Deflater::new(window_bits, 9).compress(&payload, &mut out), reaches, "{window_bits} bits");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn line_12_what_is_compressed_is_inflated_to_the_same(
        payload in payloads(),
        window_bits in 8..=15_u8,
        level in 0..=9_u32,
    ) {
        let mut deflater = Deflater::new(window_bits, level);
        let mut inflater = Inflater::new();
        // Twice: nothing is left of the first message.
        for _ in 0..2 {
            let mut out = BytesMut::new();
            if deflater.compress(&payload, &mut out) {
                prop_assert!(out.len() < payload.len());
                prop_assert_eq!(inflater.inflate(WebSocketMessageKind::Binary, &out, payload.len()), Ok(payload.clone()));
            }
        }
    }

    #[test]
    fn line_12_what_deflate_makes_of_noise_is_within_what_may_be_announced(
        payload in proptest::collection::vec(any::<u8>(), 0..3000),
        level in 0..=9_u32,
    ) {
        let mut compress = Compress::new(Compression::new(level), false);
        let mut out = Vec::with_capacity(payload.len() * 2 + 100);
        compress.compress_vec(&payload, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - 4);
        let mut decoder = WebSocketDecoder::new(payload.len(), true, false);
        let heard = hear(&mut decoder, [frame(FIN | RSV1 | BINARY, &out).as_slice()]);
        prop_assert_eq!(heard, vec![Heard::Binary(payload)]);
    }
}
