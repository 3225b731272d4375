//! Answers taken apart, wherever the reads of the socket cut them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::*;

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nX-A: 2\r\n\r\n\
    2\r\no\n\r\n5\r\na[\"\n\n\r\n0\r\n\r\n";

/// Everything of an answer that arrives in parts of `step` bytes.
fn read(bytes: &[u8], step: usize) -> Result<(ForwardedHead, Vec<Bytes>, bool), WireError> {
    let (mut input, mut pieces) = (BytesMut::new(), Vec::new());
    let mut parts = bytes.chunks(step);
    let head = loop {
        match head(&mut input, false)? {
            Some(head) => break head,
            None => match parts.next() {
                Some(part) => input.extend_from_slice(part),
                None => return Err(WireError("too short")),
            },
        }
    };
    let mut body = BodyDecoder::new(head.length);
    loop {
        match body.next(&mut input)? {
            BodyPart::Bytes(piece) => pieces.push(piece),
            BodyPart::End => return Ok((head, pieces, true)),
            BodyPart::Wanting => match parts.next() {
                Some(part) => input.extend_from_slice(part),
                None => return Ok((head, pieces, body.may_be_closed())),
            },
        }
    }
}

#[test]
fn a_chunk_comes_out_as_it_went_in_however_it_was_cut() {
    for step in 1..CHUNKED.len() {
        let (head, pieces, is_whole) = read(CHUNKED, step).unwrap();
        assert_eq!((head.status.as_u16(), head.length, head.reusable), (200, BodyLength::Chunks, true));
        assert_eq!(head.headers.get_all("x-a").count(), 2);
        assert_eq!(pieces, [&b"o\n"[..], b"a[\"\n\n"], "cut each {step}");
        assert!(is_whole);
    }
}

#[test]
fn a_chunked_body_that_breaks_off_is_not_taken_for_whole() {
    for end in CHUNKED.len() - 20..CHUNKED.len() {
        let (_, _, is_whole) = read(&CHUNKED[..end], 7).unwrap();
        assert!(!is_whole, "{end}");
    }
}

#[test]
fn other_lengths_are_kept() {
    let known = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone";
    let (head, pieces, is_whole) = read(known, 1000).unwrap();
    assert_eq!((head.length, head.reusable, is_whole), (BodyLength::Known(4), false, true));
    assert_eq!(pieces, ["gone"]);
    assert!(!read(&known[..known.len() - 1], 3).unwrap().2);
    let (head, pieces, is_whole) = read(b"HTTP/1.1 204 No Content\r\n\r\n", 5).unwrap();
    assert_eq!((head.length, head.reusable, is_whole, pieces.len()), (BodyLength::None, true, true, 0));
    let (head, pieces, is_whole) = read(b"HTTP/1.1 200 OK\r\n\r\nto the end", 1000).unwrap();
    assert_eq!((head.length, head.reusable, is_whole), (BodyLength::UntilClose, false, true));
    assert_eq!(pieces, ["to the end"]);
}

#[test]
fn a_chunk_over_the_limit_comes_in_pieces() {
    let size = CHUNK_MAX_BYTES + 10;
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n").into_bytes();
    answer.extend(std::iter::repeat_n(b'x', size));
    answer.extend_from_slice(b"\r\n0\r\n\r\n");
    let (_, pieces, is_whole) = read(&answer, 64 * 1024).unwrap();
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK_MAX_BYTES, 10]);
    assert!(is_whole);
}

#[test]
fn what_is_no_answer_is_refused() {
    let endless = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'x'; 40_000]].concat();
    for answer in [
        &b"hello\r\n\r\n"[..],
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n+1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\n",
        &endless,
    ] {
        assert!(read(answer, 1000).is_err(), "{:?}", String::from_utf8_lossy(answer));
    }
}

#[test]
fn a_request_is_written_as_it_is_read() {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("host"), HeaderValue::from_static("push.example.com"));
    headers.append(HeaderName::from_static("cookie"), HeaderValue::from_static("a=b"));
    let written = request(&Method::POST, "/x?y=%20", headers.iter(), ("signature", "1 2"), b"body");
    let text = String::from_utf8(written.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /x?y=%20 HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(lines, ["content-length: 4", "cookie: a=b", "host: push.example.com", "signature: 1 2"]);
    assert_eq!(body, "body");
    let empty = request(&Method::GET, "/", HeaderMap::new().iter(), ("signature", "1"), b"");
    assert_eq!(empty, "GET / HTTP/1.1\r\nsignature: 1\r\n\r\n");
}
