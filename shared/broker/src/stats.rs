//! What a broker counts for operators. Readiness tells the truth (`docs/protocols/http.md` §6.2), and figures show why.

use std::time::Duration;

/// A snapshot of a broker's counters; all zero where a broker has nothing to say. Those that count only grow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrokerStats {
    /// Servers that this node is to be connected to: 1, or the primaries of a cluster; 0 without any.
    pub servers: usize,
    /// Connections for requests that were lost after they had been usable.
    pub request_connections_lost: u64,
    /// The same of connections that listen.
    pub listening_connections_lost: u64,
    /// Bytes that the broker itself keeps in this process: histories, queues and idempotency keys; presence is not
    /// counted in bytes.
    pub memory_bytes: usize,
    /// Requests without an answer at the moment.
    pub pending_requests: usize,
    /// What they take, in bytes.
    pub pending_bytes: usize,
    /// How long ago the node heard itself, through the server where that is longest; absent before the first time.
    pub canary_age: Option<Duration>,
    /// Canaries that a server did not publish: publishing did not work at that moment.
    pub canaries_refused: u64,
    /// Messages of channels that arrived, wanted or not; messages of nodes and canaries are not among them.
    pub messages_received: u64,
    /// Gaps told to the node, each of one channel.
    pub gaps_told: u64,
    /// Requests that a server of a cluster did not carry out, since their slot was another's or on its way.
    pub redirected: u64,
    /// Publishes that ended with [`crate::BrokerError::Unavailable`].
    pub publishes_unavailable: u64,
    /// Publishes that ended with [`crate::BrokerError::UnknownOutcome`].
    pub publishes_unknown: u64,
    /// Messages of work queues that went to their queue of dead letters.
    pub dead_letters: u64,
    /// Attempts to move one that failed, since that queue was full or its server away. The message waits and is tried again.
    pub dead_letters_waiting: u64,
}
