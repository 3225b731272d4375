//! How much of everything a run does: the full measurement, or a smoke run of seconds.

use std::time::Duration;

use crate::server::Start;

/// Counts and sizes of all measurements.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) repeats: usize,
    pub(crate) start: Start,
    /// Fan-out: subscribers of the one channel.
    pub(crate) subscribers: usize,
    /// Fan-out: publications at once, and how many such rounds make one repeat. The rounds are chosen so that
    /// a repeat costs the server about half a second.
    pub(crate) in_flight: Vec<(u64, u64)>,
    /// Fan-out: payload sizes in bytes.
    pub(crate) payloads_bytes: Vec<usize>,
    /// Memory and set-up: connections.
    pub(crate) connections: usize,
    /// Publishing: requests of a sequential and of a pipelined repeat, and batches of a batch repeat.
    pub(crate) requests: PublishCounts,
    /// Listing: channels, each with one subscriber.
    pub(crate) channels: usize,
    /// Instructions: subscribers, and rounds of the longer run over the shorter.
    pub(crate) instructions: (usize, u64),
    /// Latency: subscribers, publications per second, and for how long.
    pub(crate) latency: LatencyPlan,
}

/// See [`Plan::requests`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishCounts {
    pub(crate) sequential: usize,
    pub(crate) pipelined: usize,
    pub(crate) batches: usize,
    pub(crate) batch_of: usize,
}

/// See [`Plan::latency`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct LatencyPlan {
    pub(crate) subscribers: usize,
    pub(crate) per_second: u32,
    pub(crate) lasting: Duration,
}

impl Plan {
    /// The two that are compared: the node and the baseline, or a new and an old node.
    pub(crate) fn names(&self) -> [&'static str; 2] {
        if self.start.old.is_some() { ["new", "old"] } else { ["gateway", "stock"] }
    }

    /// The measurement whose numbers are kept.
    pub(crate) fn full(repeats: usize, start: Start) -> Self {
        Self {
            repeats,
            start,
            subscribers: 2_000,
            in_flight: vec![(1, 60), (8, 25), (32, 15)],
            payloads_bytes: vec![128, 1024],
            connections: 10_000,
            requests: PublishCounts { sequential: 5_000, pipelined: 40_000, batches: 50, batch_of: 1_000 },
            channels: 1_000_000,
            instructions: (100, 60),
            latency: LatencyPlan { subscribers: 500, per_second: 100, lasting: Duration::from_secs(4) },
        }
    }

    /// Everything once, small: shows that it works, not how fast.
    pub(crate) fn smoke(start: Start) -> Self {
        Self {
            repeats: 1,
            start,
            subscribers: 50,
            in_flight: vec![(1, 2), (32, 2)],
            payloads_bytes: vec![128, 1024],
            connections: 200,
            requests: PublishCounts { sequential: 100, pipelined: 320, batches: 2, batch_of: 1_000 },
            channels: 2_000,
            instructions: (5, 2),
            latency: LatencyPlan { subscribers: 20, per_second: 200, lasting: Duration::from_millis(500) },
        }
    }
}
