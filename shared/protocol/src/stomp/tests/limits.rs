//! Item 15: what is too much is refused before it is kept.

use super::client::{LIMITS, decoder, error, frame, hear};
use crate::stomp::{StompDecodeError, Version::V1_2};

#[test]
fn item_15_too_many_headers() {
    let headers = |count: usize| (0..count).map(|number| format!("h{number}:\n")).collect::<String>();
    assert_eq!(frame(V1_2, format!("SEND\n{}\n\0", headers(8))).headers.len(), 8);
    assert_eq!(error(V1_2, format!("SEND\n{}", headers(9))), StompDecodeError::TooManyHeaders(8));
    assert_eq!(error(V1_2, format!("SEND\n{}", "a:b\n".repeat(9))), StompDecodeError::TooManyHeaders(8));
}

#[test]
fn item_15_a_header_line_that_is_too_long() {
    assert_eq!(frame(V1_2, format!("SEND\na:{}\r\n\n\0", "x".repeat(62))).headers.len(), 1);
    for end in ["\n", "\r\n", ""] {
        let long = format!("SEND\na:{}{end}", "x".repeat(63 + 2));
        assert_eq!(error(V1_2, long), StompDecodeError::HeaderTooLong(64));
    }
    assert_eq!(error(V1_2, format!("SEND\na:{}\n", "x".repeat(63))), StompDecodeError::HeaderTooLong(64));
}

#[test]
fn item_15_headers_that_are_too_long_together() {
    let header = |name: char| format!("{name}:{}\n", "x".repeat(50));
    let stream: String = "abcd".chars().map(header).collect();
    assert_eq!(error(V1_2, format!("SEND\n{stream}")), StompDecodeError::HeadTooLong(200));
}

#[test]
fn item_15_a_body_that_is_too_long_is_refused_by_its_announcement_alone() {
    assert_eq!(frame(V1_2, format!("SEND\ncontent-length:100\n\n{}\0", "x".repeat(100))).body.len(), 100);
    for length in ["101", "99999999999999999999999"] {
        assert_eq!(
            error(V1_2, format!("SEND\ncontent-length:{length}\n\n")),
            StompDecodeError::BodyTooLong(100)
        );
    }
    assert_eq!(error(V1_2, format!("SEND\n\n{}", "x".repeat(101))), StompDecodeError::BodyTooLong(100));
    let byte = [b"x".as_slice()];
    let pieces = [&b"SEND\n\n"[..]].into_iter().chain(byte.into_iter().cycle().take(101));
    assert_eq!(hear(&mut decoder(V1_2), pieces).1, Some(StompDecodeError::BodyTooLong(100)));
}

#[test]
fn item_15_an_announced_body_takes_no_memory_before_it_comes() {
    let mut decoder = decoder(V1_2);
    hear(&mut decoder, [&b"SEND\ncontent-length:100\n\nx"[..]]);
    assert!(decoder.held_bytes() < LIMITS.body_bytes + 200);
    let (frames, _) = hear(&mut decoder, ["x".repeat(99).as_bytes(), b"\0"]);
    assert_eq!(frames[0].body.len(), 100);
    assert_eq!(decoder.held_bytes(), 0);
}
