//! The client of the backend against bad backends on real sockets.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod over_tls;

use std::{sync::Arc, time::Duration};

use actix_http::header::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::{
    test_backend::{Reply, SeenRequest, TestBackend, answer, soon, until},
    *,
};
use crate::settings::BackendTlsSettings;

fn client_of(url: &str) -> BackendClient {
    let settings = BackendTlsSettings { insecure_skip_verify: true, ..BackendTlsSettings::default() };
    let target = BackendTarget {
        endpoint: url.parse().unwrap(),
        tls: Arc::new(BackendTls::open(&settings, false).unwrap()),
        timeout: Duration::from_secs(20),
        pool_limit: 8,
        max_response_bytes: 1024,
    };
    BackendClient::new(Arc::new(target)).unwrap()
}

async fn post(client: &BackendClient, deadline: Instant) -> Result<BackendAnswer, PostError> {
    client.post(HeaderMap::new(), Bytes::from_static(b"{}"), deadline).await
}

fn in_a_moment() -> Instant {
    Instant::now() + Duration::from_millis(500)
}

#[actix_rt::test]
async fn an_answer_has_its_status_body_and_retry_after_and_the_connection_is_used_again() {
    let backend = TestBackend::start(|request| {
        let status = if request.number == 0 { 200 } else { 503 };
        Reply::Bytes(answer(status, "retry-after: 7\r\n", b"body"))
    })
    .await;
    let client = client_of(&backend.url);
    let first = post(&client, soon()).await.unwrap();
    let second = post(&client, soon()).await.unwrap();
    assert_eq!((first.status.as_u16(), &first.body[..]), (200, &b"body"[..]));
    assert_eq!((second.status.as_u16(), second.retry_after), (503, Some(Duration::from_secs(7))));
    let request = backend.last();
    assert_eq!((request.connection, request.number, request.body.as_str()), (0, 1, "{}"));
    assert!(request.head.starts_with("POST /hook HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("accept-encoding"), ["identity"]);
    assert_eq!(request.header("user-agent"), [concat!("Gorani/", env!("CARGO_PKG_VERSION"))]);
    assert_eq!(request.header("content-length"), ["2"]);
}

#[actix_rt::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let backend = TestBackend::start(|_| Reply::Bytes(answer(307, "location: /other\r\n", b""))).await;
    let answer = post(&client_of(&backend.url), soon()).await.unwrap();
    assert_eq!((answer.status.as_u16(), backend.count()), (307, 1));
}

#[actix_rt::test]
async fn where_nobody_listens_the_request_was_not_processed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = post(&client_of(&url), soon()).await.unwrap_err();
    assert!(matches!(error, PostError::Connect(_)) && error.is_not_processed(), "{error}");
}

#[actix_rt::test]
async fn the_deadline_is_over_head_and_body_and_says_whether_the_request_was_sent() {
    let whole = answer(200, "", b"{\"result\":{}}");
    for length in [0, 5, 20, whole.len() - 1] {
        let part = whole[..length].to_vec();
        let backend = TestBackend::start(move |_| Reply::Hang(part.clone())).await;
        let error = post(&client_of(&backend.url), in_a_moment()).await.unwrap_err();
        assert_eq!(error, PostError::Timeout, "after {length} bytes");
        until(|| backend.open.get() == 0).await;
    }
    // A handshake of TLS that gets no answer: nothing was sent.
    let backend = TestBackend::start(|_| Reply::Reset).await;
    let url = backend.url.replace("http:", "https:");
    let error = post(&client_of(&url), in_a_moment()).await.unwrap_err();
    assert!(error == PostError::ConnectTimeout && error.is_not_processed(), "{error}");
}

#[actix_rt::test]
async fn an_answer_over_the_limit_is_refused_by_its_length_or_as_it_comes() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned()
        + &format!("400\r\n{}\r\n", "a".repeat(1024)).repeat(2);
    for bytes in [answer(200, "", &[b'a'; 1025]), chunked.into_bytes()] {
        let backend = TestBackend::start(move |_| Reply::Bytes(bytes.clone())).await;
        let error = post(&client_of(&backend.url), soon()).await.unwrap_err();
        assert_eq!(error, PostError::TooLarge(1024));
        until(|| backend.open.get() == 0).await;
    }
    let backend = TestBackend::start(|_| Reply::Bytes(answer(500, "", &[b'a'; 1025]))).await;
    let answer = post(&client_of(&backend.url), soon()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (500, 0));
}

/// The first request of a connection is answered whole, the second one with the first bytes of its answer; then the connection ends.
fn second_cut_at(length: usize, whole: &'static [u8]) -> impl Fn(&SeenRequest) -> Reply {
    move |request| match request.number {
        0 if request.connection == 0 => Reply::Bytes(whole.to_vec()),
        _ => Reply::Last(whole[..length].to_vec()),
    }
}

#[actix_rt::test]
async fn a_connection_that_ends_at_any_byte_of_the_answer_tells_how_far_the_request_came() {
    let whole: &[u8] = Box::leak(answer(200, "", b"{\"a\":1}").into_boxed_slice());
    let head = whole.len() - 7;
    for length in 0..=whole.len() {
        let backend = TestBackend::start(second_cut_at(length, whole)).await;
        let client = client_of(&backend.url);
        post(&client, soon()).await.unwrap();
        let second = post(&client, soon()).await;
        assert_eq!(backend.last().number, 1, "the connection was used again");
        match second {
            Err(PostError::Stale(_)) => assert_eq!(length, 0),
            Err(PostError::Lost(_)) => assert!((1..head).contains(&length), "{length}"),
            Err(PostError::Body(_)) => assert!((head..whole.len()).contains(&length), "{length}"),
            Ok(answer) => assert_eq!((length, &answer.body[..]), (whole.len(), &b"{\"a\":1}"[..])),
            Err(other) => panic!("{length}: {other}"),
        }
    }
}

#[actix_rt::test]
async fn a_fresh_connection_that_ends_without_an_answer_may_have_carried_the_request_out() {
    for reply in [Reply::Last(Vec::new()), Reply::Reset] {
        let backend = TestBackend::start(move |_| reply.clone()).await;
        let error = post(&client_of(&backend.url), soon()).await.unwrap_err();
        assert!(matches!(error, PostError::Lost(_)), "{error}");
    }
}

#[actix_rt::test]
async fn a_reset_of_a_used_connection_before_the_answer_is_an_idle_connection_that_was_closed() {
    let backend = TestBackend::start(|request| match request.number {
        0 => Reply::with(200, "{}"),
        _ => Reply::Reset,
    })
    .await;
    let client = client_of(&backend.url);
    post(&client, soon()).await.unwrap();
    let error = post(&client, soon()).await.unwrap_err();
    assert!(matches!(error, PostError::Stale(_)), "{error}");
}

#[actix_rt::test]
async fn what_is_no_http_is_refused() {
    let backend = TestBackend::start(|_| Reply::Last(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec())).await;
    let error = post(&client_of(&backend.url), soon()).await.unwrap_err();
    assert!(matches!(error, PostError::Head(_)), "{error}");
}

#[actix_rt::test]
async fn a_call_that_is_dropped_closes_its_connection() {
    let backend = TestBackend::start(|_| Reply::Hang(Vec::new())).await;
    let client = client_of(&backend.url);
    let waiting = actix_rt::spawn(async move { post(&client, soon()).await.map(drop) });
    until(|| backend.count() == 1).await;
    waiting.abort();
    until(|| backend.open.get() == 0).await;
}

#[actix_rt::test]
async fn idle_connections_are_closed_after_a_while() {
    let backend = TestBackend::start(|_| Reply::with(200, "{}")).await;
    let client = client_of(&backend.url);
    post(&client, soon()).await.unwrap();
    assert_eq!(backend.open.get(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    until(|| backend.open.get() == 0).await;
    tokio::time::resume();
    post(&client, soon()).await.unwrap();
    assert_eq!(backend.last().connection, 1);
}

#[actix_rt::test]
async fn a_file_of_certificates_that_is_none_is_named() {
    let missing = BackendTlsSettings { ca_pem_file: "/nowhere/ca.pem".into(), ..Default::default() };
    let text = BackendTls::open(&missing, false).unwrap_err().to_string();
    assert!(text.contains("ca_pem_file (/nowhere/ca.pem)"), "{text}");
    let empty = BackendTlsSettings { ca_pem: "nothing".to_owned(), ..Default::default() };
    let text = BackendTls::open(&empty, false).unwrap_err().to_string();
    assert!(text.contains("ca_pem"), "{text}");
}
