//! The mailbox of a session over HTTP, when it is full.

use super::*;
use crate::connection::state::mailbox_capacity;

#[actix_rt::test]
async fn a_mailbox_takes_so_many_requests_and_the_next_is_told_that_the_session_is_busy() {
    let (bench, _reader) = Bench::open(OVER_REQUESTS, PLENTY).await;
    let capacity = mailbox_capacity(bench.local.node.policy.get().settings.max_subscriptions);
    let mut brought = Vec::new();
    let refused = loop {
        let (messages, taken) = InboundMessages::new(["x".to_owned()]);
        match bench.local.registry.deliver(&bench.id, SessionRequest::Send(messages)) {
            Ok(()) => brought.push(taken),
            Err(refused) => break refused,
        }
        assert!(brought.len() <= capacity, "the mailbox has no bound");
    };
    assert_eq!((refused, brought.len()), (DeliveryError::Busy, capacity));
    // The session has a turn now: every request that was taken in is answered, and there is room again.
    for taken in brought {
        actix_rt::time::timeout(SOON, taken).await.unwrap().unwrap().ok();
    }
    assert!(bench.bring(&["y"]).await.is_some());
}
