//! Tests of the order in which reads get their turn.

use super::*;
use crate::{metrics::clients::ReadMetrics, settings::ReadSettings};

fn budget(clients: usize, max_wait: Duration) -> ReadBudget {
    let settings = ReadSettings { clients, large: 1, api: 1, catch_up: 1, max_wait };
    ReadBudget::new(&settings, 2, ReadMetrics::default())
}

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn reads_wait_in_the_order_in_which_they_came() {
    let budget = budget(1, LONG);
    let held = budget.page(ReadSource::Client).await.unwrap();
    let mut first = Box::pin(budget.page(ReadSource::Client));
    let mut second = Box::pin(budget.page(ReadSource::Client));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    drop(held);
    assert!(second.as_mut().now_or_never().is_none());
    drop(first.await.unwrap());
    second.await.unwrap();
}

#[tokio::test]
async fn clients_backends_and_gaps_do_not_stand_in_one_anothers_line() {
    let budget = budget(1, LONG);
    let _client = budget.page(ReadSource::Client).await.unwrap();
    let _large = budget.large(ReadSource::Client).await.unwrap();
    let _api = budget.page(ReadSource::Api).now_or_never().unwrap().unwrap();
    let _large_of_api = budget.large(ReadSource::Api).now_or_never().unwrap().unwrap();
    budget.page(ReadSource::CatchUp).now_or_never().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waits_too_long_is_refused_for_the_moment_and_a_gap_waits_on() {
    let budget = budget(1, Duration::from_secs(5));
    let held = budget.page(ReadSource::Client).await.unwrap();
    let refused = budget.page(ReadSource::Client).await;
    assert!(matches!(refused, Err(BrokerError::Limit(_))));
    drop(held);
    budget.page(ReadSource::Client).now_or_never().unwrap().unwrap();

    let held = budget.page(ReadSource::CatchUp).await.unwrap();
    let waiting = budget.page(ReadSource::CatchUp);
    let freeing = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(held);
    };
    assert!(tokio::join!(waiting, freeing).0.is_ok());
}
