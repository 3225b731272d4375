//! Scans over a worker with real channels and sessions: their order, their slices, and that they miss nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;

use gorani_broker::{Broker, ClientInfo, MemoryBroker, MemorySettings, Retention};

use super::*;
use crate::{
    hub::{interest::Interest, reads::Reads, roster::SessionKey, tests::Client},
    session::SubscribeRequest,
};

fn worker() -> Rc<Worker> {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (interest, reads) = (Interest::new(broker.clone()), Reads::new(broker.clone(), Arc::default()));
    Worker::start(0, usize::MAX, broker, Arc::new(interest), Arc::new(reads), Arc::default(), Arc::default())
        .0
}

fn join(worker: &Worker, key: SessionKey, channel: String) {
    let request = SubscribeRequest {
        channel: channel.into(),
        info: Arc::new(ClientInfo::default()),
        retention: Retention::default(),
        positioned: false,
        recover: None,
        recover_max_bytes: usize::MAX,
        presence: false,
        announce: false,
        join_leave: false,
        view: None,
    };
    assert!(worker.hub_mut().join(key, &request));
}

/// A client for every hundred channels: a session looks through its channels when it joins one.
fn fill(worker: &Worker, channels: usize, name: impl Fn(usize) -> String) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..channels {
        if number % 100 == 0 {
            clients.push(Client::enter(&mut worker.hub_mut(), &format!("client{number}")));
        }
        join(worker, clients.last().unwrap().key(), name(number));
    }
    clients
}

async fn channels(worker: &Rc<Worker>, pattern: Option<&str>, after: &str, limit: usize) -> Page<usize> {
    let (answer, answered) = oneshot::channel();
    let pattern = pattern.map(str::to_owned);
    let question = Question::Channels { pattern, after: after.to_owned(), limit, answer };
    let scan = actix_rt::spawn(question.answer(worker.clone()));
    let page = answered.await.unwrap();
    scan.await.unwrap();
    page
}

#[actix_rt::test]
async fn pages_are_the_first_names_after_the_cursor() {
    let worker = worker();
    let _clients = fill(&worker, 1000, |number| format!("c{number:04}"));
    let page = channels(&worker, None, "c0499", 3).await;
    assert_eq!(page.entries.keys().collect::<Vec<_>>(), ["c0500", "c0501", "c0502"]);
    let page = channels(&worker, Some("c*7"), "", 3).await;
    assert_eq!(page.entries.keys().collect::<Vec<_>>(), ["c0007", "c0017", "c0027"]);
    assert!(channels(&worker, None, "c0999", 3).await.entries.is_empty());
}

#[actix_rt::test]
async fn what_stays_while_others_come_and_go_is_never_missed() {
    let worker = worker();
    let goer = Client::enter(&mut worker.hub_mut(), "goer");
    for number in 0..50 {
        join(&worker, goer.key(), format!("goes{number}"));
    }
    let stays = fill(&worker, 2000, |number| format!("stays{number:05}"));
    let (answer, _answered) = oneshot::channel::<()>();
    let changed = Rc::new(Cell::new(0));
    let (going, counted) = (worker.clone(), changed.clone());
    let changes = actix_rt::spawn(async move {
        // Between the slices of the scan: somebody goes, somebody comes.
        for number in 0..50 {
            going.hub_mut().leave(goer.key(), &format!("goes{number}"));
            join(&going, goer.key(), format!("comes{number}"));
            counted.set(number + 1);
            tokio::task::yield_now().await;
        }
    });
    let mut seen = std::collections::HashSet::new();
    let (mut visited, mut changed_meanwhile) = (0, 0);
    let finished = walk(
        &worker,
        &answer,
        |hub| hub.channel_count(),
        |hub, index| {
            visited += 1;
            if visited % 20 == 0 {
                // Long enough that the slice ends here.
                let until = Instant::now() + 2 * SLICE;
                while Instant::now() < until {}
            }
            changed_meanwhile = changed.get();
            if let Some((name, _)) = hub.channel_at(index) {
                seen.insert(name.clone());
            }
        },
    )
    .await;
    assert!(finished);
    assert!(changed_meanwhile > 10, "{changed_meanwhile} changes during the scan");
    changes.await.unwrap();
    assert_eq!(seen.iter().filter(|name| name.starts_with("stays")).count(), 2000);
    drop(stays);
}

#[actix_rt::test]
async fn a_hostile_pattern_over_long_names_takes_no_turn_for_long() {
    let worker = worker();
    let _clients = fill(&worker, 2000, |number| format!("{}{number:05}", "a".repeat(250)));
    let pattern = format!("{}b", "*a".repeat(127));
    let (found, watch) = watched(channels(&worker, Some(&pattern), "", 10)).await;
    assert!(found.entries.is_empty());
    watch.assert_slices();
}

#[actix_rt::test]
async fn connections_that_do_not_fit_into_an_answer_are_cut_and_the_cursor_goes_on() {
    let worker = worker();
    let mut clients = Vec::new();
    for number in 0..300 {
        let client = Client::enter(&mut worker.hub_mut(), &format!("client{number:03}"));
        for channel in 0..128 {
            join(&worker, client.key(), format!("{channel:0>250}"));
        }
        clients.push(client);
    }
    let (mut after, mut seen, mut pages) = (String::new(), 0, 0);
    loop {
        let (answer, answered) = oneshot::channel();
        let question = Question::Connections { user: None, after, limit: 1000, answer };
        actix_rt::spawn(question.answer(worker.clone()));
        let page = answered.await.unwrap();
        let bytes: usize = page.entries.iter().map(|(client, view)| size_of_view(client, view)).sum();
        assert!(bytes < ANSWER_BYTES + 64 * 1024, "{bytes}");
        (seen, pages) = (seen + page.entries.len(), pages + 1);
        if !page.is_cut {
            break;
        }
        after = page.entries.last_key_value().unwrap().0.clone();
    }
    assert_eq!(seen, 300);
    assert!(pages > 1);
}

/// Channels of the next test. Record 28 has the numbers for a million of them.
const MANY_CHANNELS: usize = 50_000;

#[actix_rt::test]
async fn a_scan_of_many_channels_takes_turns_with_others() {
    let worker = worker();
    let _clients = fill(&worker, MANY_CHANNELS, |number| format!("chat:room-{number:07}"));
    for (pattern, after) in [(None, ""), (None, "chat:room-0025000"), (Some("chat:*99"), "")] {
        let (found, watch) = watched(channels(&worker, pattern, after, 100)).await;
        assert_eq!(found.entries.len(), 100);
        watch.assert_slices();
    }
}

/// Turns that a neighbour on the same thread had during a scan.
#[derive(Debug)]
struct Watch {
    whole: Duration,
    turns: u128,
    longest_wait: Duration,
}

impl Watch {
    /// However slow the machine is, the neighbour has a turn for every few slices of the scan.
    fn assert_slices(&self) {
        assert!(self.turns >= 2 && self.longest_wait < self.whole, "{self:?}");
        assert!(self.turns * 20 >= self.whole.as_micros() / SLICE.as_micros(), "{self:?}");
    }
}

async fn watched<T>(scan: impl Future<Output = T>) -> (T, Watch) {
    let neighbour = Rc::new(Cell::new((0, Duration::ZERO)));
    let watched = neighbour.clone();
    let task = actix_rt::spawn(async move {
        loop {
            let before = Instant::now();
            tokio::task::yield_now().await;
            let (turns, longest) = watched.get();
            watched.set((turns + 1, before.elapsed().max(longest)));
        }
    });
    let started = Instant::now();
    let result = scan.await;
    let whole = started.elapsed();
    task.abort();
    let (turns, longest_wait) = neighbour.get();
    (result, Watch { whole, turns, longest_wait })
}
