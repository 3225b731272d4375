//! Counts of fan-outs, a publication that is followed to the socket, and looks at outboxes.

use bytes::Bytes;
use gorani_broker::BrokerStats;

use super::*;

fn event(number: usize) -> ChannelEvent {
    let data = Bytes::from(number.to_string());
    ChannelEvent::Publication(Arc::new(Publication {
        data,
        time_ms: crate::clock::unix_ms(),
        ..Publication::default()
    }))
}

fn outbox(worker: &Worker, client: &Client) -> crate::outbox::Outbox {
    worker.hub().registry().get(client.key()).unwrap().outbox.clone()
}

/// The value of a sample, once the worker has added what it counted to the node's.
async fn shown(worker: &Worker, name: &str) -> Option<f64> {
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let text = worker.metrics.text(&BrokerStats::default()).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[actix_rt::test]
async fn a_fan_out_is_counted_by_publications_and_subscribers_and_timed_where_it_is_asked_for() {
    tokio::time::pause();
    let (worker, inbox) = start();
    let clients = ["one", "two", "three"].map(|name| Client::enter(&mut worker.hub_mut(), name));
    clients.iter().for_each(|client| client.join(&mut worker.hub_mut(), NO_HISTORY, None));
    let timed = crate::hub::inbox::EventMeasures { arrived: Some(Instant::now()), span: None };
    inbox.event(&"a".into(), event(1), timed);
    inbox.event(&"a".into(), event(2), Default::default());
    inbox.event(&"nobody".into(), event(3), Default::default());
    assert_eq!(shown(&worker, "gorani_deliveries_total ").await, Some(6.0));
    assert_eq!(shown(&worker, "gorani_fanout_seconds_count ").await, Some(1.0));
    assert!(clients.iter().all(|client| client.seen() == ["1", "2"]));
}

#[actix_rt::test]
async fn one_publication_is_followed_to_the_socket_of_one_subscriber_and_until_its_outbox_is_empty() {
    tokio::time::pause();
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    inbox.event(&"a".into(), event(1), Default::default());
    let flushes = "gorani_flush_seconds_count{transport=\"websocket\"}";
    assert_eq!(shown(&worker, "gorani_delivery_seconds_count ").await, Some(0.0));
    let outbox = outbox(&worker, &client);
    outbox.push(Bytes::from_static(b"x")).unwrap();
    while outbox.len_bytes() > 1 {
        assert!(outbox.pop().is_some());
    }
    assert_eq!(shown(&worker, "gorani_delivery_seconds_count ").await, Some(1.0));
    assert_eq!(shown(&worker, flushes).await, None, "something waits still");
    assert!(outbox.pop().is_some());
    assert_eq!(shown(&worker, flushes).await, Some(1.0));
    assert_eq!(worker.samples.waiting.get(), 0);
}

#[actix_rt::test]
async fn no_more_samples_wait_than_may() {
    tokio::time::pause();
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    let most = 16;
    for number in 0..64 * (most + 4) {
        inbox.event(&"a".into(), event(number), Default::default());
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let waiting = worker.samples.waiting.get() as usize;
    assert!(waiting > 1 && waiting <= most, "{waiting}");
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert_eq!(worker.samples.waiting.get(), 0, "nobody reads, so they are given up");
}

#[actix_rt::test]
async fn a_look_sees_every_outbox_in_slices() {
    tokio::time::pause();
    let (worker, _inbox) = start();
    let clients: Vec<_> =
        (0..2500).map(|number| Client::enter(&mut worker.hub_mut(), &number.to_string())).collect();
    for client in &clients {
        outbox(&worker, client).push(Bytes::from_static(b"1234")).unwrap();
    }
    let waiting = async |name| {
        tokio::time::sleep(Duration::from_millis(2100)).await;
        worker.metrics.workers.set(std::iter::once(3));
        shown(&worker, name).await
    };
    assert_eq!(waiting("gorani_outbox_bytes ").await, Some(10_000.0));
    assert_eq!(waiting("gorani_outbox_waiting ").await, Some(2500.0));
    assert_eq!(waiting("gorani_worker_inbox_entries{worker=\"0\"}").await, Some(3.0));
    // A look takes a sample of a thousand each second, and no more.
    let sampled = waiting("gorani_outbox_sampled_bytes_count ").await.unwrap();
    assert!((1000.0..=30_000.0).contains(&sampled) && sampled % 1000.0 == 0.0, "{sampled}");
    clients.iter().for_each(|client| while outbox(&worker, client).pop().is_some() {});
    assert_eq!(waiting("gorani_outbox_waiting ").await, Some(0.0));
}
