//! Hooks of several nodes over one store: the tracker, the flush, the reaper and the leases together, in simulated time. Delivery to
//! receivers on real sockets.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod delivery;
mod faulty_store;
pub(crate) mod folded;
mod grace;
mod nodes;
mod random_runs;
mod receiver;
mod two_nodes;

use gorani_broker::hook_store::{HookEvent, HookEventDraft, HookQueueHead};

/// A draft of this kind.
pub(super) fn draft(kind: &str) -> HookEventDraft {
    HookEventDraft {
        kind: serde_json::from_value(kind.into()).unwrap(),
        time_ms: 5,
        node: "n1".into(),
        client: "".into(),
        user: "".into(),
        channel: "".into(),
        details: bytes::Bytes::new(),
        meta: bytes::Bytes::new(),
        endpoints: [0].into(),
    }
}

/// An event of this kind.
pub(super) fn event(id: &str, kind: &str) -> HookEvent {
    HookEvent { id: id.to_owned(), draft: draft(kind), sequence: 0, user_sessions: 0, replayed: false }
}

/// A head with these events.
pub(super) fn head(events: Vec<HookEvent>) -> HookQueueHead {
    HookQueueHead { length: events.len() as u64, events, ..HookQueueHead::default() }
}
