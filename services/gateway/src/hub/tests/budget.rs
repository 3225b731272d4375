//! A worker's measurements of memory: what it publishes, and whom it ends.

use std::{rc::Rc, sync::Arc, time::Duration};

use bytes::Bytes;
use gorani_broker::{Broker, MemoryBroker, MemorySettings};

use super::Client;
use crate::{
    hub::{history_reads::HistoryReads, inbox::Inbox, interest::Interest, worker::Worker},
    memory::{LARGE_REPLY_BYTES, MemoryBudget, holders::STALLED_MEASUREMENTS},
};

const KIB: usize = 1024;

struct Bench {
    worker: Rc<Worker>,
    memory: Arc<MemoryBudget>,
    _inbox: Inbox,
}

impl Bench {
    fn start(limit_bytes: usize, replies_max_bytes: usize) -> Self {
        tokio::time::pause();
        let memory = Arc::new(MemoryBudget::new(limit_bytes, replies_max_bytes));
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
        let interest = Arc::new(Interest::new(broker.clone()));
        let reads = Arc::new(HistoryReads::new(broker.clone(), Arc::default()));
        let (worker, inbox) =
            Worker::start(0, usize::MAX, broker, interest, reads, Arc::default(), memory.clone());
        Self { worker, memory, _inbox: inbox }
    }

    fn holder(&self, bytes: Bytes) -> Client {
        let client = Client::enter(&mut self.worker.hub_mut(), "one");
        client.outbox.push(bytes).unwrap();
        client
    }

    fn private(&self, bytes: usize) -> Client {
        self.holder(vec![0; bytes].into())
    }
}

async fn measurements(count: u32) {
    tokio::time::sleep(Duration::from_millis(200) * count + Duration::from_millis(1)).await;
}

#[actix_rt::test]
async fn what_clients_hold_is_published_while_they_hold_it() {
    let bench = Bench::start(usize::MAX, usize::MAX);
    assert!(Arc::ptr_eq(&bench.worker.hub().memory, &bench.memory), "replies draw on the same budget");
    let client = bench.private(100 * KIB);
    measurements(1).await;
    assert_eq!(bench.memory.client_bytes(), 100 * KIB);
    client.outbox.pop().unwrap();
    measurements(1).await;
    assert_eq!(bench.memory.client_bytes(), 0);
}

#[actix_rt::test]
async fn over_the_budget_as_many_of_the_largest_are_ended_as_it_takes() {
    let bench = Bench::start(150 * KIB, usize::MAX);
    let clients = [100, 300, 200].map(|kib| bench.private(kib * KIB));
    measurements(1).await;
    assert_eq!(clients.each_ref().map(Client::is_ended_as_slow), [false, true, true]);
    assert_eq!((bench.memory.client_bytes(), bench.memory.ended()), (100 * KIB, 2));
    // Their actors drop what waits for them.
    clients.iter().filter(|client| client.is_ended_as_slow()).for_each(|client| drop(client.outbox.pop()));
    measurements(5).await;
    assert_eq!(bench.memory.ended(), 2);
}

#[actix_rt::test]
async fn bytes_that_many_share_count_once_where_it_matters() {
    let bench = Bench::start(150 * KIB, usize::MAX);
    let shared = Bytes::from(vec![0; 100 * KIB]);
    let clients = [(); 3].map(|()| bench.holder(shared.clone()));
    measurements(3).await;
    assert!(!clients.iter().any(Client::is_ended_as_slow));
    assert_eq!(bench.memory.client_bytes(), 100 * KIB);
}

#[actix_rt::test]
async fn a_client_that_reads_nothing_is_ended_once_replies_are_refused() {
    let bench = Bench::start(usize::MAX, 100 * KIB);
    let clients = [200, 100].map(|kib| bench.private(kib * KIB));
    measurements(2 * STALLED_MEASUREMENTS).await;
    assert!(!clients.iter().any(Client::is_ended_as_slow), "no reply is refused yet");
    let _under_way = bench.memory.try_reply(100 * KIB).unwrap();
    assert!(bench.memory.try_reply(1).is_none());
    measurements(1).await;
    assert_eq!(clients.each_ref().map(Client::is_ended_as_slow), [true, false]);
    assert_eq!(bench.memory.held().total(), 100 * KIB);
    measurements(2 * STALLED_MEASUREMENTS).await;
    assert_eq!(clients.each_ref().map(Client::is_ended_as_slow), [true, false], "one for each refusal");
}

#[actix_rt::test]
async fn one_reason_at_a_time_is_enough_to_end_somebody() {
    let bench = Bench::start(250 * KIB, usize::MAX);
    let stalled = bench.private(100 * KIB);
    measurements(STALLED_MEASUREMENTS).await;
    let large = bench.private(200 * KIB);
    measurements(0).await;
    bench.memory.set_broker(0, 250 * KIB);
    let refused = bench.memory.try_reply(usize::MAX);
    assert!(refused.is_none() || bench.memory.replies_refused() == 0);
    drop(refused);
    measurements(1).await;
    assert!(large.is_ended_as_slow() && !stalled.is_ended_as_slow());
}

#[actix_rt::test]
async fn a_reply_needs_a_permit_from_the_threshold_on() {
    let bench = Bench::start(usize::MAX, LARGE_REPLY_BYTES);
    assert!(bench.worker.reads.reserve_reply(LARGE_REPLY_BYTES - 1).unwrap().is_none());
    let permit = bench.worker.reads.reserve_reply(LARGE_REPLY_BYTES).unwrap();
    assert!(permit.is_some());
    assert!(bench.worker.reads.reserve_reply(LARGE_REPLY_BYTES + 1).is_err());
    drop(permit);
    assert!(bench.worker.reads.reserve_reply(LARGE_REPLY_BYTES + 1).unwrap().is_some());
}
