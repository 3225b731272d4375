//! `docs/protocols/websocket.md` §8: close frames, and the silence after them.

use bytes::BytesMut;

use super::client::{CLOSE, FIN, Heard, TEXT, error, frame, hear, heard, plain};
use crate::websocket::{ProtocolError, encode};

fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

#[test]
fn line_8_a_close_may_have_no_code() {
    assert_eq!(heard(&[frame(FIN | CLOSE, b"")]), [Heard::Close(None)]);
}

#[test]
fn line_8_the_codes_of_the_wire_are_accepted() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        assert_eq!(heard(&[close(code, b"bye")]), [Heard::Close(Some((code, "bye".to_owned())))]);
    }
}

#[test]
fn line_8_other_codes_are_refused() {
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let refused = error(&[close(code, b"")]);
        assert_eq!((refused, refused.close_code()), (ProtocolError::CloseCode(code), 1002));
    }
}

#[test]
fn line_8_half_a_code_is_refused() {
    let half = error(&[frame(FIN | CLOSE, b"\x03")]);
    assert_eq!((half, half.close_code()), (ProtocolError::HalfCloseCode, 1002));
}

#[test]
fn line_7_a_reason_that_is_not_utf_8_is_refused() {
    for reason in [&b"\xff"[..], b"caf\xc3"] {
        let invalid = error(&[close(1000, reason)]);
        assert_eq!((invalid, invalid.close_code()), (ProtocolError::InvalidUtf8, 1007));
    }
}

#[test]
fn line_8_nothing_is_heard_after_a_close_or_an_error() {
    let more = frame(FIN | TEXT, b"more");
    let mut closed = plain();
    let bytes = [close(1000, b""), more.clone()].concat();
    assert_eq!(hear(&mut closed, [bytes.as_slice()]), [Heard::Close(Some((1000, String::new())))]);
    assert_eq!(hear(&mut closed, [more.as_slice()]), []);

    for wrong in [frame(FIN | 3, b""), close(1005, b""), frame(FIN | TEXT, b"\xff"), frame(TEXT, b"\xff")] {
        let mut failed = plain();
        assert!(matches!(hear(&mut failed, [wrong.as_slice(), &more])[..], [Heard::Error(_)]));
        assert_eq!(failed.held_bytes(), 0);
    }
}

#[test]
fn line_8_a_close_that_arrives_in_pieces_is_the_same() {
    let bytes = close(4001, "고라니".as_bytes());
    assert_eq!(hear(&mut plain(), bytes.chunks(1)), [Heard::Close(Some((4001, "고라니".to_owned())))]);
}

#[test]
fn line_8_a_reason_is_cut_between_characters_to_fit() {
    let mut out = BytesMut::new();
    encode::close(1008, &"é".repeat(100), &mut out);
    assert_eq!(out[..4], [0x88, 2 + 122, 0x03, 0xf0]);
    assert_eq!(out[4..], *"é".repeat(61).as_bytes());

    out.clear();
    encode::close(1000, "", &mut out);
    assert_eq!(out[..], [0x88, 2, 0x03, 0xe8]);
    out.clear();
    encode::close_empty(&mut out);
    assert_eq!(out[..], [0x88, 0]);
}

#[test]
fn line_8_every_error_fits_the_reason_of_a_close_frame() {
    for error in [
        ProtocolError::ReservedBits,
        ProtocolError::ReservedOpcode(15),
        ProtocolError::Unmasked,
        ProtocolError::FragmentedControl,
        ProtocolError::OverlongControl,
        ProtocolError::UnexpectedContinuation,
        ProtocolError::UnfinishedMessage,
        ProtocolError::NonMinimalLength,
        ProtocolError::LengthTopBit,
        ProtocolError::HalfCloseCode,
        ProtocolError::CloseCode(u16::MAX),
        ProtocolError::InvalidUtf8,
        ProtocolError::InvalidDeflate,
        ProtocolError::TooBig(usize::MAX),
    ] {
        assert!(error.to_string().len() <= 123);
        assert!([1002, 1007, 1009].contains(&error.close_code()));
    }
}
