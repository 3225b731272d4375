//! A read of several pages: how it goes on, and where it ends.

use std::collections::VecDeque;

use super::*;
use crate::{metrics::clients::ReadMetrics, settings::ReadSettings};

const EACH: u64 = 1000;

fn page(offsets: &[u64], truncated: bool) -> HistoryPage {
    let publication = |offset: &u64| Publication {
        offset: *offset,
        data: vec![b'1'; EACH as usize].into(),
        ..Publication::default()
    };
    HistoryPage {
        publications: offsets.iter().map(|offset| Arc::new(publication(offset))).collect(),
        top: Position { offset: 9, epoch: "e".into() },
        truncated,
        ..HistoryPage::default()
    }
}

/// Reads with these pages as the answers; returns the offsets, whether there is more, and what was asked.
async fn read(
    query: HistoryQuery,
    source: ReadSource,
    settings: &ReadSettings,
    pages: &[HistoryPage],
) -> (Result<(Vec<u64>, bool), BrokerError>, Vec<HistoryQuery>) {
    let pages = Mutex::new(VecDeque::from(pages.to_vec()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let queries = asked.clone();
    let ask: Arc<PageReader> = Arc::new(move |_: &str, query, _| {
        queries.lock().push(query);
        let page = pages.lock().pop_front().unwrap();
        async move { Ok(page) }.boxed()
    });
    let budget = Arc::new(ReadBudget::new(settings, 1, ReadMetrics::default()));
    let key = HistoryRead { channel: "a".into(), query, source };
    let whole = read_pages(ask, budget, key, HISTORY).await;
    let whole = whole.map(|page| {
        (page.publications.iter().map(|publication| publication.offset).collect(), page.truncated)
    });
    let asked = asked.lock().clone();
    (whole, asked)
}

fn query(limit: u32, max_bytes: u64, reverse: bool) -> HistoryQuery {
    HistoryQuery { limit, since: Some(if reverse { 7 } else { 0 }), reverse, max_bytes: Some(max_bytes) }
}

#[tokio::test]
async fn a_read_goes_on_where_its_page_was_cut_in_either_direction() {
    for (reverse, pages) in [
        (false, [page(&[1, 2], true), page(&[3, 4], true), page(&[5], false)]),
        (true, [page(&[6, 5], true), page(&[4, 3], true), page(&[2], false)]),
    ] {
        let settings = ReadSettings::default();
        let (whole, asked) = read(query(7, 9 * EACH, reverse), ReadSource::Client, &settings, &pages).await;
        let expected = if reverse { [6, 5, 4, 3, 2] } else { [1, 2, 3, 4, 5] };
        assert_eq!(whole, Ok((expected.to_vec(), false)));
        let asked: Vec<_> = asked.iter().map(|query| (query.limit, query.since, query.max_bytes)).collect();
        let since = if reverse { [7, 5, 3] } else { [0, 2, 4] };
        let expected = [(7, 9), (5, 7), (3, 5)].into_iter().zip(since);
        let expected: Vec<_> =
            expected.map(|((limit, bytes), since)| (limit, Some(since), Some(bytes * EACH))).collect();
        assert_eq!(asked, expected);
        assert!(!reverse || whole.is_ok());
    }
}

#[tokio::test]
async fn a_page_is_never_asked_for_more_bytes_than_a_page_may_have() {
    let (_, asked) = read(
        query(7, 10 * PAGE_BYTES, false),
        ReadSource::Client,
        &ReadSettings::default(),
        &[page(&[1], true), page(&[2], false)],
    )
    .await;
    assert!(asked.len() == 2 && asked.iter().all(|query| query.max_bytes == Some(PAGE_BYTES)));
}

#[tokio::test]
async fn what_does_not_fit_into_the_bytes_or_does_not_join_is_left_for_the_next_read() {
    let settings = ReadSettings::default();
    let other_epoch = {
        let mut page = page(&[3], false);
        page.top.epoch = "f".into();
        page
    };
    for (max, second, expected) in [
        // To the byte.
        (3 * EACH, page(&[3], false), (vec![1, 2, 3], false)),
        (3 * EACH - 1, page(&[3], false), (vec![1, 2], true)),
        (2 * EACH, page(&[3], false), (vec![1, 2], true)),
        (9 * EACH, page(&[4], false), (vec![1, 2], true)),
        (9 * EACH, page(&[], false), (vec![1, 2], false)),
        (9 * EACH, other_epoch, (vec![1, 2], true)),
    ] {
        let pages = [page(&[1, 2], true), second];
        let (whole, asked) = read(query(7, max, false), ReadSource::Client, &settings, &pages).await;
        assert_eq!(whole, Ok(expected));
        assert_eq!(asked.len(), if max == 2 * EACH { 1 } else { 2 });
    }
    // A page that was cut before its first publication.
    let (whole, _) = read(query(7, EACH, false), ReadSource::Api, &settings, &[page(&[], true)]).await;
    assert_eq!(whole, Ok((vec![], true)));
}

#[tokio::test]
async fn bytes_of_all_pages_count_together() {
    let pages = [page(&[1], true), page(&[2], true), page(&[3], true), page(&[4], true)];
    let settings = ReadSettings::default();
    let (whole, asked) = read(query(9, 3 * EACH, false), ReadSource::Client, &settings, &pages).await;
    assert_eq!((whole, asked.len()), (Ok((vec![1, 2, 3], true)), 3));
}

#[tokio::test]
async fn a_gap_is_read_page_by_page_by_whoever_fills_it() {
    let (whole, asked) =
        read(query(7, 9 * EACH, false), ReadSource::CatchUp, &ReadSettings::default(), &[page(&[1], true)])
            .await;
    assert_eq!((whole, asked.len()), (Ok((vec![1], true)), 1));
}

#[tokio::test]
async fn the_position_alone_waits_for_nobody() {
    let settings = ReadSettings { clients: 0, max_wait: Duration::from_millis(1), ..ReadSettings::default() };
    let (whole, _) = read(query(0, EACH, false), ReadSource::Client, &settings, &[page(&[], false)]).await;
    assert_eq!(whole, Ok((vec![], false)));
    let (whole, _) = read(query(1, EACH, false), ReadSource::Client, &settings, &[page(&[1], false)]).await;
    assert!(matches!(whole, Err(BrokerError::Limit(_))));
}

#[tokio::test]
async fn a_read_is_shared_until_the_last_of_its_askers_is_gone() {
    let stream = Stream::default();
    let reads = stream.reads();
    let before = reads.now();
    let key = after_offset(0);
    let first = reads.ask(&key, HISTORY, before);
    let second = reads.ask(&key, HISTORY, before);
    drop(first);
    let third = reads.ask(&key, HISTORY, before);
    assert_eq!(second.begun, third.begun);
    let (page, ()) = tokio::join!(second.page.clone(), async {
        stream.until_asked(1).await;
        stream.answer();
    });
    assert!(page.is_ok());
    // It is over, and not too early for who comes with a moment before it.
    assert_eq!(top(&reads, before).await, Ok(0));
    assert_eq!(stream.asked(), 1);
    drop((second, third));
    assert!(reads.in_flight.lock().is_empty());
}

#[test]
fn reads_keep_the_budget_that_they_are_given() {
    let budget = Arc::new(ReadBudget::new(&ReadSettings::default(), 5, ReadMetrics::default()));
    let reads = HistoryReads::with(budget.clone(), |_, _, _| async { Ok(page(&[], false)) }.boxed());
    assert!(Arc::ptr_eq(reads.budget(), &budget));
    assert_eq!(reads.budget().per_connection(), 5);
    let labels = [ReadSource::Client, ReadSource::Api, ReadSource::CatchUp].map(ReadSource::label);
    assert_eq!(labels, ["client", "api", "catch_up"]);
}
