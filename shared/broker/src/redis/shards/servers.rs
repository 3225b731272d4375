//! The servers behind a broker, as operators see them: their numbers, and each of them.

use super::{Shard, Shards};
use crate::{BrokerStats, server_status::ServerStatus};

impl Shards {
    /// The numbers of the servers, and of the requests without an answer.
    pub(in crate::redis) fn stats(&self) -> BrokerStats {
        let shards = self.shards();
        let offsets = shards.iter().filter_map(|shard| shard.pubsub.canary(|canary| canary.clock_offset()));
        let round_trips = shards
            .iter()
            .map(|shard| (shard.address.clone(), shard.pubsub.canary(|canary| canary.round_trips().clone())));
        let silences = shards.iter().filter_map(|shard| shard.pubsub.canary(|canary| canary.silence()));
        let (pending_requests, pending_bytes) = self.common.limits.pending();
        BrokerStats {
            pending_requests,
            pending_bytes,
            canary_age: silences.max(),
            servers: shards.len(),
            servers_connected: shards.iter().filter(|shard| shard.is_up()).count(),
            clock_offset: offsets.max_by(|one, other| one.abs().total_cmp(&other.abs())),
            round_trips: round_trips.collect(),
            request_times: self.common.counters.request_times.read(),
            ..BrokerStats::default()
        }
    }
    /// The servers of now.
    pub(in crate::redis) fn servers(&self) -> Vec<ServerStatus> {
        let limit = self.settings.canary_timeout;
        self.shards().iter().map(|shard| shard.status(shard.trouble(limit))).collect()
    }
}

impl Shard {
    fn status(&self, trouble: Option<String>) -> ServerStatus {
        let (requests, listener) = (self.requests.status().past(), self.listener.status().past());
        let since = requests.up_since_ms.zip(listener.up_since_ms);
        let (canary_age, round_trip) =
            self.pubsub.canary(|canary| (canary.silence(), canary.last_round_trip()));
        // Each error has its time at its front, so that the later one of both is the greater one.
        let last_error = requests.last_error.max(listener.last_error).map(|(_, reason)| reason);
        let (pending_requests, pending_bytes) = self.requests.pending();
        ServerStatus {
            address: self.address.clone(),
            trouble,
            connected_since_ms: since.map(|(one, other)| one.max(other)),
            connections_lost: requests.lost + listener.lost,
            last_error,
            canary_age,
            round_trip,
            pending_requests,
            pending_bytes,
            subscriptions: self.pubsub.wanted(),
            facts: self.requests.facts(),
        }
    }
}
