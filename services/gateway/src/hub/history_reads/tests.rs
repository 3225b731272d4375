//! Tests of sharing: some readers share a page, and others must not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use futures_util::future::join_all;
use gorani_broker::{Position, Publication};
use tokio::sync::oneshot;

use super::*;
use crate::hub::tests::HISTORY;

mod budget;
mod pages;

/// Receives the answer of a read.
type Answer = oneshot::Sender<Result<HistoryPage, BrokerError>>;

/// A stream whose reads see its top when they are asked for, and are answered when the test says so.
#[derive(Clone, Default)]
pub(in crate::hub) struct Stream {
    pub(in crate::hub) top: Arc<AtomicU64>,
    /// The publications of each answer.
    pub(in crate::hub) publications: Arc<Mutex<Vec<Arc<Publication>>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl Stream {
    pub(in crate::hub) fn reads(&self) -> Arc<HistoryReads> {
        let stream = self.clone();
        Arc::new(HistoryReads::with(Arc::default(), move |_, _, _| {
            let (answer, answered) = oneshot::channel();
            stream.asked.lock().push(stream.top.load(Ordering::SeqCst));
            stream.answers.lock().push(answer);
            async move { answered.await.unwrap() }.boxed()
        }))
    }

    /// Waits until so many reads were asked for.
    pub(in crate::hub) async fn until_asked(&self, count: usize) {
        let until = async {
            while self.asked.lock().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), until).await.unwrap();
    }

    pub(in crate::hub) fn asked(&self) -> usize {
        self.asked.lock().len()
    }

    /// Answers the oldest read that is not answered yet, with the top that it saw.
    pub(in crate::hub) fn answer(&self) {
        let answer = self.answers.lock().remove(0);
        let number = self.asked.lock().len() - self.answers.lock().len() - 1;
        let top = Position { offset: *self.asked.lock().get(number).unwrap(), epoch: "e".into() };
        let publications = self.publications.lock().clone();
        assert!(answer.send(Ok(HistoryPage { publications, top, ..HistoryPage::default() })).is_ok());
    }

    fn fail(&self) {
        let answer = self.answers.lock().remove(0);
        assert!(answer.send(Err(BrokerError::Unavailable("away".to_owned()))).is_ok());
    }
}

fn after_offset(offset: u64) -> HistoryRead {
    let query = HistoryQuery { limit: 10, since: Some(offset), ..HistoryQuery::default() };
    HistoryRead { channel: "a".into(), query, source: ReadSource::Client }
}

async fn top(reads: &HistoryReads, after: ReadVersion) -> Result<u64, BrokerError> {
    Ok(reads.read(after_offset(0), HISTORY, after).await?.top.offset)
}

#[tokio::test]
async fn all_who_miss_the_same_share_one_read() {
    let stream = Stream::default();
    let reads = stream.reads();
    let gap = reads.now();
    let answering = async {
        stream.until_asked(1).await;
        stream.answer();
    };
    let (tops, ()) = tokio::join!(join_all((0..5).map(|_| top(&reads, gap))), answering);
    assert_eq!(tops, vec![Ok(0); 5]);
    assert_eq!(stream.asked(), 1);
    assert!(reads.in_flight.lock().is_empty());
}

#[tokio::test]
async fn nobody_is_given_a_page_that_was_read_before_live_events_reached_him() {
    let stream = Stream::default();
    let reads = stream.reads();
    let early = {
        let reads = reads.clone();
        tokio::spawn(async move { top(&reads, reads.now()).await })
    };
    stream.until_asked(1).await;
    // Published after that read: whoever subscribes from here on gets it neither live nor in that page.
    stream.top.store(1, Ordering::SeqCst);
    let late: Vec<_> = (0..5)
        .map(|_| {
            let (reads, subscribed) = (reads.clone(), reads.now());
            tokio::spawn(async move { top(&reads, subscribed).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(stream.asked(), 1, "they wait for the read under way");
    stream.answer();
    assert_eq!(early.await.unwrap(), Ok(0));
    stream.until_asked(2).await;
    stream.answer();
    for top in late {
        assert_eq!(top.await.unwrap(), Ok(1));
    }
    assert_eq!(stream.asked(), 2, "and share the next one");
    assert!(reads.in_flight.lock().is_empty());
}

#[tokio::test]
async fn different_places_are_read_apart_and_failures_are_shared() {
    let stream = Stream::default();
    let reads = stream.reads();
    let now = reads.now();
    let failing = async {
        stream.until_asked(2).await;
        stream.fail();
        stream.fail();
    };
    let other = reads.read(after_offset(7), HISTORY, now);
    let (one, two, other, ()) = tokio::join!(top(&reads, now), top(&reads, now), other, failing);
    assert!(one.is_err() && two.is_err() && other.is_err());
    assert_eq!(stream.asked(), 2);
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_any_more_is_forgotten_and_holds_nobody_up() {
    let stream = Stream::default();
    let reads = stream.reads();
    let abandoned = tokio::time::timeout(Duration::from_millis(5), top(&reads, reads.now()));
    assert!(abandoned.await.is_err());
    assert!(reads.in_flight.lock().is_empty());
    let answering = async {
        stream.until_asked(2).await;
        stream.answers.lock().remove(0);
        stream.answer();
    };
    let (top, ()) = tokio::join!(top(&reads, reads.now()), answering);
    assert_eq!(top, Ok(0));
}
