//! The callbacks of a handler: arguments, order, and the consequences of its failures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::session_command::ServerSubscribe;

#[test]
fn a_life_without_trouble_is_opened_messages_closed_dropped() {
    let mut tested = TestHandlerSession::new();
    assert_eq!(tested.open(), Turn::sent(&["welcome"]));
    assert_eq!(tested.text("echo one"), Turn::sent(&["one"]));
    assert_eq!(tested.receive(Incoming::Binary(&[1, 2])), Turn::sent(&["[1, 2]"]));
    tested.close(&Disconnect::new(1000, "bye"));
    tested.close(&Disconnect::ABNORMAL);
    drop(tested.session.take());
    assert_eq!(tested.calls(), ["opened", "text echo one", "binary 2", "closed 1000 bye false", "dropped"]);
}

#[test]
fn a_session_that_was_never_opened_is_never_closed() {
    let mut tested = TestHandlerSession::new();
    tested.close(&Disconnect::ABNORMAL);
    drop(tested.session.take());
    assert_eq!(tested.calls(), ["dropped"]);
}

#[test]
fn a_session_that_is_only_dropped_is_closed_nevertheless() {
    let mut tested = TestHandlerSession::opened();
    drop(tested.session.take());
    assert_eq!(tested.calls(), ["closed 1006 connection lost false", "dropped"]);
}

#[test]
fn parts_are_handed_on_with_their_kind() {
    let mut tested = TestHandlerSession::opened();
    tested.receive(Incoming::Part { text: true, data: b"ab", last: false });
    tested.receive(Incoming::Part { text: false, data: b"c", last: true });
    assert_eq!(tested.calls(), ["partial Text 2 false", "partial Binary 1 true"]);
}

#[test]
fn a_callback_that_fails_ends_the_session_behind_what_it_sent() {
    let mut tested = TestHandlerSession::failing("opened", "");
    assert_eq!(tested.open(), Turn::sent(&["welcome"]).then_closed(Disconnect::HANDLER_FAILED));
    assert_eq!(tested.text("after the end"), Turn::default());
    tested.close(&Disconnect::HANDLER_FAILED);
    assert_eq!(tested.calls(), ["opened", "closed 1011 internal error false", "dropped"]);
}

#[test]
fn after_a_panic_only_closed_is_called() {
    let mut tested = TestHandlerSession::failing("", "text");
    tested.open();
    assert_eq!(tested.text("echo it"), Turn::sent(&["it"]).then_closed(Disconnect::HANDLER_FAILED));
    assert!(!tested.handle.is_open());
    assert_eq!(tested.text("more"), Turn::default());
    assert_eq!(tested.signal(Signal::Timer), Turn::default());
    tested.session.as_mut().unwrap().failed(&std::io::Error::other("reset"));
    tested.close(&Disconnect::HANDLER_FAILED);
    assert_eq!(tested.calls(), ["opened", "text echo it", "closed 1011 internal error false", "dropped"]);
}

#[test]
fn panics_in_closed_and_in_drop_end_there() {
    let mut tested = TestHandlerSession::failing("", "closed");
    tested.open();
    tested.close(&Disconnect::NORMAL);
    assert_eq!(tested.calls(), ["opened", "closed 1000  false", "dropped"]);
    let mut tested = TestHandlerSession::failing("", "dropped");
    tested.open();
    tested.close(&Disconnect::NORMAL);
    drop(tested.session.take());
    assert_eq!(tested.calls(), ["opened", "closed 1000  false", "dropped"]);
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
    let mut tested = TestHandlerSession::failing("text", "");
    tested.open();
    assert_eq!(tested.text("close"), Turn::default().then_closed(Disconnect::new(4000, "asked to")));
    assert_eq!(tested.look_outside(), Turn::default());
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
    let mut tested = TestHandlerSession::opened();
    tested.session.as_mut().unwrap().failed(&std::io::Error::other("reset"));
    tested.session.as_mut().unwrap().failed(&std::io::Error::other("again"));
    tested.close(&Disconnect::ABNORMAL);
    assert_eq!(tested.calls(), ["error reset false", "closed 1006 connection lost false", "dropped"]);
}

#[test]
fn a_client_that_does_not_answer_pings_is_ended_with_the_code_to_reconnect() {
    let mut tested = TestHandlerSession::opened();
    let first = tested.session.as_ref().unwrap().deadline().unwrap();
    assert!(first > tested.now + PING_INTERVAL / 2 - PONG_TIMEOUT && first <= tested.now + PING_INTERVAL);
    tested.now = first;
    assert_eq!(tested.signal(Signal::Timer).pings, 1);
    tested.now += PONG_TIMEOUT - Duration::from_millis(1);
    assert_eq!(tested.signal(Signal::Timer), Turn::default());
    tested.now += Duration::from_millis(1);
    assert_eq!(tested.session.as_ref().unwrap().deadline(), Some(tested.now));
    assert_eq!(tested.signal(Signal::Timer), Turn::default().then_closed(Disconnect::NO_PONG));
    assert_eq!(tested.session.as_ref().unwrap().deadline(), None);
}

#[test]
fn a_pong_or_a_message_is_a_sign_of_life() {
    let mut tested = TestHandlerSession::opened();
    tested.now = tested.session.as_ref().unwrap().deadline().unwrap();
    for number in 0..3 {
        assert_eq!(tested.signal(Signal::Timer), Turn { pings: 1, ..Turn::default() });
        if number == 0 {
            tested.text("still uploading");
        } else {
            let now = Now { instant: tested.now, unix_ms: 0 };
            tested.session.as_mut().unwrap().pong(now);
        }
        tested.now += PING_INTERVAL;
        assert_eq!(tested.session.as_ref().unwrap().deadline(), Some(tested.now));
    }
}

#[test]
fn the_node_may_end_a_session() {
    let mut tested = TestHandlerSession::opened();
    tested.handle.send_text("last words").unwrap();
    assert_eq!(
        tested.signal(Signal::Disconnect(Disconnect::SHUTDOWN)),
        Turn::sent(&["last words"]).then_closed(Disconnect::SHUTDOWN)
    );
    assert_eq!(tested.signal(Signal::Disconnect(Disconnect::FORCE_DISCONNECT)), Turn::default());
    let mut tested = TestHandlerSession::opened();
    let expired = Signal::refresh(true, None);
    assert_eq!(tested.signal(expired), Turn::default().then_closed(Disconnect::EXPIRED));
}

#[test]
fn news_about_channels_mean_nothing_to_a_handler() {
    let mut tested = TestHandlerSession::opened();
    for signal in [
        Signal::subscribe(ServerSubscribe::default()),
        Signal::Insufficient("a".into()),
        Signal::refresh(false, Some(1)),
    ] {
        assert_eq!(tested.signal(signal), Turn::default());
    }
    assert!(tested.handle.is_open());
}
