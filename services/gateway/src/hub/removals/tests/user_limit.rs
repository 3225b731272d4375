//! Slots among a user's connections, with a broker whose clock is moved by hand.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{rc::Rc, time::Duration};

use gorani_broker::{Broker, MemoryBroker, MemorySettings, memory::ManualClock};

use super::*;
use crate::hub::{history_reads::HistoryReads, interest::Interest, tests::Client, worker::Worker};

const MORE_THAN_HALF: Duration = Duration::from_secs(40);

struct Bench {
    clock: Arc<ManualClock>,
    broker: Arc<dyn Broker>,
    worker: Rc<Worker>,
}

impl Bench {
    fn start() -> Self {
        let clock = Arc::<ManualClock>::default();
        let broker: Arc<dyn Broker> =
            Arc::new(MemoryBroker::with_clock(MemorySettings::default(), clock.clone()));
        let interest = Arc::new(Interest::new(broker.clone()));
        let reads = Arc::new(HistoryReads::new(broker.clone(), Arc::default()));
        let (worker, _) =
            Worker::start(0, usize::MAX, broker.clone(), interest, reads, Arc::default(), Arc::default());
        Self { clock, broker, worker }
    }

    /// A session of user 42 that has its slot.
    async fn holder(&self, client: &str) -> Client {
        let session = Client::enter(&mut self.worker.hub_mut(), client);
        self.worker.hub_mut().registry_mut().identify(session.key(), "42".into(), client.into());
        self.worker.user_limit.hold(session.key(), 2);
        let entry = self.broker.cluster().connection_enter("42", client, USER_SLOT_TTL, 2).await.unwrap();
        assert_eq!(entry, ConnectionEntry::Entered);
        session
    }

    async fn holders(&self) -> Vec<String> {
        self.broker.cluster().connection_holders("42").await.unwrap()
    }
}

#[actix_rt::test]
async fn a_slot_is_kept_while_the_session_lasts_and_given_back_once() {
    let bench = Bench::start();
    let [one, _other] = [bench.holder("one").await, bench.holder("other").await];
    for _ in 0..3 {
        bench.clock.advance(MORE_THAN_HALF);
        bench.worker.user_limit.refresh().await.unwrap();
        assert_eq!(bench.holders().await, ["one", "other"]);
    }
    bench.worker.leave_all(one.key());
    assert_eq!(bench.holders().await, ["other"]);
    bench.worker.deregister(one.key(), None);
    bench.worker.user_limit.refresh().await.unwrap();
    assert_eq!(bench.holders().await, ["other"]);
}

#[actix_rt::test]
async fn a_slot_that_was_lost_is_taken_again_and_without_room_the_session_ends() {
    let bench = Bench::start();
    let sessions = [bench.holder("one").await, bench.holder("other").await];
    bench.clock.advance(2 * USER_SLOT_TTL);
    bench.worker.user_limit.refresh().await.unwrap();
    assert_eq!(bench.holders().await, ["one", "other"]);
    bench.clock.advance(2 * USER_SLOT_TTL);
    let stranger = bench.broker.cluster().connection_enter("42", "stranger", USER_SLOT_TTL, 2).await;
    assert_eq!(stranger, Ok(ConnectionEntry::Entered));
    bench.worker.user_limit.refresh().await.unwrap();
    assert_eq!(bench.holders().await.len(), 2);
    let mut ended = 0;
    for session in &sessions {
        ended += usize::from(session.was_told_to_end(3504).await);
    }
    assert_eq!(ended, 1);
}

#[actix_rt::test]
async fn of_two_sessions_the_one_whose_slot_was_lost_takes_it_again() {
    let bench = Bench::start();
    let _sessions = [bench.holder("one").await, bench.holder("other").await];
    bench.clock.advance(MORE_THAN_HALF);
    bench.broker.cluster().connection_refresh("42", &["one"], USER_SLOT_TTL).await.unwrap();
    bench.clock.advance(MORE_THAN_HALF);
    assert_eq!(bench.holders().await, ["one"]);
    bench.worker.user_limit.refresh().await.unwrap();
    assert_eq!(bench.holders().await, ["one", "other"]);
}
