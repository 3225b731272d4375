//! The events of a queue as who delivers them sees them, and what comes of a delivery.

use super::event::HookEventDraft;

/// An event in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookEvent {
    /// Unique, and the same in all retries: `<partition>-<milliseconds>-<number>`. Ids of a queue ascend.
    pub id: String,
    /// The event, without its endpoints.
    pub draft: HookEventDraft,
    /// Of a session's events: the how manieth of the session, from 1, without a hole. Else 0.
    pub sequence: u64,
    /// Of a session's events: sessions of the user after it, in the cluster; of an anonymous one 0.
    pub user_sessions: u64,
    /// True if it comes again from the dead letters.
    pub replayed: bool,
}

/// The state of delivery from a queue, which outlives the node that delivers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookDeliveryState {
    /// Attempts with the event at the head that failed.
    pub tries: u32,
    /// Unix milliseconds before which it is not tried again; 0: at once.
    pub next_ms: u64,
    /// Id of the event that is tried by itself; empty: none.
    pub suspect: String,
    /// The endpoint wants nothing until then: it answered 410.
    pub is_paused: bool,
}

/// The head of a queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookQueueHead {
    /// The oldest events, in their order.
    pub events: Vec<HookEvent>,
    /// Events that were dropped since the backlog was too long, and not told yet.
    pub dropped: u64,
    /// All that were ever dropped: what [`HookDelivered::dropped_told`] gets once a gap has told of `dropped`.
    pub dropped_mark: u64,
    /// Unix milliseconds of the oldest of them.
    pub dropped_since_ms: u64,
    /// Events that wait, these included.
    pub length: u64,
    /// Bytes that wait.
    pub bytes: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Dead letters that were dropped since there were too many, ever.
    pub dead_letters_dropped: u64,
    /// The state of delivery.
    pub state: HookDeliveryState,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookDelivered {
    /// Ids of events that are done with.
    pub taken: Vec<String>,
    /// Events that become dead letters, with the reason and the attempts.
    pub dead: Vec<(String, String, u32)>,
    /// The [`HookQueueHead::dropped_mark`] of the head whose dropped events a gap has told; 0: no gap was told.
    pub dropped_told: u64,
    /// The state from now on.
    pub state: HookDeliveryState,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadHook {
    /// The event.
    pub event: HookEvent,
    /// Why it was given up.
    pub reason: String,
    /// Attempts.
    pub tries: u32,
    /// Unix milliseconds at which it was given up.
    pub died_ms: u64,
}
