//! The entries of a subscription in the broker, their removal, and its position.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::join_all};
use gorani_broker::{Position, Publication};

use super::{Client, HISTORY, Hub, NO_HISTORY, events, faulty::Faulty, missed, position, publication};
use crate::{
    hub::{
        registry::SessionKey,
        scan::{ConnectionInfo, size_of_channel, size_of_view},
        subscribe::{ReadTurns, size_of},
        subscription::follows,
    },
    session::{Signal, SubscribeParams},
};

#[actix_rt::test]
async fn what_is_entered_into_the_broker_is_what_is_taken_out() {
    for (presence, announce, entered, taken_out) in [
        (false, false, [0, 0], [0, 0]),
        (true, false, [1, 0], [1, 0]),
        (false, true, [0, 1], [0, 1]),
        (true, true, [1, 0], [1, 0]),
    ] {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let client = Client::enter(&mut worker.hub_mut(), "one");
        let request = SubscribeParams { presence, announce, ..client.request(HISTORY, true) };
        let subscribed = worker.subscriptions.clone().subscribe(client.key, request).await.unwrap();
        assert!(!subscribed.was_recovering && !subscribed.recovered);
        assert_eq!([broker.count("presence_add"), broker.count("join")], entered);
        worker.deregister(client.key, None);
        assert_eq!([broker.count("presence_remove"), broker.count("leave")], taken_out);
        assert!(worker.hub().registry().get(client.key).is_none());
        assert_eq!(worker.subscriptions.interest.wanted(), 0);
    }
}

#[actix_rt::test]
async fn a_client_recovers_what_history_has_without_a_hole_and_is_told_where_it_has_not() {
    for (offset, epoch, recovered) in [(0, None, true), (1, None, true), (0, Some("other"), false)] {
        let broker = Faulty::new();
        let (worker, _inbox) = broker.worker().await;
        let options = gorani_broker::PublishOptions { retention: HISTORY, ..Default::default() };
        let mut top = Position::default();
        for _ in 0..2 {
            let publication = Publication { data: vec![b'1'; 100].into(), ..Publication::default() };
            let published = gorani_broker::Broker::publish(&broker.inner, "a", publication, options.clone());
            top = published.await.unwrap().position;
        }
        let client = Client::enter(&mut worker.hub_mut(), "one");
        let recover = Some(Position { offset, epoch: epoch.map_or(top.epoch.clone(), Arc::from) });
        let request = SubscribeParams { recover, ..client.request(HISTORY, true) };
        let subscribed = worker.subscriptions.clone().subscribe(client.key, request).await.unwrap();
        assert!(subscribed.was_recovering);
        assert_eq!((subscribed.recovered, subscribed.top), (recovered, Some(top)));
        let expected = if recovered { 2 - offset } else { 0 };
        assert_eq!(subscribed.publications.len() as u64, expected);
        assert_eq!(size_of(&subscribed.publications) as u64, 100 * expected);
    }
}

#[actix_rt::test]
async fn who_is_told_of_joins_and_leaves_is_told_of_a_gap_though_it_tracks_no_position() {
    let mut hub = Hub::new(usize::MAX);
    let [watching, plain] = [Client::enter(&mut hub, "watching"), Client::enter(&mut hub, "plain")];
    let request = SubscribeParams { join_leave: true, ..watching.request(HISTORY, false) };
    hub.join(watching.key, &request);
    hub.release(watching.key, "a");
    plain.join(&mut hub, HISTORY, None);
    hub.deliver("a", events([1]));
    hub.gap("a").unwrap();
    assert!(watching.was_told_insufficient().await);
    assert!(!plain.was_told_insufficient().await);
}

#[actix_rt::test]
async fn a_gap_before_the_first_publication_is_read_from_where_the_oldest_subscription_stands() {
    let mut hub = Hub::new(usize::MAX);
    let [early, late, broken] = [
        Client::enter(&mut hub, "early"),
        Client::enter(&mut hub, "late"),
        Client::enter(&mut hub, "broken"),
    ];
    // Two at a time, so that the channel has no position of its own yet.
    for client in [&early, &late, &broken] {
        assert!(hub.join(client.key, &client.request(HISTORY, true)).is_some());
    }
    assert_eq!(hub.gap("a"), None, "nobody knows where it stands");
    hub.set_seen(late.key, "a", &position(7).unwrap());
    hub.set_seen(early.key, "a", &position(5).unwrap());
    hub.release(early.key, "a");
    hub.release(late.key, "a");
    let missing = hub.gap("a").unwrap();
    assert_eq!(Some(missing.after), position(5));
    assert_eq!(hub.caught_up("a", missing.read, missed(6..=8)), None);
    assert_eq!((early.seen().join(" "), late.seen().join(" ")), ("6 7 8".to_owned(), "8".to_owned()));
}

#[actix_rt::test]
async fn the_one_that_is_excluded_is_excluded_also_from_what_was_held_back() {
    let mut hub = Hub::new(usize::MAX);
    let [one, two] = [Client::enter(&mut hub, "one"), Client::enter(&mut hub, "two")];
    for client in [&one, &two] {
        client.begin(&mut hub, NO_HISTORY, None);
    }
    let own = Publication { exclude_client: "one".to_owned(), ..publication(0) };
    hub.deliver("a", vec![gorani_broker::ChannelEvent::Publication(Arc::new(own))]);
    for client in [&one, &two] {
        hub.release(client.key, "a");
    }
    assert_eq!((one.seen().len(), two.seen().len()), (0, 1));
}

#[test]
fn publications_follow_each_other_in_one_epoch_or_without_a_place() {
    let of = |offset, epoch: &str| Publication { offset, epoch: epoch.into(), ..Publication::default() };
    assert!(follows(&of(1, "e"), &of(2, "e")));
    assert!(!follows(&of(1, "e"), &of(3, "e")));
    assert!(!follows(&of(2, "e"), &of(1, "e")));
    assert!(!follows(&of(1, "e"), &of(2, "f")));
    assert!(follows(&of(0, ""), &of(0, "")));
    assert!(!follows(&of(0, ""), &of(1, "e")));
}

#[actix_rt::test]
async fn what_connections_move_is_added_to_the_counters_once_a_second() {
    tokio::time::pause();
    let (worker, _inbox) = Faulty::new().worker().await;
    for _ in 0..2 {
        worker.traffic.sent(100);
        worker.traffic.received(3, 200);
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let metrics = &worker.metrics;
    let counts = || [metrics.bytes_sent.get(), metrics.messages_received.get(), metrics.bytes_received.get()];
    assert_eq!(counts(), [200, 6, 400]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(counts(), [200, 6, 400], "each is added once");
}

#[test]
fn an_entry_of_a_list_is_as_large_as_its_names_and_what_stands_around_them() {
    assert_eq!(size_of_channel("12345"), 133);
    let channels = ["1234", "12"].map(str::to_owned).to_vec();
    let headers = ConnectionInfo {
        user: "42".to_owned(),
        transport: String::new(),
        protocol: String::new(),
        connected_at: 0,
        channels,
    };
    assert_eq!(size_of_view("client", &headers), 128 + 6 + 2 + 7 + 5);
}

#[actix_rt::test]
async fn a_session_whose_deadline_has_come_is_told_and_one_that_is_gone_is_not() {
    tokio::time::pause();
    let (worker, _inbox) = Faulty::new().worker().await;
    let [one, gone] = ["one", "gone"].map(|name| Client::enter(&mut worker.hub_mut(), name));
    let soon = Some(tokio::time::Instant::now() + Duration::from_secs(1));
    worker.set_deadline(one.key, None, soon);
    let timer = worker.set_deadline(gone.key, None, soon);
    worker.deregister(gone.key, timer);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!one.was_told(|signal| matches!(signal, Signal::Timer)).await);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(one.was_told(|signal| matches!(signal, Signal::Timer)).await);
    assert_eq!(gone.signals(), 0);
}

#[tokio::test]
async fn a_session_has_two_reads_at_a_time_and_leaves_nothing_behind() {
    let turns = Rc::new(ReadTurns::default());
    let (one, other) = (SessionKey::FIRST, SessionKey::FIRST.next());
    let first = turns.clone().wait(one, 2).await;
    let second = turns.clone().wait(one, 2).await;
    let mut third = Box::pin(turns.clone().wait(one, 2));
    assert!(third.as_mut().now_or_never().is_none());
    drop(turns.clone().wait(other, 2).now_or_never().unwrap());
    assert_eq!(turns.sessions(), 1);
    drop(first);
    let third = third.await;
    drop(third);
    drop(second);
    assert_eq!(turns.sessions(), 0);
    let many = (0..20).map(|_| turns.clone().wait(one, 2).map(drop));
    join_all(many).await;
    assert_eq!(turns.sessions(), 0);
}
