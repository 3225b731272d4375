//! The state that the backend believes at rest: the events of hooks, folded, beside what the nodes have.

use std::collections::BTreeSet;

use futures_util::future::FutureExt as _;
use gorani_broker::Broker as _;
use serde_json::Value;

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
        if believed.members != is.members {
            wrong.push(format!("the backend believes in members {:?} of {:?}", believed.members, is.members));
        }
        wrong.extend(self.check_publications(&folded));
        wrong
    }

    /// Lists publications that the backend was sent wrongly, and those of clients that it was not sent although they were acknowledged.
    fn check_publications(&self, folded: &FoldedEvents) -> Vec<String> {
        let state = &mut *self.network.0.lock();
        let (mut wrong, mut sent) = (Vec::new(), BTreeSet::new());
        for (channel, details) in &folded.publications {
            let number = details.pointer("/data/n").and_then(Value::as_u64);
            let accepted = number.and_then(|number| state.server.log.get(channel, number));
            let is_right = accepted.is_some_and(|accepted| {
                details["offset"] == accepted.offset
                    && (accepted.offset == 0 || details["epoch"] == *accepted.epoch)
            });
            if !is_right {
                wrong.push(format!("the backend was sent {details} of {channel}, and it is {accepted:?}"));
            }
            sent.extend(number.map(|number| (channel.as_str(), number)));
        }
        // Events in memory end with it.
        if state.server.hooks.was_lost {
            return wrong;
        }
        for (channel, number) in self.clients.iter().flat_map(|client| &client.published) {
            if !sent.contains(&(&**channel, *number)) {
                wrong.push(format!("the backend was not sent {number} of {channel}"));
            }
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

    /// The sessions, channels and members of the nodes.
    fn state_of_nodes(&self) -> ClusterState {
        let mut all = ClusterState::default();
        for worker in self.processes.iter().flatten().flat_map(|process| process.workers()) {
            for session in worker.hub().registry().identified() {
                let names = session.channel_names();
                for channel in &names {
                    let is_present = session.subscription(channel).is_some_and(|(_, is_present)| is_present);
                    if is_present && !session.user.is_empty() {
                        all.members.insert((channel.to_string(), session.user.to_string()));
                    }
                }
                let channels: BTreeSet<String> = names.iter().map(|channel| channel.to_string()).collect();
                all.channels.extend(channels.iter().cloned());
                all.sessions.insert(session.client.to_string(), channels);
            }
        }
        all
    }
}
