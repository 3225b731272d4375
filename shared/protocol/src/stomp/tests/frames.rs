//! Items 1 to 5, 10 to 14, 16 and 17.

use Version::{V1_0, V1_1, V1_2};

use super::client::{commands, decoder, error, frame, frames, hear, opening};
use crate::stomp::{StompCommand, StompDecodeError, StompDecoder, VERSIONS, Version};

#[test]
fn item_1_a_frame_is_a_command_headers_and_a_body_up_to_nul() {
    for version in VERSIONS {
        let frame = frame(version, "SEND\ndestination:/topic/a\nkey:value\n\nHello\0\n\n");
        assert_eq!(frame.command, StompCommand::Send);
        assert_eq!(frame.headers.iter().collect::<Vec<_>>(), [("destination", "/topic/a"), ("key", "value")]);
        assert_eq!(frame.body, "Hello");
    }
}

#[test]
fn item_1_commands_and_header_names_are_case_sensitive() {
    assert_eq!(error(V1_2, "send\n\n\0"), StompDecodeError::UnknownCommand);
    assert_eq!(frame(V1_2, "SEND\nDestination:a\n\n\0").headers.get("destination"), None);
}

#[test]
fn item_2_lines_end_with_lf_and_in_1_2_with_cr_lf_too() {
    let stream = "SEND\r\ndestination:/topic/a\r\n\r\nHello\r\n\0\r\n";
    let frame = frame(V1_2, stream);
    assert_eq!((frame.headers.get("destination"), &frame.body[..]), (Some("/topic/a"), &b"Hello\r\n"[..]));
    for version in [V1_0, V1_1] {
        assert_eq!(error(version, stream), StompDecodeError::CarriageReturn);
    }
}

#[test]
fn item_2_a_connect_may_end_its_lines_with_cr_lf() {
    let frame = opening("CONNECT\r\naccept-version:1.1\r\nlogin:me\r\n\r\n\0").unwrap();
    assert_eq!(frame.headers.get("login"), Some("me"));
}

#[test]
fn item_2_a_carriage_return_within_a_line_is_an_error() {
    for version in VERSIONS {
        assert_eq!(error(version, "SEND\ndestination:a\rb\n\n\0"), StompDecodeError::CarriageReturn);
    }
    assert_eq!(error(V1_2, "SEND\ndestination:a\r\r\n\n\0"), StompDecodeError::CarriageReturn);
}

#[test]
fn item_3_any_number_of_line_ends_may_stand_between_frames_and_before_the_first() {
    for version in VERSIONS {
        let frames =
            frames(version, "\n\n\r\nBEGIN\ntransaction:1\n\n\0\n\r\n\n\nABORT\ntransaction:1\n\n\0\n");
        assert_eq!(commands(&frames), [StompCommand::Begin, StompCommand::Abort]);
    }
    assert!(opening("\n\r\nCONNECT\n\n\0").is_ok());
}

#[test]
fn item_4_several_frames_come_in_one_piece_and_one_frame_in_any_pieces() {
    let stream = b"SEND\ndestination:a\n\none\0SEND\ndestination:a\ncontent-length:3\n\ntwo\0\nSEND\ndestination:a\n\n\0";
    let whole = frames(V1_2, stream);
    assert_eq!(whole.len(), 3);
    for size in 1..stream.len() {
        let (pieces, error) = hear(&mut decoder(V1_2), stream.chunks(size));
        assert_eq!((pieces, error), (whole.clone(), None), "pieces of {size}");
    }
}

#[test]
fn item_5_a_header_is_split_at_its_first_colon_and_later_ones_stay() {
    for version in VERSIONS {
        assert_eq!(frame(version, "SEND\nurl:http://a:1/\n\n\0").headers.get("url"), Some("http://a:1/"));
    }
}

#[test]
fn item_5_a_line_without_a_colon_or_without_a_name_is_an_error() {
    for version in VERSIONS {
        assert_eq!(error(version, "SEND\ndestination\n\n\0"), StompDecodeError::NoColon);
        assert_eq!(error(version, "SEND\n:value\n\n\0"), StompDecodeError::NoName);
    }
}

#[test]
fn item_5_an_empty_value_is_a_value() {
    for version in VERSIONS {
        assert_eq!(frame(version, "SEND\nkey:\n\n\0").headers.get("key"), Some(""));
    }
}

#[test]
fn item_10_of_a_repeated_header_the_first_counts() {
    let frame = frame(V1_2, "SEND\na:1\nb:x\na:2\ncontent-length:2\ncontent-length:9\n\nhi\0");
    assert_eq!(frame.headers.get("a"), Some("1"));
    assert_eq!(frame.headers.len(), 3);
    assert_eq!(frame.body, "hi");
}

#[test]
fn item_11_content_length_counts_octets_and_nul_may_be_among_them() {
    for version in VERSIONS {
        let frames = frames(version, b"SEND\ncontent-length:5\n\n\0a\0\n\0\0SEND\n\nb\0");
        assert_eq!(frames.iter().map(|frame| &frame.body[..]).collect::<Vec<_>>(), [&b"\0a\0\n\0"[..], b"b"]);
    }
}

#[test]
fn item_11_the_octet_after_the_body_must_be_nul() {
    assert_eq!(error(V1_2, "SEND\ncontent-length:2\n\nabc\0"), StompDecodeError::NoNulAfterBody);
    let (_, error) = hear(&mut decoder(V1_2), ["SEND\ncontent-length:2\n\nab".as_bytes(), b"c"]);
    assert_eq!(error, Some(StompDecodeError::NoNulAfterBody));
}

#[test]
fn item_11_without_content_length_the_body_ends_at_the_first_nul() {
    assert_eq!(frames(V1_2, "SEND\n\na\0\nSEND\n\nb\0").len(), 2);
}

#[test]
fn item_11_a_content_length_that_is_no_number_is_an_error() {
    for bad in ["-1", "+1", "", " 1", "1.0", "0x1", "one"] {
        let stream = format!("SEND\ncontent-length:{bad}\n\nx\0");
        assert_eq!(error(V1_2, stream), StompDecodeError::BadContentLength, "{bad:?}");
    }
}

#[test]
fn item_12_only_send_has_a_body() {
    for version in [V1_1, V1_2] {
        for command in ["SUBSCRIBE", "UNSUBSCRIBE", "ACK", "NACK", "BEGIN", "COMMIT", "ABORT", "DISCONNECT"] {
            let told = error(version, format!("{command}\nid:1\n\nbody\0"));
            assert!(matches!(told, StompDecodeError::UnexpectedBody(of) if of.name() == command));
            // Before anything of it has come.
            let announced = error(version, format!("{command}\nid:1\ncontent-length:4\n\n"));
            assert_eq!(announced, told);
            assert!(frames(version, format!("{command}\nid:1\ncontent-length:0\n\n\0")).len() == 1);
        }
    }
    assert!(matches!(
        opening("CONNECT\naccept-version:1.2\n\nbody\0"),
        Err(StompDecodeError::UnexpectedBody(_))
    ));
}

#[test]
fn item_12_in_1_0_a_body_elsewhere_means_nothing() {
    for stream in
        ["SUBSCRIBE\ndestination:a\n\nbody\0", "SUBSCRIBE\ndestination:a\ncontent-length:4\n\nbody\0"]
    {
        assert_eq!(frame(V1_0, stream).body, "");
    }
    assert_eq!(opening("CONNECT\n\nbody\0").unwrap().body, "");
}

#[test]
fn item_14_headers_are_utf_8_and_bodies_are_any_bytes() {
    let frame = frame(V1_2, "SEND\n이름:고라니\n\n\0");
    assert_eq!(frame.headers.get("이름"), Some("고라니"));
    assert_eq!(error(V1_2, b"SEND\nkey:\xff\n\n\0"), StompDecodeError::InvalidUtf8);
    assert_eq!(frames(V1_2, b"SEND\n\n\xff\xfe\0")[0].body, &b"\xff\xfe"[..]);
}

#[test]
fn item_16_an_unknown_command_is_an_error_as_soon_as_it_is_seen() {
    for version in VERSIONS {
        for unknown in ["MESSAGE\n", "CONNECTED\n", "FOO\n", "SEND \n", "GET / HTTP/1.1 whatever follows"] {
            assert_eq!(error(version, unknown), StompDecodeError::UnknownCommand, "{unknown:?}");
        }
    }
}

#[test]
fn item_16_nack_is_unknown_in_1_0() {
    assert_eq!(error(V1_0, "NACK\nmessage-id:1\n\n\0"), StompDecodeError::UnknownCommand);
    assert_eq!(frame(V1_1, "NACK\nmessage-id:1\n\n\0").command, StompCommand::Nack);
}

#[test]
fn item_17_the_first_frame_must_open_the_session() {
    for stream in [
        "SEND\ndestination:a\n\n\0",
        "GET / HTTP/1.1\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\u{9}\u{a}",
    ] {
        assert_eq!(opening(stream), Err(StompDecodeError::NotConnect), "{stream:?}");
    }
    assert_eq!(opening("STOMP\naccept-version:1.2\n\n\0").unwrap().command, StompCommand::Stomp);
}

#[test]
fn a_frame_that_ends_within_its_headers_is_an_error_at_once() {
    assert_eq!(error(V1_2, "SEND\ndestination:a\0"), StompDecodeError::NulInHead);
    assert_eq!(error(V1_2, "\0"), StompDecodeError::NulInHead);
}

#[test]
fn an_error_is_for_ever() {
    let mut decoder = decoder(V1_2);
    let (_, error) = hear(&mut decoder, [&b"FOO\n\n\0SEND\n\n\0"[..]]);
    assert_eq!(error, Some(StompDecodeError::UnknownCommand));
    assert_eq!(decoder.next(&mut &b"SEND\n\n\0"[..]), Err(StompDecodeError::UnknownCommand));
}

#[test]
fn the_receipt_of_a_frame_that_fails_is_known() {
    let mut decoder: StompDecoder = decoder(V1_2);
    let (_, error) = hear(&mut decoder, [&b"SEND\nreceipt:r\ncontent-length:x\n\n\0"[..]]);
    assert_eq!((error, decoder.receipt()), (Some(StompDecodeError::BadContentLength), Some("r")));
}

#[test]
fn what_a_client_sent_is_not_shown() {
    let frame = opening("CONNECT\nlogin:me\npasscode:secret\n\n\0").unwrap();
    let shown = format!("{frame:?}");
    assert!(shown.contains("passcode") && !shown.contains("secret"));
}
