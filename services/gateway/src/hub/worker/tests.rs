//! The inbox: what does not fit is told, whenever it is noticed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use gorani_broker::{MemoryBroker, MemorySettings, Publication};

use super::*;
use crate::hub::tests::{Client, NO_HISTORY};

fn start() -> (Rc<Worker>, Inbox) {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let interest = Arc::new(Interest::new(broker.clone()));
    Worker::start(0, usize::MAX, broker, interest, Arc::default())
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
async fn an_overflow_that_is_noticed_when_the_inbox_is_empty_again_is_told_at_once() {
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    // The worker has seen its empty inbox and sleeps.
    actix_rt::time::sleep(Duration::from_millis(10)).await;
    inbox.mark_gapped(&Arc::from("a"));
    assert!(is_told(&client).await);
    assert_eq!(worker.metrics.inbox_overflows.get(), 1);
}

#[actix_rt::test]
async fn more_events_than_an_inbox_holds_are_told_and_those_that_fitted_are_counted_off() {
    let (worker, inbox) = start();
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.join(&mut worker.hub_mut(), NO_HISTORY, None);
    let channel: Arc<str> = "a".into();
    let event = Event::Publication(Arc::new(Publication { data: b"1"[..].into(), ..Publication::default() }));
    for _ in 0..=INBOX_ENTRIES {
        inbox.event(&channel, event.clone());
    }
    assert!(is_told(&client).await);
    for _ in 0..200 {
        if inbox.load.bytes.load(Ordering::Relaxed) == 0 {
            return;
        }
        actix_rt::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("bytes of the inbox are still counted");
}
