//! Answers of a worker about the events that it remembers.

use super::*;
use crate::event_log::{
    EventLog, EventLogSizes,
    event::{EndedSession, SessionChange, SessionEvent},
    query::{EventAnswer, EventQuery, ReturnOfUser},
};

fn event(at: u64, client: &str, change: SessionChange) -> SessionEvent {
    let (user, transport) = ("u42".into(), "websocket".into());
    SessionEvent { at, client: client.into(), user, transport, address: None, change }
}

fn ended() -> SessionChange {
    SessionChange::Ended(Box::new(EndedSession {
        code: 1006,
        reason: "connection lost".into(),
        connected_ms: 0,
        waiting_bytes: 0,
        waiting_ms: 0,
        channels: Vec::new(),
    }))
}

/// The client, and its time, with which the user of these events returned after the time.
async fn returned(events: &[(u64, &str, SessionChange)], after: u64) -> Option<(String, u64)> {
    let worker = worker();
    let sizes = EventLogSizes { sessions: 100, max_bytes: 1 << 20, ..EventLogSizes::default() };
    worker.hub_mut().events = EventLog::of_worker(sizes, 1);
    for (at, client, change) in events {
        worker.hub_mut().events.note_session(event(*at, client, change.clone()));
    }
    let (answer, answered) = oneshot::channel();
    let query = Arc::new(EventQuery::Returns { of: vec![("u42".to_owned(), after)] });
    let scan = actix_rt::spawn(
        ScanRequest::Events { query, answer }.answer(worker.hub.clone(), worker.traffic.clone()),
    );
    let EventAnswer::Returns(mut returns) = answered.await.unwrap() else { panic!("another answer") };
    scan.await.unwrap();
    returns.remove(0).map(|ReturnOfUser { client, at, .. }| (client, at))
}

#[actix_rt::test]
async fn a_user_returns_with_the_first_connect_after_the_end() {
    let connected = || SessionChange::Connected;
    let before = [(1, "a", connected()), (5, "a", ended())];
    assert_eq!(returned(&before, 5).await, None);
    let after = [&before[..], &[(7, "b", connected()), (9, "c", connected())]].concat();
    assert_eq!(returned(&after, 5).await, Some(("b".to_owned(), 7)));
}

#[actix_rt::test]
async fn a_client_that_ends_in_the_millisecond_in_which_it_connects_does_not_return_by_that() {
    let connected = || SessionChange::Connected;
    let short = [(5, "a", connected()), (5, "a", ended())];
    assert_eq!(returned(&short, 5).await, None);
    let same = [&short[..], &[(5, "b", connected())]].concat();
    assert_eq!(returned(&same, 5).await, Some(("b".to_owned(), 5)), "another one of that millisecond");
    let later = [&short[..], &[(6, "b", connected())]].concat();
    assert_eq!(returned(&later, 5).await, Some(("b".to_owned(), 6)));
}
