//! The state that the backend believes at rest: the events of hooks, folded, beside what the nodes have.

use futures_util::future::FutureExt as _;
use gorani_broker::Broker as _;

use super::{
    settings::{HOOK_ENDPOINT, HOOK_PARTITIONS},
    world::World,
};
use crate::hooks::tests::folded::{ClusterState, FoldedEvents};

impl World {
    /// Lists what a backend that was sent all events believes wrongly, and what was out of order.
    pub(super) fn check_hooks(&self) -> Vec<String> {
        let folded = self.folded_events();
        let mut wrong: Vec<String> =
            folded.faults.iter().map(|fault| format!("the backend was sent {fault}")).collect();
        let (believed, is) = (folded.state(), self.state_of_nodes());
        if believed.sessions != is.sessions {
            wrong.push(format!(
                "the backend believes in sessions {:?} of {:?}",
                believed.sessions, is.sessions
            ));
        }
        if believed.channels != is.channels {
            wrong.push(format!(
                "the backend believes in channels {:?} of {:?}",
                believed.channels, is.channels
            ));
        }
        wrong
    }

    /// All events that wait for the backend: it took none of them.
    fn folded_events(&self) -> FoldedEvents {
        let state = &mut *self.network.0.lock();
        let embedded = state.server.embedded.upgrade();
        let mut folded = FoldedEvents::default();
        for partition in 0..HOOK_PARTITIONS {
            let memory = embedded.as_deref().unwrap_or_else(|| state.server.hooks.memory());
            let head = memory
                .hook_store()
                .and_then(|store| store.head(partition, HOOK_ENDPOINT, u32::MAX, u64::MAX).now_or_never());
            for event in head.and_then(Result::ok).unwrap_or_default().events {
                folded.take_in(partition, &event);
            }
        }
        folded
    }

    /// The sessions and channels of the nodes.
    fn state_of_nodes(&self) -> ClusterState {
        let mut all = ClusterState::default();
        for worker in self.processes.iter().flatten().flat_map(|process| process.workers()) {
            for session in worker.hub().registry().identified() {
                let channels = session.channel_names();
                let channels = channels.iter().map(|channel| channel.to_string()).collect();
                all.channels.extend(session.channel_names().iter().map(|channel| channel.to_string()));
                all.sessions.insert(session.client.to_string(), channels);
            }
        }
        all
    }
}
