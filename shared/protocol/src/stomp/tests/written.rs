//! Item 13: what is written of a body.

use bytes::BytesMut;

use crate::stomp::{ServerCommand, VERSIONS, Version, encode};

fn message(write: impl FnOnce(encode::StompFrameWriter<'_>)) -> BytesMut {
    let mut out = BytesMut::new();
    write(encode::frame(ServerCommand::Message, Version::V1_2, &mut out).header("destination", "/topic/a"));
    out
}

#[test]
fn item_13_a_body_comes_with_its_length_in_octets() {
    let bytes = message(|writer| writer.body("고\0".as_bytes()));
    assert_eq!(bytes, "MESSAGE\ndestination:/topic/a\ncontent-length:4\n\n고\0\0");
}

#[test]
fn item_13_an_empty_body_has_no_length() {
    assert_eq!(message(|writer| writer.body(b"")), "MESSAGE\ndestination:/topic/a\n\n\0");
}

#[test]
fn a_body_without_its_length_ends_at_its_first_nul() {
    assert_eq!(message(|writer| writer.body_without_length(b"a\0b")), "MESSAGE\ndestination:/topic/a\n\na\0");
}

#[test]
fn numbers_are_written_as_headers() {
    for version in VERSIONS {
        let mut out = BytesMut::new();
        encode::frame(ServerCommand::Receipt, version, &mut out).number("receipt-id", 7).end();
        assert_eq!(out, "RECEIPT\nreceipt-id:7\n\n\0");
    }
}
