//! `docs/protocols/websocket.md` §5, §6, §10: headers, and what the server's own frames look like.

use bytes::BytesMut;
use proptest::prelude::*;

use super::client::{
    BINARY, CLOSE, CONTINUATION, FIN, Heard, LIMIT, PING, PONG, RSV1, TEXT, deflating, error, error_of,
    frame, header, heard,
};
use crate::websocket::{
    ProtocolError, WebSocketDecoder, encode,
    frame::Opcode,
    input::{advance, unmask},
};

#[test]
fn line_5_server_frames_are_not_masked() {
    let mut out = BytesMut::new();
    encode::text(b"Hello", &mut out);
    assert_eq!(&out[..], b"\x81\x05Hello");
}

#[test]
fn line_5_a_masked_frame_of_a_client_is_read() {
    let hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58".to_vec();
    assert_eq!(heard(&[hello]), [Heard::Text("Hello".to_owned())]);
}

#[test]
fn line_5_an_unmasked_frame_of_a_client_is_refused() {
    let unmasked = error(&[b"\x81\x05Hello".to_vec()]);
    assert_eq!((unmasked, unmasked.close_code()), (ProtocolError::Unmasked, 1002));
}

#[test]
fn line_5_reserved_bits_without_an_extension_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let reserved = error(&[frame(FIN | bit | opcode, b"x")]);
            assert_eq!((reserved, reserved.close_code()), (ProtocolError::ReservedBits, 1002));
        }
    }
    for bit in [0x20, 0x10] {
        assert_eq!(error_of(&mut deflating(), &[frame(FIN | bit | TEXT, b"x")]), ProtocolError::ReservedBits);
    }
}

#[test]
fn line_5_reserved_opcodes_are_refused() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let reserved = error(&[frame(FIN | opcode, b"")]);
        assert_eq!((reserved, reserved.close_code()), (ProtocolError::ReservedOpcode(opcode), 1002));
    }
}

#[test]
fn line_5_control_frames_are_neither_fragmented_nor_over_long() {
    for opcode in [PING, PONG, CLOSE] {
        let fragmented = error(&[frame(opcode, b"")]);
        assert_eq!((fragmented, fragmented.close_code()), (ProtocolError::FragmentedControl, 1002));
        let overlong = error(&[frame(FIN | opcode, &[b'x'; 126])]);
        assert_eq!((overlong, overlong.close_code()), (ProtocolError::OverlongControl, 1002));
    }
}

#[test]
fn line_5_a_continuation_out_of_place_is_refused() {
    for fin in [0, FIN] {
        let stray = error(&[frame(fin | CONTINUATION, b"x")]);
        assert_eq!((stray, stray.close_code()), (ProtocolError::UnexpectedContinuation, 1002));
        let after = error(&[frame(FIN | TEXT, b"whole"), frame(fin | CONTINUATION, b"x")]);
        assert_eq!(after, ProtocolError::UnexpectedContinuation);
    }
}

#[test]
fn line_5_a_new_message_inside_a_fragmented_message_is_refused() {
    for opcode in [TEXT, BINARY] {
        let inside = error(&[frame(TEXT, b"part"), frame(FIN | opcode, b"new")]);
        assert_eq!((inside, inside.close_code()), (ProtocolError::UnfinishedMessage, 1002));
    }
}

#[test]
fn line_5_a_bad_frame_is_refused_before_its_header_is_complete() {
    let cases: [(&[u8], ProtocolError); 4] = [
        (&[FIN | 0x20 | TEXT], ProtocolError::ReservedBits),
        (&[FIN | CONTINUATION], ProtocolError::UnexpectedContinuation),
        (&[FIN | TEXT, 0x05], ProtocolError::Unmasked),
        (&[FIN | PING, 0x80 | 126], ProtocolError::OverlongControl),
    ];
    for (bytes, expected) in cases {
        assert_eq!(error(&[bytes.to_vec()]), expected);
    }
}

#[test]
fn line_6_lengths_over_their_minimal_form_are_refused() {
    let in_2_bytes = [FIN | BINARY, 0x80 | 126, 0, 125].to_vec();
    let in_8_bytes = [FIN | BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff].to_vec();
    for long in [in_2_bytes, in_8_bytes] {
        let long = error(&[long]);
        assert_eq!((long, long.close_code()), (ProtocolError::NonMinimalLength, 1002));
    }
}

#[test]
fn line_6_a_64_bit_length_with_its_top_bit_set_is_refused() {
    let top = error(&[[&[FIN | BINARY, 0x80 | 127, 0x80], &[0; 7][..]].concat()]);
    assert_eq!((top, top.close_code()), (ProtocolError::LengthTopBit, 1002));
}

#[test]
fn line_6_every_length_around_the_changes_of_form_is_read() {
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'x'; length];
        let message = frame(FIN | BINARY, &payload);
        let mut decoder = WebSocketDecoder::new(1 << 20, false, false);
        assert_eq!(
            super::client::hear(&mut decoder, [message.as_slice()]),
            [Heard::Binary(payload)],
            "{length} bytes"
        );
    }
}

#[test]
fn line_6_a_message_over_the_limit_is_refused_from_the_header_alone() {
    for length in [LIMIT as u64 + 1, 1 << 32, i64::MAX as u64] {
        let mut announced = header(FIN | BINARY, length);
        // Not even the mask has arrived.
        announced.truncate(announced.len() - 4);
        let mut decoder = super::client::plain();
        let too_big = error_of(&mut decoder, &[announced]);
        assert_eq!((too_big, too_big.close_code()), (ProtocolError::TooBig(LIMIT), 1009));
        assert_eq!(decoder.held_bytes(), 0);
    }
    assert!(matches!(heard(&[frame(FIN | BINARY, &vec![0; LIMIT])])[..], [Heard::Binary(_)]));
}

#[test]
fn line_10_unmasking_is_the_repeated_key_at_every_length_and_offset() {
    let key = [0x12, 0x34, 0x56, 0x78];
    for length in 0..70 {
        let plain: Vec<u8> = (0..length).collect();
        let expected: Vec<u8> = plain.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
        let mut whole = plain.clone();
        unmask(key, &mut whole);
        assert_eq!(whole, expected);
        for cut in 0..plain.len() {
            let mut pieces = plain.clone();
            unmask(key, &mut pieces[..cut]);
            unmask(advance(key, cut), &mut pieces[cut..]);
            assert_eq!(pieces, expected, "{length} bytes cut at {cut}");
        }
    }
}

proptest! {
    #[test]
    fn line_5_what_the_server_encodes_a_client_decodes(
        payload in proptest::collection::vec(any::<u8>(), 0..70_000),
        text in any::<bool>(),
    ) {
        let opcode = if text { Opcode::Text } else { Opcode::Binary };
        let mut out = BytesMut::new();
        encode::frame(opcode, &payload, false, &mut out);
        let header = match payload.len() {
            0..126 => 2,
            126..0x1_0000 => 4,
            _ => 10,
        };
        prop_assert_eq!(out.len(), header + payload.len());
        prop_assert_eq!(&out[header..], &payload[..]);
        // Masked with zeros it is a client's frame.
        let mut masked = out[..header].to_vec();
        masked[1] |= 0x80;
        masked.extend_from_slice(&[0; 4]);
        masked.extend_from_slice(&out[header..]);
        let mut decoder = WebSocketDecoder::new(1 << 20, false, false);
        let expected = match (text, String::from_utf8(payload.clone())) {
            (false, _) => Heard::Binary(payload),
            (true, Ok(text)) => Heard::Text(text),
            (true, Err(_)) => Heard::Error(ProtocolError::InvalidUtf8),
        };
        prop_assert_eq!(super::client::hear(&mut decoder, [masked.as_slice()]), vec![expected]);
    }
}

#[test]
fn line_12_rsv1_stands_on_the_first_frame_of_a_message_only() {
    for opcode in [PING, PONG, CLOSE] {
        assert_eq!(
            error_of(&mut deflating(), &[frame(FIN | RSV1 | opcode, b"")]),
            ProtocolError::ReservedBits
        );
    }
    let continued = [frame(TEXT, b"part"), frame(FIN | RSV1 | CONTINUATION, b"rest")];
    assert_eq!(error_of(&mut deflating(), &continued), ProtocolError::ReservedBits);
}
