//! The outcome of each bad backend, and the bounds of calls.

use futures_util::FutureExt;

use super::*;
use crate::{
    backend::test_backend::{answer, until},
    proxy_call::{ProxyFailure::*, ProxyResult},
};

#[actix_rt::test]
async fn a_good_answer_is_counted_and_nothing_stays_of_the_call() {
    let asked = Asked::new("", |_| Reply::with(200, "{\"result\":{\"data\":{\"sum\":3}}}")).await;
    let expected = ProxyAnswer::Result(ProxyResult::Rpc(Some(json("{\"sum\":3}"))));
    assert_eq!(asked.ask(rpc()).await, Ok(expected));
    assert_eq!((asked.counted("ok"), asked.pool.get(ProxyId(0)).unwrap().limits.running()), (1, 0));
}

#[actix_rt::test]
async fn a_status_that_is_not_200_and_a_body_that_is_no_answer_are_bad_answers() {
    let deep = format!("{{\"result\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (status, body) in [
        (201, "{\"result\":{}}"),
        (204, ""),
        (302, ""),
        (404, "{\"result\":{}}"),
        (500, "{\"result\":{}}"),
        (200, ""),
        (200, "<html>"),
        (200, "{\"result\":"),
        (200, "{\"error\":{\"code\":0}}"),
        (200, &deep),
    ] {
        let bytes = if status == 204 {
            b"HTTP/1.1 204 No\r\n\r\n".to_vec()
        } else {
            answer(status, "", body.as_bytes())
        };
        let asked = Asked::new("", move |_| Reply::Bytes(bytes.clone())).await;
        assert_eq!(asked.ask(rpc()).await, Err(BadAnswer), "{status} {body:?}");
        assert_eq!((asked.counted("bad_answer"), asked.backend.count()), (1, 1), "never repeated");
    }
    let asked = Asked::new("", |_| Reply::Bytes(answer(200, "", b"{\"result\":{\"data\":\"\xff\"}}"))).await;
    assert_eq!(asked.ask(rpc()).await, Err(BadAnswer));
    let asked = Asked::new("response_max_bytes = 1024", |_| Reply::with(200, &" ".repeat(2000))).await;
    assert_eq!(asked.ask(rpc()).await, Err(BadAnswer));
}

#[actix_rt::test]
async fn a_status_of_the_settings_is_an_answer() {
    let lines = "[[rpc.proxy.http.status_to_code_transforms]]\nstatus_code = 404\nto_error = { code = 1404, message = 'none', temporary = true }\n\
                 [[rpc.proxy.http.status_to_code_transforms]]\nstatus_code = 404\nto_disconnect = { code = 4000 }\n\
                 [[rpc.proxy.http.status_to_code_transforms]]\nstatus_code = 403\nto_disconnect = { code = 4500, reason = 'blocked' }";
    let asked =
        Asked::new(lines, |request| Reply::with(if request.number == 0 { 404 } else { 403 }, "")).await;
    let Ok(ProxyAnswer::Error(error)) = asked.ask(rpc()).await else { panic!() };
    assert_eq!((error.code, error.message.as_str(), error.temporary), (1404, "none", true));
    let Ok(ProxyAnswer::Disconnect(end)) = asked.ask(rpc()).await else { panic!() };
    assert_eq!((end.code, &*end.reason), (4500, "blocked"));
}

#[actix_rt::test]
async fn a_backend_that_hangs_leaves_the_outcome_unknown_after_the_time_of_the_call() {
    for part in ["", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        let asked = Asked::new("timeout = '50ms'", move |_| Reply::Hang(part.into())).await;
        assert_eq!(asked.ask(rpc()).await, Err(Unknown), "{part:?}");
        assert_eq!((asked.counted("timeout"), asked.backend.count()), (1, 1));
        until(|| asked.backend.open.get() == 0).await;
    }
}

#[actix_rt::test]
async fn a_refresh_that_failed_is_counted_for_its_proxy_as_deferred_whatever_the_cause() {
    // A used connection that ends is tried once more on a new one, which ends too.
    let asked = Asked::new("", |request| match (request.connection, request.number) {
        (0, 0) => Reply::with(500, ""),
        (0, 1) | (1, 0) => Reply::Reset,
        _ => Reply::with(200, "{\"result\":{\"expire_at\":1}}"),
    })
    .await;
    let sub_refresh = || ProxyRequest::SubRefresh { channel: "chat".into() };
    assert_eq!(asked.ask(ProxyRequest::Refresh).await, Err(BadAnswer));
    assert_eq!(asked.ask(sub_refresh()).await, Err(Unknown));
    asked.ask(sub_refresh()).await.unwrap();
    assert_eq!((asked.counted("deferred"), asked.counted("ok")), (2, 1));
    assert_eq!((asked.counted("bad_answer"), asked.counted("lost")), (0, 0));
    let text = asked.metrics.text(&Default::default()).unwrap();
    let line =
        "gorani_proxy_requests_total{proxy=\"rpc.proxy\",event=\"sub_refresh\",outcome=\"deferred\"} 1";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[actix_rt::test]
async fn with_legacy_errors_a_lost_answer_is_as_if_nothing_was_sent() {
    let backend = TestBackend::start(|_| Reply::Reset).await;
    let (pool, _metrics) = pool_of(&backend.url, "", "[client.proxy]\nlegacy_errors = true");
    let clients = Rc::new(ProxyClients::default());
    clients.share(pool);
    assert_eq!(clients.call(call(rpc())).await, Err(NotProcessed(ErrorCode::INTERNAL)));
}

#[actix_rt::test]
async fn a_backend_that_nobody_reaches_has_surely_not_processed_the_call() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (pool, _metrics) = pool_of(&url, "", "");
    let clients = Rc::new(ProxyClients::default());
    clients.share(pool);
    assert_eq!(clients.call(call(publish())).await, Err(NotProcessed(ErrorCode::INTERNAL)));
}

/// Each connection answers its first request, and is closed at its second.
fn closes_when_used_again(request: &SeenRequest) -> Reply {
    if request.number == 0 { Reply::with(200, "{}") } else { Reply::Last(Vec::new()) }
}

#[actix_rt::test]
async fn an_idle_connection_that_was_closed_repeats_decisions_and_nothing_with_effects() {
    for (request, is_repeated) in [
        (subscribe(), true),
        (ProxyRequest::Refresh, true),
        (ProxyRequest::SubRefresh { channel: "chat".into() }, true),
        (publish(), false),
        (rpc(), false),
    ] {
        let asked = Asked::new("", closes_when_used_again).await;
        asked.ask(subscribe()).await.unwrap();
        let outcome = asked.ask(request.clone()).await;
        assert_eq!(outcome.is_ok(), is_repeated, "{request:?}: {outcome:?}");
        assert!(is_repeated || outcome == Err(Unknown));
        assert_eq!(asked.backend.count(), if is_repeated { 3 } else { 2 });
    }
    let asked = Asked::new("retry = false", closes_when_used_again).await;
    asked.ask(subscribe()).await.unwrap();
    assert_eq!(asked.ask(subscribe()).await, Err(Unknown));
}

#[actix_rt::test]
async fn calls_over_the_limit_wait_and_one_more_than_may_wait_is_too_many() {
    let asked = Asked::new("max_in_flight = 1\nmax_waiting = 1", |_| Reply::Hang(Vec::new())).await;
    let first = actix_rt::spawn(asked.clients.clone().call(call(rpc())));
    until(|| asked.backend.count() == 1).await;
    let mut second = Box::pin(asked.clients.clone().call(call(rpc())));
    assert!((&mut second).now_or_never().is_none());
    assert_eq!(asked.ask(rpc()).now_or_never(), Some(Err(NotProcessed(ErrorCode::TOO_MANY_REQUESTS))));
    assert_eq!(asked.counted("busy"), 1);
    // The client of the first one goes away: its connection is closed, and the second one has its place.
    first.abort();
    drop(first.await);
    assert_eq!(asked.counted("cancelled"), 1);
    let second = actix_rt::spawn(second);
    until(|| asked.backend.count() == 2).await;
    second.abort();
    drop(second.await);
    until(|| asked.backend.open.get() == 0).await;
    let proxy = asked.pool.get(ProxyId(0)).unwrap();
    assert_eq!((proxy.limits.running(), proxy.limits.waiting()), (0, 0));
}

#[actix_rt::test]
async fn a_backend_that_fails_is_left_alone_and_tried_again() {
    let asked = Asked::new("", |request| match request.number {
        0..10 => Reply::with(500, ""),
        10 => Reply::Bytes(answer(503, "retry-after: 20\r\n", b"")),
        _ => Reply::with(200, "{}"),
    })
    .await;
    for _ in 0..10 {
        assert_eq!(asked.ask(rpc()).await, Err(BadAnswer));
    }
    assert_eq!(asked.pool.open_breakers(), ["rpc.proxy"]);
    // Its first time is over after at most a second.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(asked.ask(rpc()).await, Err(BadAnswer), "one call tries");
    // The backend asked for 20 seconds, so that nobody asks it.
    assert_eq!(asked.ask(rpc()).now_or_never(), Some(Err(NotProcessed(ErrorCode::INTERNAL))));
    assert_eq!((asked.counted("breaker_open"), asked.backend.count()), (1, 11));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(20)).await;
    tokio::time::resume();
    assert!(asked.ask(rpc()).await.is_ok());
    assert!(asked.pool.open_breakers().is_empty());
}

#[actix_rt::test]
async fn answers_of_the_application_and_refusals_do_not_open_the_breaker() {
    let asked = Asked::new("", |request| match request.number % 3 {
        0 => Reply::with(200, "{\"error\":{\"code\":1000}}"),
        1 => Reply::with(200, "{\"disconnect\":{\"code\":4500}}"),
        _ => Reply::with(403, ""),
    })
    .await;
    for _ in 0..60 {
        drop(asked.ask(rpc()).await);
    }
    assert_eq!((asked.backend.count(), asked.pool.open_breakers().len()), (60, 0));
}

#[actix_rt::test]
async fn secrets_of_a_file_are_read_again_while_the_node_runs() {
    let file = std::env::temp_dir().join(format!("gorani-secrets-{}", std::process::id()));
    std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\n").unwrap();
    let asked = Asked::new(&format!("secrets_file = '{}'", file.display()), good).await;
    asked.ask(rpc()).await.unwrap();
    assert_eq!(asked.backend.last().header("webhook-signature")[0].split(' ').count(), 1);
    let two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    std::fs::write(&file, two).unwrap();
    asked.pool.replace_files(asked.pool.read_files().unwrap());
    asked.ask(rpc()).await.unwrap();
    assert_eq!(asked.backend.last().header("webhook-signature")[0].split(' ').count(), 2);
    std::fs::write(&file, "secret").unwrap();
    let problem = asked.pool.read_files().err().unwrap().to_string();
    assert!(problem.contains("rpc.proxy: secret number 1 must begin with whsec_"), "{problem}");
    std::fs::remove_file(&file).unwrap();
}

#[actix_rt::test]
async fn a_worker_without_proxies_asks_nobody() {
    let clients = Rc::new(ProxyClients::default());
    assert_eq!(clients.call(call(rpc())).await, Err(NotProcessed(ErrorCode::NOT_AVAILABLE)));
}
