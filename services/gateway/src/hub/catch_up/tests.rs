//! Reading what was missed: page by page, across a failover, and while the broker is away.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;
use crate::hub::worker::Worker;
use crate::{
    hub::tests::{Client, HISTORY, faulty::Faulty},
    session::Signal,
};

const E: &str = "e";

fn page_of(epoch: &str, offsets: std::ops::RangeInclusive<u64>, top: u64) -> HistoryPage {
    let publication = |offset: u64| Publication {
        offset,
        epoch: epoch.into(),
        data: offset.to_string().into(),
        ..Publication::default()
    };
    HistoryPage {
        publications: offsets.map(|offset| Arc::new(publication(offset))).collect(),
        top: Position { offset: top, epoch: epoch.into() },
        truncated: false,
        ancestors: Vec::new(),
    }
}

fn page(offsets: std::ops::RangeInclusive<u64>, top: u64) -> HistoryPage {
    page_of(E, offsets, top)
}

/// A page after a failover, whose stream is the old one up to an offset.
fn page_after(offsets: std::ops::RangeInclusive<u64>, top: u64, shared: u64) -> HistoryPage {
    let ancestors = vec![Position { offset: shared, epoch: E.into() }];
    HistoryPage { ancestors, ..page_of("f", offsets, top) }
}

/// A client that has had the publications up to 2, and then a gap; history answers with these pages.
struct Gap {
    broker: Arc<Faulty>,
    worker: Rc<Worker>,
    client: Client,
    _inbox: crate::hub::inbox::Inbox,
}

impl Gap {
    async fn filled_with(pages: impl IntoIterator<Item = Result<HistoryPage, BrokerError>>) -> Self {
        let broker = Faulty::new();
        *broker.pages.lock() = pages.into_iter().collect();
        let (worker, inbox) = broker.worker().await;
        let client = Client::enter(&mut worker.hub_mut(), "one");
        client.join(&mut worker.hub_mut(), HISTORY, Some(Position { offset: 1, epoch: E.into() }));
        let last = page(2..=2, 2).publications.remove(0);
        worker.hub_mut().deliver("a", vec![ChannelEvent::Publication(last)]);
        assert_eq!(client.seen(), ["2"]);
        inbox.gap(&Arc::from("a"), worker.history.now());
        Self { broker, worker, client, _inbox: inbox }
    }

    /// Waits until the gap is filled, or known not to be.
    async fn is_over(&self) {
        while self.worker.metrics.catch_ups.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn since(&self) -> Vec<u64> {
        self.broker.queries.lock().iter().map(|query| query.since.unwrap()).collect()
    }

    async fn assert_goes_on_with(&self, offsets: std::ops::RangeInclusive<u64>) {
        self.is_over().await;
        let expected: Vec<String> = offsets.map(|offset| offset.to_string()).collect();
        assert_eq!(self.client.seen(), expected);
        assert!(!self.client.was_told_insufficient().await);
        assert_eq!(self.broker.count("renew"), 0);
    }

    async fn assert_is_told(&self) {
        self.is_over().await;
        assert!(self.client.was_told_insufficient().await);
        assert!(self.client.seen().is_empty());
    }
}

#[actix_rt::test]
async fn full_pages_are_read_on_to_the_top() {
    let gap = Gap::filled_with([Ok(page(2..=1001, 1500)), Ok(page(1002..=1500, 1500))]).await;
    gap.assert_goes_on_with(3..=1500).await;
    // The first one begins with what was delivered last.
    assert_eq!(gap.since(), [1, 1001]);
    assert!(gap.broker.queries.lock().iter().all(|query| query.limit == PAGE && !query.reverse));
}

#[actix_rt::test]
async fn a_page_that_its_bytes_cut_short_is_read_on() {
    let cut = HistoryPage { truncated: true, ..page(2..=5, 10) };
    let gap = Gap::filled_with([Ok(cut), Ok(page(6..=10, 10))]).await;
    gap.assert_goes_on_with(3..=10).await;
}

#[actix_rt::test]
async fn a_page_that_ends_short_of_the_top_or_has_a_hole_is_told() {
    let mut holed = page(2..=6, 6);
    holed.publications.remove(2);
    for missing in [page(2..=5, 10), holed, page(5..=10, 10)] {
        let gap = Gap::filled_with([Ok(missing)]).await;
        gap.assert_is_told().await;
        assert_eq!(gap.since(), [1], "what has left the history is not asked for again");
    }
}

#[actix_rt::test]
async fn a_gap_in_which_nothing_was_missed_ends_no_epoch() {
    for nothing in [page(2..=2, 2), HistoryPage { publications: Vec::new(), ..page(2..=2, 2) }] {
        let gap = Gap::filled_with([Ok(nothing)]).await;
        gap.is_over().await;
        assert!(!gap.client.was_told_insufficient().await);
        assert_eq!((gap.broker.count("renew"), gap.since()), (0, vec![1]));
    }
}

#[actix_rt::test]
async fn a_failover_between_two_pages_begins_the_read_anew() {
    let cut = HistoryPage { truncated: true, ..page(2..=5, 10) };
    let after = page_after(2..=8, 8, 5);
    let mut same = after.clone();
    same.publications.iter_mut().take(1).for_each(|first| *first = page(2..=2, 2).publications.remove(0));
    let gap = Gap::filled_with([Ok(cut), Ok(page_after(6..=8, 8, 5)), Ok(same)]).await;
    gap.assert_goes_on_with(3..=8).await;
    assert_eq!(gap.since(), [1, 5, 1]);
    assert_eq!(gap.worker.metrics.catch_ups.get(), 1, "it is one read");
    let gap = Gap::filled_with([Ok(after)]).await;
    gap.assert_goes_on_with(3..=8).await;
    assert_eq!(gap.since(), [1], "the first page is of the new epoch already");
    assert!(gap.client.was_told(|signal| matches!(signal, Signal::EpochEnded(_))).await);
}

#[actix_rt::test]
async fn a_stream_that_is_not_continued_is_told() {
    let gap = Gap::filled_with([Ok(page_after(2..=8, 8, 1))]).await;
    gap.assert_is_told().await;
    assert_eq!(gap.broker.count("renew"), 0);
}

#[actix_rt::test]
async fn clients_are_told_that_publications_were_forgotten_when_a_new_epoch_has_begun() {
    tokio::time::pause();
    let broker_forgot = page(1..=1, 1);
    let gap = Gap::filled_with([Ok(broker_forgot)]).await;
    gap.broker.fail(BrokerError::Unavailable);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(gap.broker.count("renew") > 2, "it is tried again");
    assert!(!gap.client.was_told_insufficient().await);
    gap.broker.recover();
    gap.assert_is_told().await;
}

#[actix_rt::test]
async fn a_broker_that_is_away_is_asked_again_ever_more_slowly_and_then_the_gap_is_told() {
    tokio::time::pause();
    let away = || Err(BrokerError::Unavailable("away".to_owned()));
    let gap = Gap::filled_with([away(), away(), away(), Ok(page(2..=4, 4))]).await;
    gap.assert_goes_on_with(3..=4).await;
    let began = Instant::now();
    let gap = Gap::filled_with([away()]).await;
    gap.assert_is_told().await;
    assert!((TIME_LIMIT..TIME_LIMIT + 2 * LAST_PAUSE).contains(&began.elapsed()), "{:?}", began.elapsed());
    let asked = gap.since().len();
    // A pause is between half a second and a second in the end.
    assert!((60..125).contains(&asked), "{asked} times");
    let began = Instant::now();
    Gap::filled_with([Err(BrokerError::NoHistory)]).await.assert_is_told().await;
    assert!(began.elapsed() < FIRST_PAUSE, "there is no use in asking again");
}

#[actix_rt::test]
async fn a_channel_that_everybody_has_left_is_read_no_more() {
    tokio::time::pause();
    let gap = Gap::filled_with([Err(BrokerError::Unavailable("away".to_owned()))]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    gap.worker.hub_mut().leave(gap.client.key, "a");
    tokio::time::sleep(2 * LAST_PAUSE).await;
    let asked = gap.since().len();
    tokio::time::sleep(10 * LAST_PAUSE).await;
    assert_eq!(gap.since().len(), asked);
}

#[actix_rt::test]
async fn retries_of_many_channels_are_spread_and_their_pauses_grow() {
    let retry_policy: Vec<_> = (0..100).map(|_| RetryPolicy::new()).collect();
    let pauses: BTreeSet<Duration> = retry_policy.iter().map(RetryPolicy::jittered).collect();
    assert!(pauses.len() > 90, "{} of 100 pauses differ", pauses.len());
    assert!(pauses.iter().all(|pause| (FIRST_PAUSE / 2..=FIRST_PAUSE).contains(pause)));
    tokio::time::pause();
    let mut retry_policy = RetryPolicy::new();
    let mut longest = FIRST_PAUSE;
    for _ in 0..8 {
        let begun = Instant::now();
        assert!(retry_policy.again_after(&BrokerError::Unavailable("gone".to_owned())).await);
        let paused = begun.elapsed();
        let slack = Duration::from_millis(2);
        assert!((longest / 2..=longest + slack).contains(&paused), "{paused:?} of {longest:?}");
        longest = (longest * 2).min(LAST_PAUSE);
    }
    assert!(!retry_policy.again_after(&BrokerError::NoHistory).await);
}
