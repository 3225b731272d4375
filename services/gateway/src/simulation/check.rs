//! Checks of the end of a run: at rest, and when all clients have gone.

use std::collections::BTreeSet;

use super::{
    client::SimClient,
    stomp::StompClient,
    world::{CHANNELS, World},
};

impl World {
    /// Lists what is wrong although all had the time to be right.
    pub(super) fn check(&self) -> Vec<String> {
        let state = &mut *self.network.0.lock();
        let mut wrong = state.server.log.violations.clone();
        let there = |channel: &str, id: &str| {
            let of_client =
                self.clients.iter().find(|client| client.id.as_deref() == Some(id)).map(SimClient::wanted);
            let of_stomp =
                || self.stomp.iter().find(|client| client.id.as_deref() == Some(id)).map(StompClient::wanted);
            let of_receiver = || {
                let receiver = self.receivers.iter().find(|receiver| receiver.id() == Some(id));
                receiver.map(|receiver| receiver.present_in())
            };
            let wanted = of_client.or_else(of_stomp).or_else(of_receiver).unwrap_or_default();
            wanted.iter().any(|name| **name == *channel)
        };
        for client in &self.clients {
            let top = |channel: &str| state.server.top(channel);
            wrong.extend(client.check(&state.server.log, top, there));
        }
        for client in &self.stomp {
            wrong.extend(client.check(&state.server));
        }
        for receiver in &self.receivers {
            let top = |channel: &str| state.server.top(channel);
            wrong.extend(receiver.check(&state.server.log, &top, &there));
        }
        for node in self.processes.iter().flatten().filter_map(|process| process.node.as_ref()) {
            let running = node.proxies.running();
            if running > 0 {
                wrong.push(format!("{running} calls of the backend are under way for nobody"));
            }
        }
        wrong.extend(state.server.log.jobs.unseen(|job| state.server.queue_has(job)));
        if self.stomp.iter().any(|client| client.is_used) {
            // Consumers have taken whatever there was.
            let left = state.server.queued().map(|(job, owner)| match owner {
                Some(owner) => format!("{}: {} is held by {owner}, and settled by nobody", job.queue, job.id),
                None => format!("{}: {} waits, and nobody takes it", job.queue, job.id),
            });
            wrong.extend(left);
        }
        let ids = self.clients.iter().filter_map(|client| client.id.as_deref());
        let ids = ids.chain(self.stomp.iter().filter_map(|client| client.id.as_deref()));
        let ids: Vec<&str> = ids.chain(self.receivers.iter().filter_map(|receiver| receiver.id())).collect();
        for channel in CHANNELS {
            let present: BTreeSet<String> =
                state.server.present(&channel.into()).iter().map(|info| info.client.clone()).collect();
            for id in &ids {
                if there(channel, id) && !present.contains(*id) {
                    wrong.push(format!("{channel}: {id} is not present"));
                }
            }
            for id in present.iter().filter(|id| !there(channel, id)) {
                wrong.push(format!("{channel}: {id} is a ghost in presence"));
            }
        }
        for asked in self.asked.iter().filter(|asked| !asked.ended.get()) {
            // A client of a process that was killed sees that the connection is gone.
            if state.links.get(asked.link).is_some_and(|link| !link.is_dead) {
                wrong.push(format!("{} was never answered", asked.what));
            }
        }
        wrong
    }

    /// All clients have gone: what is left of them although all had the time to go.
    pub(super) fn check_empty(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            let Some(process) = process else { continue };
            for worker in process.workers() {
                let hub = worker.hub();
                if hub.channel_count() > 0 {
                    wrong.push(format!(
                        "process {index}: worker {} keeps {} channels",
                        worker.index,
                        hub.channel_count()
                    ));
                }
                if hub.registry().all().count() > 0 {
                    wrong.push(format!("process {index}: worker {} keeps sessions", worker.index));
                }
                if worker.consumers.count() > 0 {
                    wrong.push(format!("process {index}: worker {} keeps queues", worker.index));
                }
                if !worker.subscriptions.interest.is_empty() {
                    wrong.push(format!(
                        "process {index} keeps interest in {} channels",
                        worker.subscriptions.interest.len()
                    ));
                }
            }
            if process.held_sessions() + process.waiting() > 0 {
                wrong.push(format!("process {index} keeps sessions or polls of HTTP"));
            }
            if process.node.as_ref().is_some_and(|node| node.admission.connections() > 0) {
                wrong.push(format!("process {index} counts connections"));
            }
        }
        let state = &mut *self.network.0.lock();
        for channel in CHANNELS {
            if !state.server.present(&channel.into()).is_empty() {
                wrong.push(format!("{channel}: presence is not empty"));
            }
            if state.server.subscribers.get(channel).is_some_and(|nodes| !nodes.is_empty()) {
                wrong.push(format!("{channel}: a node is subscribed still"));
            }
        }
        for (job, owner) in state.server.queued() {
            if let Some(owner) = owner {
                wrong.push(format!("{}: {} is held by {owner}, without a consumer", job.queue, job.id));
            }
        }
        wrong.extend(state.server.log.violations.iter().cloned());
        wrong
    }
}
