//! Scans over a worker with real channels and sessions: their order, their slices, what they look at, and that they miss nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod details;
mod events;
mod slices;

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use gorani_broker::{Broker, ClientInfo, MemoryBroker, MemorySettings, Retention};
use proptest::prelude::*;

use tokio::time::Instant;

use super::{
    page::{ENTRIES_PER_LOOK, PAGE_TIME, SLICE},
    *,
};
use crate::hub::worker::Worker;
use crate::{
    format::encoding::SubscriptionFormat,
    hub::{history_reads::HistoryReads, interest::Interest, registry::SessionKey, tests::Client},
    session::SubscribeParams,
};

fn worker() -> Rc<Worker> {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (interest, reads) =
        (Interest::new(broker.clone()), HistoryReads::new(broker.clone(), Arc::default()));
    Worker::start(0, usize::MAX, broker, Arc::new(interest), Arc::new(reads), Arc::default(), Arc::default())
        .0
}

fn join(worker: &Worker, key: SessionKey, channel: String) {
    let request = SubscribeParams {
        channel: channel.into(),
        info: Arc::new(ClientInfo::default()),
        retention: Retention::default(),
        positioned: false,
        recover: None,
        recover_max_bytes: usize::MAX,
        presence: false,
        announce: false,
        join_leave: false,
        server_side: false,
        by: gorani_auth::GrantedBy::Options,
        format: SubscriptionFormat::OfSession,
    };
    assert!(worker.hub_mut().join(key, &request).is_some());
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

async fn channels(worker: &Rc<Worker>, pattern: Option<&str>, after: &str, limit: usize) -> ScanPage<usize> {
    let (answer, answered) = oneshot::channel();
    let pattern = pattern.map(str::to_owned);
    let question = ScanRequest::Channels { pattern, after: after.to_owned(), limit, answer };
    let scan = actix_rt::spawn(question.answer(worker.hub.clone(), worker.traffic.clone()));
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

/// Fills a page without giving anybody else a turn.
fn fill_page<T: ScanSource>(worker: &Worker, table: T, after: &str, limit: usize) -> Scan<T> {
    let mut scan = Scan::new(table, after, limit);
    while !scan.slice(&worker.hub, &worker.traffic) {}
    scan
}

fn channels_like(pattern: Option<&str>) -> ChannelScan {
    ChannelScan { pattern: pattern.map(|pattern| Pattern::new(pattern.to_owned())) }
}

#[actix_rt::test]
async fn a_page_looks_at_as_many_channels_as_it_lists_however_many_there_are() {
    // The time of a page is not what is tested, and a busy machine may take longer than it.
    tokio::time::pause();
    for channels in [1_000, 20_000] {
        let worker = worker();
        let _clients = fill(&worker, channels, |number| format!("chat:room-{:05}", number * 7919 % channels));
        for (pattern, after, listed) in [
            (None, "", 100),
            (None, "chat:room-00500", 100),
            (None, "chat:room-99999", 0),
            (Some("chat:room-00*"), "", 100),
            (Some("chat:room-00*"), "chat:room-00500", 100),
            (Some("chat:room-00?23"), "chat:room-00500", 5),
            (Some("chat:room-00123"), "", 1),
            (Some("chat:room-00123"), "chat:room-00123", 0),
            (Some("chat:room-"), "", 0),
            (Some("news:*"), "", 0),
        ] {
            let scan = fill_page(&worker, channels_like(pattern), after, 100);
            let (page, looked_at) = (scan.page, scan.looked_at);
            assert_eq!((page.entries.len(), page.cut_at), (listed, None), "{pattern:?} after {after:?}");
            let most = if pattern == Some("chat:room-00?23") { 500 } else { 100 };
            assert!(looked_at <= most, "{looked_at} names for {pattern:?} after {after:?}");
        }
    }
}

#[actix_rt::test]
async fn a_page_looks_at_as_many_connections_as_it_lists_whoevers_they_are() {
    // The time of a page is not what is tested, and a busy machine may take longer than it.
    tokio::time::pause();
    let worker = worker();
    let clients: Vec<_> = (0..3_000)
        .map(|number| Client::enter(&mut worker.hub_mut(), &format!("client{number:04}")))
        .collect();
    for (number, client) in clients.iter().enumerate() {
        let user = if number % 2 == 0 { "even" } else { "odd" };
        worker.hub_mut().registry_mut().identify(
            client.key(),
            user.into(),
            format!("client{number:04}").into(),
        );
    }
    for (user, after, listed) in [
        (None, "", 50),
        (None, "client2990", 9),
        (Some("even"), "client1000", 50),
        (Some("odd"), "client2990", 5),
        (Some("nobody"), "", 0),
    ] {
        let scan = fill_page(&worker, ConnectionScan { user: user.map(Arc::from) }, after, 50);
        assert_eq!((scan.page.entries.len(), scan.looked_at, scan.page.cut_at), (listed, listed, None));
        assert!(scan.page.entries.keys().all(|client| &**client > after));
        assert!(scan.page.entries.values().all(|view| user.is_none_or(|user| view.user == user)));
    }
}

/// Channels, each of which takes a slice and more.
struct SlowChannels(ChannelScan);

impl ScanSource for SlowChannels {
    type Entry = usize;

    fn start(&self) -> &str {
        self.0.start()
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        self.0.names(hub, from)
    }

    fn entry(&self, hub: &Hub, name: &str) -> Option<(usize, usize)> {
        let until = Instant::now() + 2 * SLICE / u32::try_from(ENTRIES_PER_LOOK).unwrap();
        while Instant::now() < until {}
        self.0.entry(hub, name)
    }
}

#[actix_rt::test]
async fn what_stays_while_others_come_and_go_is_never_missed_or_listed_twice() {
    let worker = worker();
    let goer = Client::enter(&mut worker.hub_mut(), "goer");
    let mut around = BTreeSet::new();
    let _stays = fill(&worker, 400, |number| format!("c{number:05}-stays"));
    let (mut after, mut listed, mut changes, mut slices) = (String::new(), Vec::new(), 0, 0);
    loop {
        let mut scan = Scan::new(SlowChannels(channels_like(None)), &after, 150);
        loop {
            let done = scan.slice(&worker.hub, &worker.traffic);
            slices += 1;
            // Between two slices somebody goes and somebody comes, before the cursor, at it and after it.
            for _ in 0..4 {
                changes += 1;
                let name = format!("c{:05}-goes", changes * 7 % 400);
                if around.remove(&name) {
                    worker.hub_mut().leave(goer.key(), &name);
                } else {
                    join(&worker, goer.key(), name.clone());
                    around.insert(name);
                }
            }
            if done {
                break;
            }
        }
        listed.extend(scan.page.entries.keys().cloned());
        match scan.page.cut_at.or_else(|| scan.page.entries.keys().last().cloned()) {
            Some(last) => after = last,
            None => break,
        }
    }
    assert!(slices >= 400 / ENTRIES_PER_LOOK, "{slices} slices");
    let distinct: BTreeSet<_> = listed.iter().cloned().collect();
    assert!(listed.is_sorted() && distinct.len() == listed.len(), "listed twice or out of order");
    assert_eq!(listed.iter().filter(|name| name.ends_with("stays")).count(), 400);
}

#[actix_rt::test]
async fn a_hostile_pattern_over_long_names_takes_no_turn_for_long() {
    const NAMES: usize = 20_000;
    let worker = worker();
    let name = |number| format!("{}{number:05}", "a".repeat(250));
    let _clients = fill(&worker, NAMES, name);
    let pattern = format!("{}b", "*a".repeat(127));
    let (mut after, mut pages, mut all) = (String::new(), 0, Watch::default());
    loop {
        let (found, watch) = watched(channels(&worker, Some(&pattern), &after, 10)).await;
        all.add(&watch);
        assert!(found.entries.is_empty());
        pages += 1;
        let Some(cut_at) = found.cut_at else { break };
        assert!(cut_at > after, "no progress beyond {after}");
        after = cut_at;
    }
    assert!(pages > 1, "{NAMES} such names do not fit into {PAGE_TIME:?}");
    all.assert_slices();
}

#[actix_rt::test]
async fn pages_of_a_rare_pattern_find_all_that_match_by_their_cursors() {
    let worker = worker();
    let _clients = fill(&worker, 20_000, |number| format!("chat:room-{number:05}"));
    let (mut after, mut found) = (String::new(), Vec::new());
    loop {
        let page = channels(&worker, Some("*-*7777"), &after, 100).await;
        found.extend(page.entries.into_keys());
        match page.cut_at {
            Some(cut_at) => after = cut_at,
            None => break,
        }
    }
    assert_eq!(found, ["chat:room-07777", "chat:room-17777"]);
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
        let question = ScanRequest::Connections { user: None, after, limit: 1000, answer };
        actix_rt::spawn(question.answer(worker.hub.clone(), worker.traffic.clone()));
        let page = answered.await.unwrap();
        let bytes: usize = page.entries.iter().map(|(client, view)| size_of_view(client, view)).sum();
        assert!(bytes < ANSWER_BYTES + 64 * 1024, "{bytes}");
        (seen, pages) = (seen + page.entries.len(), pages + 1);
        let Some(cut_at) = page.cut_at else { break };
        assert_eq!(&cut_at, page.entries.last_key_value().unwrap().0);
        after = cut_at;
    }
    assert_eq!(seen, 300);
    assert!(pages > 1);
}

/// Turns that a neighbour on the same thread had during a scan. Times are those of the thread's CPU: what other programs of the
/// machine take does not count.
#[derive(Debug, Default)]
struct Watch {
    whole: Duration,
    turns: u128,
    longest_wait: Duration,
}

impl Watch {
    fn add(&mut self, other: &Self) {
        self.whole += other.whole;
        self.turns += other.turns;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }

    /// However slow the machine is, the neighbour has a turn for every few slices of the scan.
    fn assert_slices(&self) {
        assert!(self.turns >= 2 && self.longest_wait < self.whole, "{self:?}");
        assert!(self.turns * 20 >= self.whole.as_micros() / SLICE.as_micros(), "{self:?}");
    }
}

/// CPU that this thread has used.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

async fn watched<T>(scan: impl Future<Output = T>) -> (T, Watch) {
    let neighbour = Rc::new(Cell::new((0, Duration::ZERO)));
    let watched = neighbour.clone();
    let task = actix_rt::spawn(async move {
        loop {
            let before = thread_time();
            tokio::task::yield_now().await;
            let (turns, longest) = watched.get();
            watched.set((turns + 1, (thread_time() - before).max(longest)));
        }
    });
    let started = thread_time();
    let result = scan.await;
    let whole = thread_time() - started;
    task.abort();
    let (turns, longest_wait) = neighbour.get();
    (result, Watch { whole, turns, longest_wait })
}

proptest! {
    #[test]
    fn names_within_the_bounds_of_a_pattern_are_all_that_match(
        pattern in "[ab*?]{0,6}",
        names in proptest::collection::btree_set("[abc]{1,5}", 0..40),
    ) {
        let pattern = Pattern::new(pattern);
        let names: BTreeSet<String> = names;
        let bounded: Vec<_> = names
            .range::<str, _>((Bound::Included(pattern.literal()), Bound::Unbounded))
            .take_while(|name| pattern.may_match_from(name))
            .filter(|name| pattern.matches(name))
            .collect();
        let all: Vec<_> = names.iter().filter(|name| pattern.matches(name)).collect();
        prop_assert_eq!(bounded, all);
    }
}
