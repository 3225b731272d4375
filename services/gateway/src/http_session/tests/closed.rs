//! However a session over HTTP ends, it is closed once, and gets nothing after that.

use super::*;

/// The codes that the session got, when its actor has nothing more to do.
async fn told(bench: &Bench) -> Vec<u16> {
    for _ in 0..10 {
        actix_rt::time::sleep(Duration::from_millis(1)).await;
    }
    bench.closed.borrow().clone()
}

#[actix_rt::test]
async fn a_session_that_ends_by_itself_is_told_once() {
    for lifetime in [OVER_REQUESTS, Lifetime::Response] {
        let (bench, _reader) = Bench::open(lifetime, PLENTY).await;
        assert_eq!(bench.bring(&["end"]).await, Some(Ok(())));
        bench.ends().await;
        assert_eq!(told(&bench).await, [4001]);
    }
}

#[actix_rt::test]
async fn a_session_whose_response_is_broken_off_is_told_once() {
    for lifetime in [OVER_REQUESTS, Lifetime::Response] {
        let (bench, reader) = Bench::open(lifetime, PLENTY).await;
        drop(reader);
        bench.ends().await;
        assert_eq!(told(&bench).await, [Disconnect::ABNORMAL.code]);
    }
}

#[actix_rt::test]
async fn a_session_that_is_slow_is_told_once() {
    let (bench, _reader) = Bench::open(OVER_REQUESTS, 4096).await;
    let large = "x".repeat(4000);
    while bench.bring(&[&large]).await == Some(Ok(())) {}
    bench.ends().await;
    assert_eq!(told(&bench).await, [Disconnect::SLOW.code]);
}

#[actix_rt::test]
async fn a_session_to_which_nobody_comes_back_is_told_once() {
    let (bench, reader) = Bench::open_once(OVER_REQUESTS).await;
    bench.bring(&["last"]).await;
    drop(reader);
    bench.ends().await;
    assert_eq!(told(&bench).await.len(), 1);
}
