//! Requests reach actix-http as they were sent, in whatever pieces; heads are timed, and nothing else is.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::{future::poll_fn, pin::Pin, rc::Rc, time::Duration};

use actix_codec::Decoder as _;
use actix_http::h1::{Codec, Message};
use bytes::BytesMut;
use proptest::prelude::*;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex},
    time::timeout,
};

use super::{HttpIo, Times};

const HEAD_TIME: Duration = Duration::from_secs(10);
const IDLE_TIME: Duration = Duration::from_secs(75);
const LINGER: Duration = Duration::from_secs(5);
/// Longer than nothing, shorter than any limit.
const A_MOMENT: Duration = Duration::from_secs(1);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn connection() -> (DuplexStream, HttpIo<DuplexStream>) {
    let (client, stream) = duplex(64 * 1024);
    let times = Times { head: HEAD_TIME, idle: IDLE_TIME, linger: LINGER };
    (client, HttpIo::new(stream, Rc::new(times)))
}

/// Reads once, into a buffer of this size; `None` if there is nothing for [`A_MOMENT`].
async fn read(io: &mut HttpIo<DuplexStream>, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    let read = poll_fn(|task| {
        let mut buffer = ReadBuf::new(&mut bytes);
        Pin::new(&mut *io).poll_read(task, &mut buffer).map_ok(|()| buffer.filled().to_vec())
    });
    timeout(A_MOMENT, read).await.ok().map(Result::unwrap)
}

#[actix_rt::test]
async fn a_line_that_may_be_a_list_waits_for_its_end_and_no_longer_than_the_connection() {
    let (mut client, mut io) = connection();
    client.write_all(b"GET / HTTP/1.1\r\nUpgra").await.unwrap();
    assert_eq!(read(&mut io, 4096).await.unwrap(), b"GET / HTTP/1.1\r\n");
    client.write_all(b"de: h2c, web").await.unwrap();
    assert_eq!(read(&mut io, 4096).await, None);
    client.write_all(b"socket\r\nX").await.unwrap();
    assert_eq!(read(&mut io, 4096).await.unwrap(), b"Upgrade:websocket      \r\nX");
    let (mut client, mut io) = connection();
    client.write_all(b"GET / HTTP/1.1\r\nUpgra").await.unwrap();
    drop(client);
    assert_eq!(read(&mut io, 4096).await.unwrap(), b"GET / HTTP/1.1\r\n");
    assert_eq!(read(&mut io, 4096).await.unwrap(), b"Upgra");
    assert_eq!(read(&mut io, 4096).await.unwrap(), b"");
}

#[actix_rt::test]
async fn no_byte_is_lost_where_the_reader_has_little_room() {
    for size in 1..40 {
        let (mut client, mut io) = connection();
        let sent = format!("{GET}GET / HTTP/1.1\r\nUpgrade: h2c, websocket\r\n\r\n{GET}");
        client.write_all(sent.as_bytes()).await.unwrap();
        drop(client);
        let mut came = Vec::new();
        while let Some(bytes) = read(&mut io, size).await.filter(|bytes| !bytes.is_empty()) {
            came.extend(bytes);
        }
        assert_eq!(came.len(), sent.len(), "{size}");
        assert!(came.starts_with(GET.as_bytes()) && came.ends_with(GET.as_bytes()), "{size}");
    }
}

/// Seconds until a read ends the connection, without a byte from the client; `None` if it takes more than `most`.
async fn ends_after(io: &mut HttpIo<DuplexStream>, most: u64) -> Option<u64> {
    for seconds in 0..most {
        if read(io, 4096).await.is_some_and(|bytes| bytes.is_empty()) {
            return Some(seconds);
        }
    }
    None
}

#[actix_rt::test]
async fn a_head_is_timed_from_the_end_of_the_answer_before_it() {
    tokio::time::pause();
    let (mut client, mut io) = connection();
    client.write_all(format!("{GET}GET / HT").as_bytes()).await.unwrap();
    read(&mut io, 4096).await.unwrap();
    let answering = io.connection().answer();
    assert_eq!(ends_after(&mut io, 100).await, None);
    drop(answering);
    let after = ends_after(&mut io, 100).await.unwrap();
    assert!((9..=11).contains(&after), "{after} s");
    // The last answer, the end, and time to read it.
    let (shut, said) = tokio::join!(poll_fn(|task| Pin::new(&mut io).poll_shutdown(task)), async {
        let mut said = String::new();
        client.read_to_string(&mut said).await.unwrap();
        drop(client);
        said
    });
    shut.unwrap();
    assert!(said.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{said}");
}

#[actix_rt::test]
async fn a_trickle_does_not_put_the_end_of_a_head_off_and_answers_and_bodies_have_no_end_here() {
    tokio::time::pause();
    let (mut client, mut io) = connection();
    let mut seconds = 0;
    // Like actix-http, it reads until nothing is there.
    while ends_after(&mut io, 1).await.is_none() {
        client.write_all(b"G").await.unwrap();
        assert_eq!(read(&mut io, 4096).await.unwrap(), b"G");
        seconds += 1;
        assert!(seconds < 15);
    }
    let (mut client, mut io) = connection();
    client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab").await.unwrap();
    read(&mut io, 4096).await.unwrap();
    assert_eq!(ends_after(&mut io, 100).await, None);
    let (mut client, mut io) = connection();
    client.write_all(GET.as_bytes()).await.unwrap();
    read(&mut io, 4096).await.unwrap();
    drop(io.connection().answer());
    assert_eq!(ends_after(&mut io, 100).await, None, "actix-http times an idle connection");
    client.write_all(b"\r\n").await.unwrap();
    read(&mut io, 4096).await.unwrap();
    let after = ends_after(&mut io, 100).await.unwrap();
    assert!((74..=76).contains(&after), "{after} s");
}

#[actix_rt::test]
async fn a_client_that_does_not_read_the_answer_has_its_ends_time_only() {
    tokio::time::pause();
    let (client, stream) = duplex(16);
    let times = Times { head: HEAD_TIME, idle: IDLE_TIME, linger: LINGER };
    let mut io = HttpIo::new(stream, Rc::new(times));
    assert!(ends_after(&mut io, 100).await.is_some());
    let shut = timeout(LINGER + A_MOMENT, poll_fn(|task| Pin::new(&mut io).poll_shutdown(task)));
    shut.await.unwrap().unwrap();
    drop(client);
}

#[actix_rt::test]
async fn answers_before_an_upgrade_are_written_within_their_time() {
    tokio::time::pause();
    let times = Times { head: HEAD_TIME, idle: IDLE_TIME, linger: LINGER };
    let (mut client, stream) = duplex(16);
    let mut io = HttpIo::new(stream, Rc::new(times));
    let answers = [b'a'; 9000];
    let (written, read) = tokio::join!(io.write_answers(&answers), async {
        let mut read = vec![0; answers.len()];
        client.read_exact(&mut read).await.map(|_| read)
    });
    written.unwrap();
    assert_eq!(read.unwrap(), answers);
    // Two seconds more for 9,000 bytes.
    let late = timeout(Duration::from_secs(13), io.write_answers(&answers)).await.unwrap();
    assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

/// Decodes with actix-http: the bytes of each body, and true if it refused something or handed the connection over.
fn decoded(mut stream: BytesMut, pieces: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let (mut codec, mut buffer, mut bodies) = (Codec::default(), BytesMut::new(), Vec::new());
    for size in pieces.iter().cycle() {
        loop {
            match codec.decode(&mut buffer) {
                Ok(None) => break,
                Err(_) => return (bodies, true),
                Ok(Some(Message::Item(_))) => bodies.push(Vec::new()),
                Ok(Some(Message::Chunk(chunk))) => {
                    if let (Some(body), Some(chunk)) = (bodies.last_mut(), chunk) {
                        body.extend_from_slice(&chunk);
                    }
                }
            }
        }
        if stream.is_empty() {
            break;
        }
        buffer.extend_from_slice(&stream.split_to((*size).clamp(1, stream.len())));
    }
    (bodies, false)
}

fn parts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => Just(GET.as_bytes().to_vec()),
        3 => Just(b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        1 => Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        2 => Just(b"Upgrade: h2c, websocket\r\n".to_vec()),
        2 => Just(b"Content-Length: 29\r\n\r\n".to_vec()),
        2 => Just(b"Transfer-Encoding: chunked\r\n\r\n".to_vec()),
        2 => Just(b"5\r\nGET /\r\n".to_vec()),
        2 => Just(b"0\r\n\r\n".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..30),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn actix_http_decodes_the_same_requests_from_any_pieces_and_knows_as_many(
        parts in proptest::collection::vec(parts(), 0..12),
        pieces in proptest::collection::vec(1..50_usize, 1..6),
    ) {
        actix_rt::System::new().block_on(async {
            let sent = parts.concat();
            let mut streams = Vec::new();
            let mut known = Vec::new();
            for pieces in [&[sent.len().max(1)][..], &pieces] {
                let (mut client, mut io) = connection();
                let (mut came, mut rest) = (BytesMut::new(), &sent[..]);
                for size in pieces.iter().cycle() {
                    let (piece, left) = rest.split_at((*size).min(rest.len()));
                    rest = left;
                    client.write_all(piece).await.unwrap();
                    let mut bytes = [0; 4096];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    let _ = poll_fn(|task| {
                        std::task::Poll::Ready(Pin::new(&mut io).poll_read(task, &mut buffer).is_ready())
                    })
                    .await;
                    came.extend_from_slice(buffer.filled());
                    if rest.is_empty() {
                        break;
                    }
                }
                drop(client);
                let mut end = Vec::new();
                io.read_to_end(&mut end).await.unwrap();
                came.extend_from_slice(&end);
                assert_eq!(came.len(), sent.len());
                known.push(io.requests.complete_heads());
                streams.push(came);
            }
            assert_eq!(streams.first(), streams.last());
            assert_eq!(known.first(), known.last());
            for stream in streams {
                let (bodies, is_refused) = decoded(stream.clone(), &[stream.len()]);
                assert_eq!((&bodies, is_refused), (&decoded(stream, &pieces).0, is_refused));
                assert!(is_refused || known[0] == bodies.len() as u64, "{bodies:?}");
            }
        });
    }
}
