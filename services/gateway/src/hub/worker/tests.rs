//! The inbox: what does not fit is reported, whenever it is noticed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod replay;
mod samples;
mod turns;

use std::time::Duration;

use gorani_broker::{
    ChannelEvent, DataKind, HistoryQuery, MemoryBroker, MemorySettings, Position, Publication,
};

use super::*;
use crate::hub::{
    history_reads::tests::Stream,
    inbox::INBOX_ENTRIES,
    tests::{Client, HISTORY, NO_HISTORY},
};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    format::encoding::Framing,
    session::SubscribeParams,
    session_command::SessionTarget,
};

fn start() -> (Rc<Worker>, Inbox) {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let interest = Arc::new(Interest::new(broker.clone()));
    let reads = Arc::new(HistoryReads::new(broker.clone(), Arc::default()));
    Worker::start(0, usize::MAX, broker, interest, reads, Arc::default(), Arc::default())
}

async fn is_told(client: &Client) -> bool {
    for _ in 0..200 {
        if client.was_told_insufficient().await {
            return true;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[actix_rt::test]
async fn a_ping_is_answered_by_a_worker_that_turns_and_by_no_other() {
    let (_worker, inbox) = start();
    assert!(inbox.ping().await);
    // Nobody takes anything out of this one, as where a worker's thread is stuck.
    let (stuck, receiver) = Inbox::new();
    assert!(tokio::time::timeout(Duration::from_millis(50), stuck.ping()).await.is_err());
    drop(receiver);
    assert!(!stuck.ping().await);
}

#[actix_rt::test]
async fn an_overflow_that_is_noticed_when_the_inbox_is_empty_again_is_told_at_once() {
    let (worker, _inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    // The worker has seen its empty inbox and sleeps.
    actix_rt::time::sleep(Duration::from_millis(10)).await;
    worker.load.mark_gapped(&Arc::from("a"));
    assert!(is_told(&client).await);
    assert_eq!(worker.metrics.inbox_overflows.get(), 1);
}

#[actix_rt::test]
async fn more_events_than_an_inbox_holds_are_told_and_those_that_fitted_are_counted_off() {
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    let channel: Arc<str> = "a".into();
    let event =
        ChannelEvent::Publication(Arc::new(Publication { data: b"1"[..].into(), ..Publication::default() }));
    for _ in 0..=INBOX_ENTRIES {
        inbox.event(&channel, event.clone(), Default::default());
    }
    assert!(is_told(&client).await);
    for _ in 0..200 {
        if worker.load.bytes.load(Ordering::Relaxed) == 0 {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("bytes of the inbox are still counted");
}

#[actix_rt::test]
async fn one_read_of_history_serves_all_workers_after_a_gap() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
    let reads = stream.reads();
    let workers: Vec<_> = (0..3)
        .map(|index| {
            let (interest, reads) = (interest.clone(), reads.clone());
            Worker::start(index, usize::MAX, broker.clone(), interest, reads, Arc::default(), Arc::default())
        })
        .collect();
    let top = Position { offset: 0, epoch: "e".into() };
    for (worker, _) in &workers {
        let client = Client::enter(&mut worker.hub_mut(), "one");
        client.join(&mut worker.hub_mut(), HISTORY, Some(top.clone()));
    }
    let moment = reads.now();
    workers.iter().for_each(|(_, inbox)| inbox.gap(&Arc::from("a"), moment));
    stream.until_asked(1).await;
    // All of them have heard of the gap by now: none of them asks alone.
    actix_rt::time::sleep(Duration::from_millis(20)).await;
    stream.answer();
    let caught_up = || workers.iter().all(|(worker, _)| worker.metrics.catch_ups.get() == 1);
    for _ in 0..200 {
        if caught_up() {
            break;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(caught_up());
    assert_eq!(stream.asked(), 1);
}

#[actix_rt::test]
async fn a_stream_in_which_another_publication_has_the_place_of_a_delivered_one_is_not_continued() {
    let publication = |offset, time_ms| {
        Arc::new(Publication { offset, epoch: "e".into(), time_ms, ..Publication::default() })
    };
    for (after, goes_on) in [
        (vec![publication(2, 20), publication(3, 30)], true),
        (vec![publication(3, 30)], true),
        (vec![publication(2, 25), publication(3, 30)], false),
        (Vec::new(), false),
    ] {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
        let reads = stream.reads();
        let (worker, inbox) =
            Worker::start(0, usize::MAX, broker, interest, reads.clone(), Arc::default(), Arc::default());
        let client = Client::enter(&mut worker.hub_mut(), "one");
        let top = Position { offset: 1, epoch: "e".into() };
        client.join(&mut worker.hub_mut(), HISTORY, Some(top));
        worker.hub_mut().deliver("a", vec![ChannelEvent::Publication(publication(2, 20))]);
        stream.top.store(after.last().map_or(1, |last| last.offset), Ordering::Relaxed);
        *stream.publications.lock() = after;
        inbox.gap(&Arc::from("a"), reads.now());
        stream.until_asked(1).await;
        stream.answer();
        while worker.metrics.catch_ups.get() == 0 {
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(client.was_told_insufficient().await, !goes_on);
    }
}

#[actix_rt::test]
async fn a_gap_that_is_told_while_a_subscription_reads_its_place_is_not_overlooked() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
    let reads = stream.reads();
    let (worker, inbox) =
        Worker::start(0, usize::MAX, broker.clone(), interest, reads.clone(), Arc::default(), Arc::default());
    broker.start(Arc::new(Nobody)).await.unwrap();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    let subscribing =
        actix_rt::spawn(worker.subscriptions.clone().subscribe(client.key, client.request(HISTORY, true)));
    stream.until_asked(1).await;
    // The page is read already when something is published that the broker then fails to deliver.
    stream.top.store(1, Ordering::SeqCst);
    inbox.gap(&Arc::from("a"), reads.now());
    actix_rt::time::sleep(Duration::from_millis(20)).await;
    stream.answer();
    stream.until_asked(2).await;
    stream.answer();
    assert_eq!(subscribing.await.unwrap().unwrap().top.unwrap().offset, 1);
}

#[actix_rt::test]
async fn many_orders_at_a_time_end_no_session_that_empties_its_mailbox() {
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    worker.hub_mut().registry_mut().identify(client.key, "42".into(), "one".into());
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    // Far more than the mailbox of this client holds, all in one turn of the worker.
    for _ in 0..200 {
        let target = SessionTarget { user: "42".to_owned(), client: None, session: None };
        let order =
            SessionCommand::Refresh { target, expired: false, expire_at: None, info: Default::default() };
        inbox.dispatch_command(Arc::new(order)).await.unwrap();
    }
    while client.signals() < 200 {
        assert!(!client.is_ended_as_slow(), "after {} signals", client.signals());
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn a_page_is_shorter_where_its_text_is_full_of_escapes_and_over_a_transport_of_text() {
    const EACH: usize = 1000;
    for (framing, kind, fitting) in [
        (Framing::WebSocket, DataKind::Json, 32),
        (Framing::WebSocket, DataKind::Binary, 32),
        (Framing::WebSocket, DataKind::Text, 8),
        (Framing::SockJs, DataKind::Json, 2),
        // One is always brought, or the client would never come past it.
        (Framing::SockJs, DataKind::Text, 1),
        (Framing::SockJsWebSocket { deflate_window_bits: None }, DataKind::Text, 1),
    ] {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
        let (worker, _inbox) =
            Worker::start(0, usize::MAX, broker, interest, stream.reads(), Arc::default(), Arc::default());
        let client = Client::enter_over(&mut worker.hub_mut(), "one", framing);
        let publication = Publication { data: vec![b'"'; EACH].into(), kind, ..Publication::default() };
        *stream.publications.lock() = std::iter::repeat_n(Arc::new(publication), 40).collect();
        let query = HistoryQuery { limit: 100, max_bytes: Some(32 * EACH as u64), ..HistoryQuery::default() };
        let reading = actix_rt::spawn(worker.reads.clone().history(client.key, "a".into(), query, HISTORY));
        stream.until_asked(1).await;
        stream.answer();
        let (page, _permit) = reading.await.unwrap().unwrap();
        assert_eq!(page.publications.len(), fitting, "{kind:?} {framing:?}");
        assert!(page.truncated);
    }
}

#[actix_rt::test]
async fn a_recovery_brings_less_over_a_transport_of_text() {
    for (framing, bytes, is_recovered) in [
        (Framing::WebSocket, 16_000, true),
        (Framing::WebSocket, 16_001, false),
        (Framing::SockJs, 1000, true),
        (Framing::SockJs, 1001, false),
    ] {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
        let (worker, _inbox) = Worker::start(
            0,
            usize::MAX,
            broker.clone(),
            interest,
            stream.reads(),
            Arc::default(),
            Arc::default(),
        );
        broker.start(Arc::new(Nobody)).await.unwrap();
        let client = Client::enter_over(&mut worker.hub_mut(), "one", framing);
        let publication = Publication {
            data: vec![b'1'; bytes].into(),
            offset: 1,
            epoch: "e".into(),
            ..Publication::default()
        };
        *stream.publications.lock() = vec![Arc::new(publication)];
        stream.top.store(1, Ordering::SeqCst);
        let request = SubscribeParams {
            recover: Some(Position { offset: 0, epoch: "e".into() }),
            recover_max_bytes: 16_000,
            ..client.request(HISTORY, true)
        };
        let subscribing = actix_rt::spawn(worker.subscriptions.clone().subscribe(client.key, request));
        stream.until_asked(1).await;
        stream.answer();
        assert_eq!(subscribing.await.unwrap().unwrap().recovered, is_recovered, "{bytes} bytes {framing:?}");
    }
}

#[actix_rt::test]
async fn a_subscription_that_was_ended_while_it_read_does_nothing_to_the_next_one() {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (stream, interest) = (Stream::default(), Arc::new(Interest::new(broker.clone())));
    let (worker, _inbox) = Worker::start(
        0,
        usize::MAX,
        broker.clone(),
        interest,
        stream.reads(),
        Arc::default(),
        Arc::default(),
    );
    broker.start(Arc::new(Nobody)).await.unwrap();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    let request = SubscribeParams { presence: true, ..client.request(HISTORY, true) };
    let first = actix_rt::spawn(worker.subscriptions.clone().subscribe(client.key, request.clone()));
    stream.until_asked(1).await;
    worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
    let second = actix_rt::spawn(worker.subscriptions.clone().subscribe(client.key, request));
    stream.top.store(7, Ordering::SeqCst);
    stream.answer();
    assert_eq!(first.await.unwrap().map(|_| ()), Err(ErrorCode::INTERNAL));
    stream.until_asked(2).await;
    stream.answer();
    assert_eq!(second.await.unwrap().unwrap().top.unwrap().offset, 7);
    assert_eq!(broker.presence_stats("a").await, Ok((1, 1)));
    worker.subscriptions.unsubscribe(client.key, "a", crate::disconnect::Unsubscribed::CLIENT);
    assert_eq!(broker.presence_stats("a").await, Ok((0, 0)));
}

/// A sink without a node.
struct Nobody;

impl gorani_broker::Sink for Nobody {
    fn on_event(&self, _: &Arc<str>, _: ChannelEvent) {}
    fn on_gap(&self, _: &Arc<str>) {}
}

/// So many publications after offset 0, each with its offset.
fn missed(count: u64) -> Vec<Arc<Publication>> {
    let publication = |offset: u64| Publication {
        offset,
        epoch: "e".into(),
        data: offset.to_string().into(),
        ..Publication::default()
    };
    (1..=count).map(|offset| Arc::new(publication(offset))).collect()
}

#[actix_rt::test]
async fn much_that_was_missed_comes_in_pieces_before_what_is_published_meanwhile() {
    let (worker, _inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.begin(&mut worker.hub_mut(), HISTORY, Some(Position { offset: 2000, epoch: "e".into() }));
    let permit = worker.hub().memory.try_reply(100_000);
    worker.replay(client.key, "a".into(), missed(2000), permit);
    let next =
        Publication { offset: 2001, epoch: "e".into(), data: b"2001"[..].into(), ..Publication::default() };
    worker.hub_mut().deliver("a", vec![ChannelEvent::Publication(Arc::new(next))]);
    let mut turns = 0;
    let mut offsets = Vec::new();
    while offsets.len() < 2001 {
        tokio::task::yield_now().await;
        let seen = client.seen();
        turns += usize::from(!seen.is_empty());
        offsets.extend(seen);
    }
    assert!(turns > 3, "{turns} turns");
    let expected: Vec<String> = (1..=2001).map(|offset| offset.to_string()).collect();
    assert_eq!(offsets, expected);
    assert_eq!(worker.hub().memory.reply_bytes(), 0);
}

#[actix_rt::test]
async fn who_leaves_while_pieces_come_gets_no_more_of_them_and_none_in_a_newer_subscription() {
    for has_begun in [true, false] {
        let (worker, _inbox) = start();
        let client = Client::enter(&mut worker.hub_mut(), "one");
        client.begin(&mut worker.hub_mut(), HISTORY, Some(Position { offset: 2000, epoch: "e".into() }));
        worker.replay(client.key, "a".into(), missed(2000), worker.hub().memory.try_reply(100_000));
        while has_begun && client.seen().is_empty() {
            tokio::task::yield_now().await;
        }
        worker.hub_mut().leave(client.key, "a");
        client.begin(&mut worker.hub_mut(), HISTORY, Some(Position { offset: 2000, epoch: "e".into() }));
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.seen(), Vec::<String>::new());
        assert_eq!(worker.hub().memory.reply_bytes(), 0);
    }
}

#[actix_rt::test]
async fn a_session_that_gets_its_user_after_the_backend_ended_all_of_that_user_is_ended_too() {
    let (worker, inbox) = start();
    let [asked, other] = ["one", "two"].map(|name| Client::enter(&mut worker.hub_mut(), name));
    let target = SessionTarget { user: "42".to_owned(), ..SessionTarget::default() };
    let disconnect = Disconnect::FORCE_DISCONNECT;
    let command = SessionCommand::Disconnect { target, disconnect, spared: Vec::new() };
    worker.hub_mut().registry_mut().pending_connects.begin(asked.key());
    inbox.dispatch_command(Arc::new(command)).await.unwrap();
    assert!(inbox.ping().await, "the worker has taken it");
    for (client, id) in [(&asked, "new"), (&other, "newer")] {
        worker.hub_mut().registry_mut().identify(client.key(), "42".into(), id.into());
    }
    assert!(asked.was_told_to_end(3503).await);
    assert_eq!(other.signals(), 0, "its connect began after that, or without asking");
}
