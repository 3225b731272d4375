//! Messages sent through handles: order, bounds, waking, and the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Wake, Waker},
    thread,
};

use super::*;
use crate::session::handler::{Refusal, SendError};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn what_is_sent_outside_leaves_in_order_with_what_callbacks_send() {
    let mut tested = TestHandlerSession::opened();
    tested.handle.send_text("a").unwrap();
    tested.handle.send_text("b").unwrap();
    assert_eq!(tested.text("echo c"), Turn::sent(&["a", "b", "c"]));
    tested.handle.send_binary(vec![4]).unwrap();
    assert_eq!(tested.look_outside(), Turn::sent(&["[4]"]));
    assert_eq!(tested.look_outside(), Turn::default());
}

#[test]
fn each_of_several_threads_keeps_its_order() {
    let mut tested = TestHandlerSession::opened();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let handle = tested.handle.clone();
            thread::spawn(move || (0..5).for_each(|n| handle.send_text(format!("{thread} {n}")).unwrap()))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let sent = tested.look_outside().sent;
    assert_eq!(sent.len(), 20);
    for thread in 0..4 {
        let own: Vec<_> = sent.iter().filter(|text| text.starts_with(&thread.to_string())).collect();
        assert_eq!(
            own,
            (0..5).map(|n| format!("{thread} {n}")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn the_actor_is_woken_once_for_many_messages_and_not_at_all_by_its_own() {
    let mut tested = TestHandlerSession::opened();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut task = Context::from_waker(&waker);
    tested.turn(|session, _, actions| session.poll_outside(&mut task, actions));
    tested.text("echo own");
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    tested.handle.send_text("a").unwrap();
    tested.handle.send_text("b").unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    tested.turn(|session, _, actions| session.poll_outside(&mut task, actions));
    tested.handle.close(1000, "").unwrap();
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
}

#[test]
fn over_the_limit_the_session_is_slow_and_holds_nothing_more() {
    let mut tested = TestHandlerSession::opened();
    let kilobyte = "x".repeat(OUTBOX_BYTES / 2);
    tested.handle.send_text(kilobyte.as_str()).unwrap();
    assert_eq!(tested.handle.send_text(kilobyte.as_str()), Err(SendError::Slow));
    assert_eq!(tested.handle.send_text("small"), Err(SendError::Slow));
    assert!(!tested.handle.is_open());
    assert_eq!(tested.look_outside(), Turn::default().then_closed(Disconnect::SLOW));
    assert_eq!(tested.handle.send_text("small"), Err(SendError::Closed));
}

#[test]
fn empty_messages_are_not_free() {
    let tested = TestHandlerSession::opened();
    let taken = (0..OUTBOX_BYTES).take_while(|_| tested.handle.send_text("").is_ok()).count();
    assert!((10..100).contains(&taken), "{taken}");
}

#[test]
fn a_message_that_can_never_fit_is_refused_and_the_session_goes_on() {
    let mut tested = TestHandlerSession::opened();
    let refused = tested.handle.send_binary(vec![0; OUTBOX_BYTES]);
    assert_eq!(refused, Err(SendError::TooBig { bytes: OUTBOX_BYTES, limit_bytes: OUTBOX_BYTES }));
    assert_eq!(tested.text("echo on"), Turn::sent(&["on"]));
}

#[test]
fn closing_lets_what_was_sent_before_go_and_takes_nothing_after() {
    let mut tested = TestHandlerSession::opened();
    tested.handle.send_text("a").unwrap();
    tested.handle.close(4001, "enough").unwrap();
    tested.handle.close(4002, "too late").unwrap();
    assert_eq!(tested.handle.send_text("b"), Err(SendError::Closed));
    assert_eq!(tested.look_outside(), Turn::sent(&["a"]).then_closed(Disconnect::new(4001, "enough")));
}

#[test]
fn codes_that_must_not_be_on_the_wire_are_refused() {
    let tested = TestHandlerSession::opened();
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(tested.handle.close(code, ""), Err(SendError::CloseCode(code)));
    }
    assert!(tested.handle.is_open());
}

#[test]
fn a_handle_outlives_its_session() {
    let mut tested = TestHandlerSession::opened();
    tested.handle.attributes().set("colour", "red".to_owned());
    tested.session.as_mut().unwrap().ending();
    assert_eq!(tested.handle.send_text("late"), Err(SendError::Closed));
    drop(tested.session.take());
    let handle = &tested.handle;
    assert_eq!(
        (handle.id(), handle.principal(), handle.subprotocol()),
        ("s1", Some("42"), Some("my-team-custom"))
    );
    assert_eq!((handle.uri().as_str(), handle.path(), handle.query()), ("/chat?room=1", "/chat", "room=1"));
    assert_eq!(handle.attributes().get::<String>("colour").as_deref().map(String::as_str), Some("red"));
    assert_eq!(handle.attributes().get::<u32>("colour"), None);
    assert!(handle.attributes().remove("colour") && !handle.attributes().remove("colour"));
}

#[test]
fn a_refusal_with_a_status_that_refuses_nothing_becomes_500() {
    assert_eq!(Refusal::new(403, "").status(), 403);
    assert_eq!(Refusal::new(599, "").status(), 599);
    assert_eq!(Refusal::new(200, "").status(), 500);
    assert_eq!(Refusal::new(101, "").status(), 500);
}
