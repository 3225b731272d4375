//! A response on its own connection: order, chunks, bounds, and every way to end.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::http_session::pipe::{PipeWriter, pipe};
use crate::settings::HttpSettings;

const HEAD_TIME: Duration = Duration::from_secs(10);
/// Less than a pipe has room for.
const SOCKET_BYTES: usize = 4 * 1024;

/// A response whose client's socket takes so many bytes.
struct Bench {
    client: DuplexStream,
    session: Option<PipeWriter>,
    written: tokio::task::JoinHandle<io::Result<bool>>,
}

fn bench(is_chunked: bool, socket_bytes: usize) -> Bench {
    let (client, mut stream) = duplex(socket_bytes);
    let (writer, reader) = pipe();
    let times = Times::new(&HttpSettings { request_timeout: HEAD_TIME, ..HttpSettings::default() });
    let mut response = ResponseStream::new(reader, is_chunked, Rc::new(times));
    let written = actix_rt::spawn(async move { poll_fn(|task| response.poll(&mut stream, task)).await });
    Bench { client, session: Some(writer), written }
}

impl Bench {
    fn push(&self, bytes: &'static [u8]) {
        self.session.as_ref().unwrap().push(Bytes::from_static(bytes));
    }

    async fn reads(&mut self, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        self.client.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
    }
}

#[actix_rt::test]
async fn all_that_waits_is_one_chunk_and_the_end_is_the_last() {
    let mut bench = bench(true, SOCKET_BYTES);
    for piece in [b"data: 1\n\n".as_slice(), b"data: 2\n\n", b"data: 3\n\n"] {
        bench.push(piece);
    }
    bench.reads(b"1b\r\ndata: 1\n\ndata: 2\n\ndata: 3\n\n\r\n").await;
    bench.push(b":\n\n");
    bench.reads(b"3\r\n:\n\n\r\n").await;
    bench.push(b"last words");
    bench.session = None;
    bench.reads(b"a\r\nlast words\r\n0\r\n\r\n").await;
    assert!(bench.written.await.unwrap().unwrap());
}

#[actix_rt::test]
async fn a_client_of_http_1_0_gets_the_bytes_and_the_end() {
    let mut bench = bench(false, SOCKET_BYTES);
    bench.push(b"line\n");
    bench.reads(b"line\n").await;
    bench.push(b"last\n");
    bench.session = None;
    bench.reads(b"last\n").await;
    assert!(bench.written.await.unwrap().unwrap());
    assert_eq!(bench.client.read(&mut [0]).await.unwrap(), 0);
}

#[actix_rt::test]
async fn pieces_of_all_sizes_arrive_whole_and_in_order_through_a_narrow_socket() {
    let sizes = [1, 10, 1000, 5000, 1, 30_000, 2, 70_000, 300];
    for socket_bytes in [1, 7, 1000, 200_000] {
        let mut bench = bench(false, socket_bytes);
        let mut expected = Vec::new();
        for (size, byte) in sizes.into_iter().zip(b'a'..) {
            expected.resize(expected.len() + size, byte);
            bench.session.as_ref().unwrap().push(Bytes::from(vec![byte; size]));
        }
        bench.session = None;
        let mut read = Vec::new();
        bench.client.read_to_end(&mut read).await.unwrap();
        assert!(read == expected, "socket of {socket_bytes} bytes");
    }
}

#[actix_rt::test]
async fn a_client_that_does_not_read_fills_the_pipe_and_no_more_is_taken_from_the_session() {
    let mut bench = bench(true, SOCKET_BYTES);
    let session = bench.session.take().unwrap();
    let mut taken = 0;
    // Whatever is on its way to the socket, each round fills the pipe once more.
    for _ in 0..100 {
        session.fill(|| {
            taken += 1000;
            Some(Bytes::from_static(&[b'x'; 1000]))
        });
        tokio::task::yield_now().await;
    }
    assert!(taken <= 2 * 33_000, "{taken} bytes were taken");
    assert!(!session.has_room());
    let mut bytes = vec![0; 40_000];
    bench.client.read_exact(&mut bytes).await.unwrap();
    let has_room =
        poll_fn(|task| if session.poll_room(task) == Ok(true) { Poll::Ready(true) } else { Poll::Pending });
    assert!(has_room.await);
}

#[actix_rt::test]
async fn a_session_learns_at_once_that_its_client_has_gone_whatever_the_client_sent_before() {
    for sent in [0, 100_000] {
        let mut bench = bench(true, SOCKET_BYTES);
        bench.client.write_all(&vec![b'x'; sent]).await.unwrap();
        drop(bench.client);
        assert!(!bench.written.await.unwrap().unwrap_or(false));
        assert!(bench.session.unwrap().is_abandoned());
    }
}

#[actix_rt::test]
async fn a_client_that_does_not_take_the_last_bytes_is_given_up_after_its_time() {
    tokio::time::pause();
    let mut bench = bench(true, SOCKET_BYTES);
    bench.session.as_ref().unwrap().push(Bytes::from(vec![0; 20 * 1024]));
    bench.session = None;
    let began = tokio::time::Instant::now();
    assert!(!bench.written.await.unwrap().unwrap());
    // The request's time, and four more for the 16 KiB that the socket did not take.
    assert_eq!(began.elapsed().as_secs(), HEAD_TIME.as_secs() + 4);
    drop(bench.client);
}
