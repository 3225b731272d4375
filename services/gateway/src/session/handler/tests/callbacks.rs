//! What a handler is called with, in which order, and what its failures do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::session_command::ServerSubscribe;

#[test]
fn a_life_without_trouble_is_opened_messages_closed_dropped() {
    let mut bench = Bench::new();
    assert_eq!(bench.open(), Turn::sent(&["welcome"]));
    assert_eq!(bench.text("echo one"), Turn::sent(&["one"]));
    assert_eq!(bench.receive(Incoming::Binary(&[1, 2])), Turn::sent(&["[1, 2]"]));
    bench.close(&Disconnect::new(1000, "bye"));
    bench.close(&Disconnect::ABNORMAL);
    drop(bench.session.take());
    assert_eq!(bench.calls(), ["opened", "text echo one", "binary 2", "closed 1000 bye false", "dropped"]);
}

#[test]
fn a_session_that_was_never_opened_is_never_closed() {
    let mut bench = Bench::new();
    bench.close(&Disconnect::ABNORMAL);
    drop(bench.session.take());
    assert_eq!(bench.calls(), ["dropped"]);
}

#[test]
fn a_session_that_is_only_dropped_is_closed_nevertheless() {
    let mut bench = Bench::opened();
    drop(bench.session.take());
    assert_eq!(bench.calls(), ["closed 1006 connection lost false", "dropped"]);
}

#[test]
fn parts_are_handed_on_with_their_kind() {
    let mut bench = Bench::opened();
    bench.receive(Incoming::Part { text: true, data: b"ab", last: false });
    bench.receive(Incoming::Part { text: false, data: b"c", last: true });
    assert_eq!(bench.calls(), ["partial Text 2 false", "partial Binary 1 true"]);
}

#[test]
fn a_callback_that_fails_ends_the_session_behind_what_it_sent() {
    let mut bench = Bench::failing("opened", "");
    assert_eq!(bench.open(), Turn::sent(&["welcome"]).then_closed(Disconnect::HANDLER_FAILED));
    assert_eq!(bench.text("after the end"), Turn::default());
    bench.close(&Disconnect::HANDLER_FAILED);
    assert_eq!(bench.calls(), ["opened", "closed 1011 internal error false", "dropped"]);
}

#[test]
fn after_a_panic_only_closed_is_called() {
    let mut bench = Bench::failing("", "text");
    bench.open();
    assert_eq!(bench.text("echo it"), Turn::sent(&["it"]).then_closed(Disconnect::HANDLER_FAILED));
    assert!(!bench.handle.is_open());
    assert_eq!(bench.text("more"), Turn::default());
    assert_eq!(bench.signal(Signal::Timer), Turn::default());
    bench.session.as_mut().unwrap().failed(&std::io::Error::other("reset"));
    bench.close(&Disconnect::HANDLER_FAILED);
    assert_eq!(bench.calls(), ["opened", "text echo it", "closed 1011 internal error false", "dropped"]);
}

#[test]
fn panics_in_closed_and_in_drop_end_there() {
    let mut bench = Bench::failing("", "closed");
    bench.open();
    bench.close(&Disconnect::NORMAL);
    assert_eq!(bench.calls(), ["opened", "closed 1000  false", "dropped"]);
    let mut bench = Bench::failing("", "dropped");
    bench.open();
    bench.close(&Disconnect::NORMAL);
    drop(bench.session.take());
    assert_eq!(bench.calls(), ["opened", "closed 1000  false", "dropped"]);
}

#[test]
fn what_a_panic_carries_cannot_panic_again() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the payload of the panic");
        }
    }
    struct Thrower;
    impl WebSocketHandler for Thrower {
        fn opened(&mut self, _session: &SessionHandle) -> HandlerResult {
            std::panic::panic_any(Bomb);
        }
    }
    let limits = HandlerLimits {
        outbox_max_bytes: OUTBOX_BYTES,
        ping_interval: PING_INTERVAL,
        pong_timeout: PONG_TIMEOUT,
    };
    let mut session = HandlerSession::new(Thrower, "s1".into(), handshake(), Admission::default(), limits);
    let mut actions = Actions::default();
    session.opened(Now::read(), &mut actions);
    assert!(
        actions.take_list().iter().any(|action| matches!(action, Action::Close(end) if end.code == 1011))
    );
}

#[test]
fn a_close_in_a_callback_goes_before_its_failure() {
    let mut bench = Bench::failing("text", "");
    bench.open();
    assert_eq!(bench.text("close"), Turn::default().then_closed(Disconnect::new(4000, "asked to")));
    assert_eq!(bench.look_outside(), Turn::default());
}

#[test]
fn kinds_that_a_handler_does_not_take_are_answered_with_1003() {
    struct Deaf;
    impl WebSocketHandler for Deaf {}
    for message in [
        Incoming::Text("hi"),
        Incoming::Binary(b"hi"),
        Incoming::Part { text: true, data: b"h", last: false },
    ] {
        let limits = HandlerLimits {
            outbox_max_bytes: OUTBOX_BYTES,
            ping_interval: PING_INTERVAL,
            pong_timeout: PONG_TIMEOUT,
        };
        let mut session = HandlerSession::new(Deaf, "s1".into(), handshake(), Admission::default(), limits);
        let mut actions = Actions::default();
        session.opened(Now::read(), &mut actions);
        session.message(message, Now::read(), &mut actions);
        let list = actions.take_list();
        assert!(matches!(list.last(), Some(Action::Close(end)) if end.code == 1003), "{list:?}");
    }
}

#[test]
fn a_failing_transport_is_told_once_and_when_the_session_is_over() {
    let mut bench = Bench::opened();
    bench.session.as_mut().unwrap().failed(&std::io::Error::other("reset"));
    bench.session.as_mut().unwrap().failed(&std::io::Error::other("again"));
    bench.close(&Disconnect::ABNORMAL);
    assert_eq!(bench.calls(), ["error reset false", "closed 1006 connection lost false", "dropped"]);
}

#[test]
fn a_client_that_does_not_answer_pings_is_ended_with_the_code_to_reconnect() {
    let mut bench = Bench::opened();
    let first = bench.session.as_ref().unwrap().deadline().unwrap();
    assert!(first > bench.now + PING_INTERVAL / 2 - PONG_TIMEOUT && first <= bench.now + PING_INTERVAL);
    bench.now = first;
    assert_eq!(bench.signal(Signal::Timer).pings, 1);
    bench.now += PONG_TIMEOUT - Duration::from_millis(1);
    assert_eq!(bench.signal(Signal::Timer), Turn::default());
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.session.as_ref().unwrap().deadline(), Some(bench.now));
    assert_eq!(bench.signal(Signal::Timer), Turn::default().then_closed(Disconnect::NO_PONG));
    assert_eq!(bench.session.as_ref().unwrap().deadline(), None);
}

#[test]
fn a_pong_or_a_message_is_a_sign_of_life() {
    let mut bench = Bench::opened();
    bench.now = bench.session.as_ref().unwrap().deadline().unwrap();
    for number in 0..3 {
        assert_eq!(bench.signal(Signal::Timer), Turn { pings: 1, ..Turn::default() });
        if number == 0 {
            bench.text("still uploading");
        } else {
            let now = Now { instant: bench.now, unix_ms: 0 };
            bench.session.as_mut().unwrap().pong(now);
        }
        bench.now += PING_INTERVAL;
        assert_eq!(bench.session.as_ref().unwrap().deadline(), Some(bench.now));
    }
}

#[test]
fn the_node_may_end_a_session() {
    let mut bench = Bench::opened();
    bench.handle.send_text("last words").unwrap();
    assert_eq!(
        bench.signal(Signal::Disconnect(Disconnect::SHUTDOWN)),
        Turn::sent(&["last words"]).then_closed(Disconnect::SHUTDOWN)
    );
    assert_eq!(bench.signal(Signal::Disconnect(Disconnect::FORCE_DISCONNECT)), Turn::default());
    let mut bench = Bench::opened();
    let expired = Signal::refresh(true, None);
    assert_eq!(bench.signal(expired), Turn::default().then_closed(Disconnect::EXPIRED));
}

#[test]
fn news_about_channels_mean_nothing_to_a_handler() {
    let mut bench = Bench::opened();
    for signal in [
        Signal::subscribe(ServerSubscribe::default()),
        Signal::Insufficient("a".into()),
        Signal::refresh(false, Some(1)),
    ] {
        assert_eq!(bench.signal(signal), Turn::default());
    }
    assert!(bench.handle.is_open());
}
