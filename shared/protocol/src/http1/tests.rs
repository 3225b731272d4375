//! Heads are found where they are, however the stream is cut, and nothing but `Upgrade` lists and the method HEAD changes.

use proptest::prelude::*;

use super::{HEAD_METHOD, RequestPhase, RequestStream, UPGRADE_LINE_MAX_BYTES};

/// The output for `stream` in pieces of these sizes, in turn, and the follower at its end.
fn follow(stream: &[u8], sizes: &[usize]) -> (Vec<u8>, RequestStream) {
    let mut requests = RequestStream::default();
    let (mut passed, mut held, mut stream) = (Vec::new(), Vec::new(), stream);
    for size in sizes.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at((*size).clamp(1, stream.len()));
        stream = rest;
        held.extend_from_slice(piece);
        let count = requests.advance(&mut held, true);
        passed.extend(held.drain(..count));
        assert!(held.len() < UPGRADE_LINE_MAX_BYTES, "{} bytes held", held.len());
    }
    requests.advance(&mut held, false);
    passed.append(&mut held);
    (passed, requests)
}

fn passed(stream: &str) -> String {
    let whole = follow(stream.as_bytes(), &[stream.len()]).0;
    assert_eq!(follow(stream.as_bytes(), &[1]).0, whole, "byte by byte");
    String::from_utf8(whole).unwrap_or_default()
}

fn phase(stream: &str) -> (RequestPhase, u64) {
    let requests = follow(stream.as_bytes(), &[stream.len()]).1;
    (requests.phase(), requests.complete_heads())
}

#[test]
fn a_list_that_holds_websocket_becomes_the_word_alone_and_keeps_its_length() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nupgrade: h2c, WebSocket\r\nX: y\r\n\r\n";
    assert_eq!(passed(head), "GET / HTTP/1.1\r\nHost: a\r\nupgrade:websocket      \r\nX: y\r\n\r\n");
}

#[test]
fn a_list_is_made_plain_in_a_later_request_too() {
    let list = "GET / HTTP/1.1\r\nUPGRADE: websocket, h2c\r\n\r\n";
    let plain = "GET / HTTP/1.1\r\nUPGRADE:websocket      \r\n\r\n";
    for first in [
        "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nPOST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST /a HTTP/1.1\r\ncontent-length:\t 0 \r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n00\r\nTrailer: x\r\n\r\n",
        "POST /a HTTP/1.1\nContent-Length: 3\n\nabc\r\n",
    ] {
        assert_eq!(passed(&format!("{first}{list}")), format!("{first}{plain}"));
    }
}

#[test]
fn head_is_renamed_and_nothing_that_begins_like_it() {
    let head = "HEAD / HTTP/1.1\r\nHost: HEAD \r\n\r\n";
    let renamed = head.replacen("HEAD", HEAD_METHOD, 1);
    assert_eq!(passed(head), renamed);
    assert_eq!(passed(&format!("\r\n{head}\r\n\r\n{head}")), format!("\r\n{renamed}\r\n\r\n{renamed}"));
    let post = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nHEAD ";
    assert_eq!(passed(&format!("{post}{head}{post}")), format!("{post}{renamed}{post}"));
    for other in [
        "HEADS / HTTP/1.1\r\n\r\n",
        "HEA / HTTP/1.1\r\n\r\n",
        "head / HTTP/1.1\r\n\r\n",
        "HEAD\r\n",
        "HEAD",
        "H",
    ] {
        assert_eq!(passed(other), other);
    }
    // The bytes held back are the beginning of a head: its time runs.
    let mut requests = RequestStream::default();
    assert_eq!(requests.advance(&mut b"GET / HTTP/1.1\r\n\r\nHEA".to_vec(), true), 18);
    assert_eq!((requests.phase(), requests.complete_heads()), (RequestPhase::Head, 1));
    let mut rest = b"HEAD / HTTP/1.1\r\n\r\n".to_vec();
    assert_eq!(requests.advance(&mut rest, true), rest.len());
    assert_eq!((rest.as_slice(), requests.complete_heads()), (&b"Head / HTTP/1.1\r\n\r\n"[..], 2));
}

#[test]
fn nothing_else_is_touched() {
    let list = "GET / HTTP/1.1\r\nUpgrade: h2c, websocket\r\n\r\n";
    let length = list.len();
    let long = format!("GET / HTTP/1.1\r\nUpgrade: h2c,{} websocket\r\n\r\n", " ".repeat(300));
    for stream in [
        "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade: h2c, foo\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Upgrade: h2c, websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade-X: h2c, websocket\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\nUpgrade: h2c, websocket\r\n",
        "POST / HTTP/1.1\r\nUpgrade: h2c, websocket\r\n\r\n",
        "get / HTTP/1.1\r\nUpgrade: h2c, websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nUpgrade:,",
        "GET / HTTP/1.1\r\nUpgrade: h2c, websocket",
        "GET / HTTP/1.1\r\nUpg",
        "",
        &long,
        &format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{list}"),
        &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{list}\r\n0\r\n\r\n"),
        // Behind an upgrade, and behind what is answered with 400 and the end.
        &format!("GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n{list}"),
        &format!("CONNECT a:1 HTTP/1.1\r\n\r\n{list}"),
        &format!("GET\r\n\r\n{list}"),
        &format!("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na{list}"),
        &format!("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na{list}"),
        &format!("POST / HTTP/1.1\r\nContent-Length: 1 1\r\n\r\na{list}"),
        &format!("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{list}"),
        &format!("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n{list}"),
        &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{list}"),
        &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{list}"),
    ] {
        assert_eq!(passed(stream), stream);
    }
}

#[test]
fn the_place_in_the_stream_is_known() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (stream, expected) in [
        ("", (RequestPhase::Between, 0)),
        ("\r\n", (RequestPhase::EmptyLines, 0)),
        ("G", (RequestPhase::Head, 0)),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n", (RequestPhase::Head, 0)),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r", (RequestPhase::Head, 0)),
        (get, (RequestPhase::Between, 1)),
        (&get.repeat(3), (RequestPhase::Between, 3)),
        (&format!("{get}\r"), (RequestPhase::EmptyLines, 1)),
        (&format!("{get}P"), (RequestPhase::Head, 1)),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcd", (RequestPhase::Body, 1)),
        ("POST / HTTP/1.1\r\nContent-Length: 0005\r\n\r\nabcde", (RequestPhase::Between, 1)),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r", (RequestPhase::Body, 1)),
        ("GET / HTTP/1.1\r\nUpgrade: a, websocket\r\n\r\n", (RequestPhase::Opaque, 1)),
        ("GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n", (RequestPhase::Between, 1)),
        ("POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n", (RequestPhase::Opaque, 1)),
        ("CONNECT a:1 HTTP/1.1\r\n\r\n", (RequestPhase::Opaque, 1)),
        // Not refused before its end, so it must not escape the limit of time until then.
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", (RequestPhase::Head, 0)),
        ("POST / HTTP/1.1\r\nContent-Length: x\r\nContent-Length: 1\r\n", (RequestPhase::Head, 0)),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", (RequestPhase::Opaque, 1)),
        ("GET / HTTP/1.1\r\nno header\r\n", (RequestPhase::Head, 0)),
        ("GET\r\n", (RequestPhase::Head, 0)),
    ] {
        assert_eq!(phase(stream), expected, "{stream:?}");
    }
}

#[test]
fn a_head_of_any_size_is_followed_and_at_most_one_line_of_it_is_held() {
    let mut stream = b"GET / HTTP/1.1\r\n".to_vec();
    for _ in 0..1000 {
        stream.extend_from_slice(format!("Upgrade:{}\r\nUpgrade", " ".repeat(600)).as_bytes());
        stream.extend_from_slice(b"X: y\r\n");
    }
    stream.extend_from_slice(b"\r\n");
    for sizes in [[1, 1], [7, 255], [256, 300]] {
        let (passed, requests) = follow(&stream, &sizes);
        assert!(passed == stream);
        assert_eq!((requests.phase(), requests.complete_heads()), (RequestPhase::Between, 1));
    }
}

/// A request as it comes out.
fn renamed(request: &[u8]) -> Vec<u8> {
    let mut renamed = request.to_vec();
    let begins = request.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
    if let Some(method) = renamed.get_mut(begins..begins + 5)
        && method == b"HEAD "
    {
        method.copy_from_slice(format!("{HEAD_METHOD} ").as_bytes());
    }
    renamed
}

/// A request in which nothing changes but the method HEAD.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let list = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, websocket\r\n\r\n";
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..80),
        Just(list.as_bytes().to_vec()),
        Just(b"\r\n\r\n0\r\n\r\n".to_vec()),
    ];
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("UPGRADE")];
    let header = prop_oneof![
        4 => "[a-zA-Z-]{1,20}: [ -~]{0,30}".prop_filter("no framing", |line| {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["content-length", "transfer-encoding", "upgrade"].contains(&name.as_str())
        }),
        1 => Just("Upgrade: h2c".to_owned()),
        1 => Just("upgrade:,,".to_owned()),
    ];
    let headers = proptest::collection::vec(header, 0..4);
    let (line_end, chunk) = (prop_oneof![3 => Just("\r\n"), 1 => Just("\n")], 0..20_usize);
    (method, headers, body, line_end, chunk, "(\r\n|\n){0,2}").prop_map(
        |(method, headers, body, line_end, chunk, before)| {
            let mut head = format!("{before}{method} / HTTP/1.1{line_end}");
            for header in headers {
                head.extend([&header, line_end]);
            }
            let body = if chunk == 0 {
                head.push_str(&format!("Content-Length: {}{line_end}", body.len()));
                body
            } else {
                head.push_str(&format!("transfer-encoding:chunked{line_end}"));
                let mut chunks = Vec::new();
                for data in body.chunks(chunk) {
                    chunks.extend_from_slice(format!("{:X}\r\n", data.len()).as_bytes());
                    chunks.extend_from_slice(data);
                    chunks.extend_from_slice(b"\r\n");
                }
                chunks.extend_from_slice(b"0\r\n\r\n");
                chunks
            };
            head.push_str(line_end);
            [head.as_bytes(), &body].concat()
        },
    )
}

/// The end of a stream, and how it comes out: nothing, or a list that is made plain, and what follows an upgrade.
fn ends() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let list = |value: &str| format!("GET /ws HTTP/1.1\r\nUpgrade:{value}\r\nHost: a\r\n\r\n").into_bytes();
    let upgrade = (list(" h2c , WEBSOCKET"), list("websocket       "));
    let then =
        ([upgrade.0.clone(), upgrade.0.clone()].concat(), [upgrade.1.clone(), upgrade.0.clone()].concat());
    prop_oneof![Just((vec![], vec![])), Just(upgrade), Just(then)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn pipelined_requests_come_out_the_same_however_they_are_cut(
        requests in proptest::collection::vec(requests(), 0..6),
        end in ends(),
        sizes in proptest::collection::vec(1..60_usize, 1..8),
    ) {
        let count = requests.len() as u64;
        let upgrades = !end.0.is_empty();
        let stream = [requests.concat(), end.0].concat();
        let renamed: Vec<_> = requests.iter().map(|request| renamed(request)).collect();
        let expected = [renamed.concat(), end.1].concat();
        for sizes in [&[stream.len()], &[1], &sizes[..]] {
            let (passed, follower) = follow(&stream, sizes);
            prop_assert_eq!(&passed, &expected);
            prop_assert_eq!(follower.complete_heads(), count + u64::from(upgrades));
            let phase = if upgrades { RequestPhase::Opaque } else { RequestPhase::Between };
            prop_assert_eq!(follower.phase(), phase);
        }
    }

    #[test]
    fn any_bytes_come_out_with_the_same_length_however_they_are_cut(
        pieces in proptest::collection::vec(prop_oneof![
            Just(b"GET / HTTP/1.1\r\n".to_vec()),
            Just(b"Upgrade:".to_vec()),
            Just(b" h2c, websocket\r\n".to_vec()),
            Just(b"Content-Length: 4\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"4\r\n".to_vec()),
            Just(b"0\r\n".to_vec()),
            Just(vec![b' '; 100]),
            proptest::collection::vec(any::<u8>(), 0..5),
        ], 0..30),
        sizes in proptest::collection::vec(1..60_usize, 1..8),
    ) {
        let stream = pieces.concat();
        let (whole, one) = follow(&stream, &[stream.len()]);
        let (cut, other) = follow(&stream, &sizes);
        prop_assert_eq!(whole.len(), stream.len());
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!((one.phase(), one.complete_heads()), (other.phase(), other.complete_heads()));
    }
}
