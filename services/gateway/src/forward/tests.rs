//! Relaying, towards another node that the test plays by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{future::poll_fn, pin::Pin, time::Duration};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    http::header,
    test::TestRequest,
};
use gorani_broker::{Broker, MemoryBroker, MemorySettings};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::settings::Settings;

const TIME_LIMIT: Duration = Duration::from_secs(10);
const OWNER: &str = "0000000b";

/// One node, and a listener that stands for another one.
struct Pair {
    forwarder: Rc<Forwarder>,
    node: Arc<Node>,
    broker: Arc<MemoryBroker>,
    owner: TcpListener,
}

impl Pair {
    async fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        settings.cluster.secret = "the secret of the tests".to_owned();
        change(&mut settings);
        let broker = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let owner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = Node::start_with(settings, broker.clone()).await.unwrap();
        let forwarder = Rc::new(Forwarder::new(node.clone(), Arc::default(), &node.settings));
        let pair = Self { forwarder, node, broker, owner };
        let address = pair.owner.local_addr().unwrap();
        let description = format!("{{\"address\":\"{address}\"}}");
        pair.broker.cluster().announce(OWNER, description.into(), TIME_LIMIT).await.unwrap();
        // The secret of the settings is taken in by a task of the node.
        while pair.node.secrets.known().is_empty() {
            tokio::task::yield_now().await;
        }
        pair
    }

    /// Begins to relay a request.
    fn relay(
        &self,
        request: TestRequest,
        body: &'static str,
    ) -> tokio::task::JoinHandle<Result<HttpResponse, ForwardError>> {
        let (forwarder, request) = (self.forwarder.clone(), request.to_http_request());
        actix_rt::spawn(async move {
            forwarder.relay(OWNER, &request, &Bytes::from_static(body.as_bytes())).await
        })
    }

    async fn accept(&self) -> TcpStream {
        timeout(TIME_LIMIT, self.owner.accept()).await.unwrap().unwrap().0
    }
}

async fn read_request(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut buffer = [0; 4096];
        let read = timeout(TIME_LIMIT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "{text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

async fn chunk(body: &mut Pin<Box<BoxBody>>) -> Option<Result<Bytes, String>> {
    let next = poll_fn(|task| body.as_mut().poll_next(task));
    timeout(TIME_LIMIT, next).await.unwrap().map(|chunk| chunk.map_err(|error| error.to_string()))
}

fn poll() -> TestRequest {
    TestRequest::post().uri("/chat/000/s%20x/xhr?a=b").insert_header(("host", "push.example.com"))
}

#[actix_rt::test]
async fn a_request_goes_on_as_it_came_but_for_the_headers_of_the_connection() {
    let pair = Pair::new(|_| {}).await;
    let request = poll()
        .insert_header(("cookie", "a=b"))
        .insert_header(("connection", "keep-alive, x-hop"))
        .insert_header(("x-hop", "1"))
        .insert_header(("transfer-encoding", "chunked"))
        .insert_header(("x-gorani-forward-elsewhere", "1"))
        .peer_addr("192.0.2.1:4711".parse().unwrap());
    let answer = pair.relay(request, "[\"x\"]");
    let mut owner = pair.accept().await;
    let request = read_request(&mut owner, "[\"x\"]").await;
    let (head, _) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /chat/000/s%20x/xhr?a=b HTTP/1.1");
    lines.sort_unstable();
    let signature = lines.pop().unwrap().strip_prefix("x-gorani-forward: ").unwrap();
    assert_eq!(lines, ["content-length: 5", "cookie: a=b", "host: push.example.com"]);
    let signed = SignedFields { method: "POST", target: "/chat/000/s%20x/xhr?a=b", body: b"[\"x\"]" };
    let opened = ForwardSignature::open(signature, &pair.node.secrets.known(), &signed).unwrap();
    assert_eq!((&*opened.from, &*opened.to, opened.number), (&*pair.node.id, OWNER, 1));
    assert_eq!(opened.client, Some("192.0.2.1:4711".parse().unwrap()));
    owner
        .write_all(
            b"HTTP/1.1 204 No Content\r\ncontent-type: text/plain\r\nconnection: x-own\r\nx-own: 1\r\n\r\n",
        )
        .await
        .unwrap();
    let response = answer.await.unwrap().unwrap();
    assert_eq!((response.status().as_u16(), response.body().size()), (204, BodySize::None));
    let headers: Vec<_> = response.headers().keys().collect();
    assert_eq!(headers, [header::CONTENT_TYPE]);
}

#[actix_rt::test]
async fn each_chunk_of_the_owner_is_one_chunk_for_the_client_at_once() {
    let pair = Pair::new(|_| {}).await;
    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    owner
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\no\n\r\n6\r\na[\"")
        .await
        .unwrap();
    let response = answer.await.unwrap().unwrap();
    assert_eq!(response.body().size(), BodySize::Stream);
    let mut body = Box::pin(response.into_body());
    assert_eq!(chunk(&mut body).await, Some(Ok(Bytes::from_static(b"o\n"))));
    owner.write_all(b"1\"]\r\n0").await.unwrap();
    assert_eq!(chunk(&mut body).await, Some(Ok(Bytes::from_static(b"a[\"1\"]"))));
    owner.write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(chunk(&mut body).await, None);
    drop(body);

    let again = pair.relay(poll(), "");
    read_request(&mut owner, "\r\n\r\n").await;
    owner.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert_eq!(again.await.unwrap().unwrap().status().as_u16(), 404, "on the same connection");
}

#[actix_rt::test]
async fn an_answer_that_breaks_off_is_an_error_and_not_an_end() {
    for (rest, told) in
        [(&b"5\r\nab"[..], "broke off"), (b"nonsense\r\n", "not an answer"), (b"", "broke off")]
    {
        let pair = Pair::new(|_| {}).await;
        let answer = pair.relay(poll(), "");
        let mut owner = pair.accept().await;
        read_request(&mut owner, "\r\n\r\n").await;
        owner.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n").await.unwrap();
        owner.write_all(rest).await.unwrap();
        drop(owner);
        let mut body = Box::pin(answer.await.unwrap().unwrap().into_body());
        assert_eq!(chunk(&mut body).await, Some(Ok(Bytes::from_static(b"o"))));
        let error = chunk(&mut body).await.unwrap().unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

#[actix_rt::test]
async fn a_client_that_gives_up_closes_the_request_at_the_owner() {
    let pair = Pair::new(|_| {}).await;
    let waiting = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    waiting.abort();
    assert_eq!(timeout(TIME_LIMIT, owner.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "before the answer");

    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    owner.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n").await.unwrap();
    drop(answer.await.unwrap().unwrap());
    assert_eq!(timeout(TIME_LIMIT, owner.read(&mut [0; 8])).await.unwrap().unwrap(), 0, "in the midst of it");
    assert_eq!(pair.node.metrics.forward.open.get(), 0);
}

#[actix_rt::test]
async fn an_owner_is_read_no_faster_than_the_client_takes() {
    const CHUNKS: usize = 4096;
    let pair = Pair::new(|_| {}).await;
    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    let written = Rc::new(std::cell::Cell::new(0));
    let count = written.clone();
    let writer = actix_rt::spawn(async move {
        owner.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = [b"2000\r\n".as_slice(), &[b'x'; 0x2000], b"\r\n"].concat();
        for number in 0..CHUNKS {
            owner.write_all(&chunk).await.unwrap();
            count.set(number);
        }
        owner.write_all(b"0\r\n\r\n").await.unwrap();
    });
    let mut body = Box::pin(answer.await.unwrap().unwrap().into_body());
    assert_eq!(chunk(&mut body).await.unwrap().unwrap().len(), 0x2000);
    // The sockets between hold a few megabytes at most; the owner stands still when they are full.
    let mut before = usize::MAX;
    while before != written.get() {
        before = written.get();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(before < CHUNKS - 1, "all was taken although the client took nothing");
    let mut taken = 1;
    while let Some(next) = chunk(&mut body).await {
        assert_eq!(next.unwrap().len(), 0x2000);
        taken += 1;
    }
    assert_eq!(taken, CHUNKS);
    writer.await.unwrap();
}

#[actix_rt::test]
async fn what_the_gate_refuses_is_lost_and_a_wrong_proof_is_tried_again() {
    let pair = Pair::new(|_| {}).await;
    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    for number in 1..=2 {
        let request = read_request(&mut owner, "\r\n\r\n").await;
        assert!(request.contains(&format!(" {OWNER} {number} ")), "each has its own number: {request}");
        owner
            .write_all(
                b"HTTP/1.1 403 Forbidden\r\nx-gorani-forward-refused: proof\r\ncontent-length: 0\r\n\r\n",
            )
            .await
            .unwrap();
        if number == 1 {
            owner = pair.accept().await;
        }
    }
    assert_eq!(answer.await.unwrap().unwrap_err(), ForwardError::Unreachable);
    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    let elsewhere = b"HTTP/1.1 404 Not Found\r\nx-gorani-forward-elsewhere: 1\r\ncontent-length: 0\r\n\r\n";
    owner.write_all(elsewhere).await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap_err(), ForwardError::Elsewhere);
}

#[actix_rt::test]
async fn nobody_is_asked_who_is_not_there_and_no_more_than_the_setting_says() {
    let pair = Pair::new(|settings| settings.cluster.max_forwarded = 1).await;
    let request = poll().to_http_request();
    assert_eq!(
        pair.forwarder.relay("0000000c", &request, &Bytes::new()).await.unwrap_err(),
        ForwardError::Unreachable
    );
    assert_eq!(
        pair.forwarder.relay(&pair.node.id, &request, &Bytes::new()).await.unwrap_err(),
        ForwardError::Unreachable
    );
    let first = pair.relay(poll(), "");
    let owner = pair.accept().await;
    assert_eq!(pair.relay(poll(), "").await.unwrap().unwrap_err(), ForwardError::Busy);
    drop(owner);
    assert_eq!(first.await.unwrap().unwrap_err(), ForwardError::Unreachable);
    drop(pair.owner);
    assert_eq!(
        pair.forwarder.relay(OWNER, &request, &Bytes::new()).await.unwrap_err(),
        ForwardError::Unreachable
    );
    assert_eq!(pair.node.metrics.forward.open.get(), 0);
}

#[actix_rt::test]
async fn whoever_waits_for_a_node_is_told_when_its_lease_ends() {
    let pair = Pair::new(|settings| {
        settings.cluster.heartbeat = Duration::from_millis(100);
        settings.cluster.lease = Duration::from_millis(500);
    })
    .await;
    let answer = pair.relay(poll(), "");
    let mut owner = pair.accept().await;
    read_request(&mut owner, "\r\n\r\n").await;
    owner.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n").await.unwrap();
    let mut body = Box::pin(answer.await.unwrap().unwrap().into_body());
    assert_eq!(chunk(&mut body).await, Some(Ok(Bytes::from_static(b"o"))));
    pair.broker.cluster().retire(OWNER).await.unwrap();
    let error = chunk(&mut body).await.unwrap().unwrap_err();
    assert!(error.contains("gone"), "{error}");
}

#[actix_rt::test]
async fn what_was_forwarded_once_is_not_forwarded_again() {
    use actix_web::HttpMessage;
    let pair = Pair::new(|_| {}).await;
    let request = poll().to_http_request();
    request.extensions_mut().insert(Forwarded { from: "0000000c".to_owned() });
    assert_eq!(
        pair.forwarder.relay(OWNER, &request, &Bytes::new()).await.unwrap_err(),
        ForwardError::Elsewhere
    );
}
