//! The bytes that are sent at a stretch.
#![allow(clippy::unwrap_used, reason = "tests")]

use futures_util::FutureExt as _;
use gorani_broker::{Broker, DataKind, MemoryBroker, MemorySettings};

use super::*;
use crate::hub::{
    history_reads::HistoryReads,
    interest::Interest,
    tests::{Client, HISTORY},
};

/// So many publications in each piece of a replay of publications that have `bytes` of data.
async fn pieces(publications: usize, bytes: usize) -> Vec<usize> {
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(MemorySettings::default()));
    let (interest, reads) = (
        Arc::new(Interest::new(broker.clone())),
        Arc::new(HistoryReads::new(broker.clone(), Arc::default())),
    );
    let (worker, _inbox) =
        Worker::start(0, usize::MAX, broker, interest, reads, Arc::default(), Arc::default());
    let client = Client::enter(&mut worker.hub_mut(), "one");
    client.begin(&mut worker.hub_mut(), HISTORY, None);
    let generation = worker.hub().generation(client.key(), "a").unwrap();
    let data = vec![b'1'; bytes].into();
    let publication = Arc::new(Publication { data, kind: DataKind::Text, ..Publication::default() });
    let missed = vec![publication; publications];
    let mut replay =
        Box::pin(worker.clone().replay_in_pieces(client.key(), "a".into(), generation, missed, None));
    let mut pieces = Vec::new();
    // It pauses after each piece, and ends after the pause.
    while replay.as_mut().now_or_never().is_none() {
        pieces.push(client.seen().len());
    }
    pieces
}

#[actix_rt::test]
async fn a_piece_is_full_with_the_publication_that_reaches_its_size() {
    let in_a_piece = 256;
    let bytes = PIECE_BYTES / in_a_piece - AROUND_BYTES;
    assert_eq!(pieces(2 * in_a_piece + 1, bytes).await, [in_a_piece, in_a_piece, 1]);
}

#[actix_rt::test]
async fn publications_without_data_fill_a_piece_too() {
    let in_a_piece = PIECE_BYTES.div_ceil(AROUND_BYTES);
    assert_eq!(pieces(in_a_piece + 1, 0).await, [in_a_piece, 1]);
}
