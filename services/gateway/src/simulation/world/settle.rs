//! The end of a run: nothing breaks any more, all that is under way goes its way, and then everything must be in order.

use std::time::Duration;

use super::{CLIENTS, World};
use crate::simulation::{
    backend::{GRANT, SimBackend},
    client::SimClient,
    process::Process,
    receive::FIRST,
    schedule::ScheduleStep,
    stomp::StompClient,
};

/// Time after the last step within which everything has to be in order again.
const SETTLED_AFTER: Duration = Duration::from_secs(150);
/// A pause between two rounds of settling.
const ROUND: Duration = Duration::from_secs(2);
/// Movements of one round at most; more are a loop without an end.
const MOVEMENTS: usize = 20_000;

impl World {
    /// Nothing breaks any more: all comes to rest, then all clients go. Gives what is not in order at either end.
    pub(in crate::simulation) async fn end(&mut self) -> Vec<String> {
        self.settle(true).await;
        let mut wrong = self.violations();
        if wrong.is_empty() {
            wrong = self.check();
            wrong.extend(self.check_hooks());
        }
        if !wrong.is_empty() {
            return wrong;
        }
        self.note(|| "all clients go".to_owned());
        self.clients.iter_mut().for_each(SimClient::disconnect);
        self.end_stomp();
        self.receivers.iter_mut().for_each(|receiver| receiver.disconnect());
        self.settle(false).await;
        wrong = self.violations();
        if wrong.is_empty() {
            wrong = self.check_empty();
            wrong.extend(self.check_hooks());
        }
        wrong
    }

    /// Nothing breaks any more: everything goes its way until all is in order, or ought to be.
    async fn settle(&mut self, reconnect: bool) {
        let mut passed = Duration::ZERO;
        while passed < SETTLED_AFTER && self.violations().is_empty() {
            for index in 0..self.processes.len() {
                self.carry_out(&ScheduleStep::Start(index)).await;
                self.carry_out(&ScheduleStep::Heal(index)).await;
            }
            self.processes.iter_mut().flatten().for_each(Process::thaw);
            for index in 0..self.clients.len() {
                if reconnect {
                    self.carry_out(&ScheduleStep::Connect(index, index % self.processes.len(), index)).await;
                }
                for channel in self.clients.get(index).map(SimClient::unasked).unwrap_or_default() {
                    self.carry_out(&ScheduleStep::Subscribe(index, channel)).await;
                }
            }
            if reconnect {
                self.settle_stomp().await;
                self.settle_receivers().await;
            }
            self.flow().await;
            self.note(|| format!("wait {}", ROUND.as_millis()));
            self.pass(ROUND).await;
            self.run().await;
            passed += ROUND;
        }
        self.flow().await;
    }

    /// Carries out all that is under way, in order.
    pub(in crate::simulation) async fn flow(&mut self) {
        self.run().await;
        for _ in 0..MOVEMENTS {
            let steps = self.movements();
            let mut has_moved = false;
            for step in steps {
                has_moved |= self.carry_out(&step).await;
            }
            if !has_moved {
                return;
            }
        }
        self.network.0.lock().server.log.violations.push("it does not come to rest".to_owned());
    }

    /// All that is under way: one step for each line.
    pub(in crate::simulation) fn movements(&self) -> Vec<ScheduleStep> {
        let mut steps = Vec::new();
        let state = self.network.0.lock();
        for (index, process) in self.processes.iter().enumerate() {
            let Some(link) = process.as_ref().and_then(|process| state.links.get(process.link)) else {
                continue;
            };
            steps.extend(link.waiting.keys().map(|line| ScheduleStep::Execute(index, line.as_str().into())));
            steps.extend(link.answers.keys().map(|line| ScheduleStep::Answer(index, line.as_str().into())));
            steps.extend(link.pushed.keys().map(|channel| ScheduleStep::Receive(index, channel.clone())));
        }
        steps.extend(
            (0..self.clients.len())
                .filter(|index| self.clients.get(*index).is_some_and(SimClient::is_open))
                .map(ScheduleStep::Read),
        );
        let calls = self.backend.iter().flat_map(SimBackend::waiting);
        steps.extend(calls.map(|call| ScheduleStep::Reply(call, GRANT)));
        let is_open = |(_, client): &(usize, &StompClient)| client.is_open();
        steps
            .extend((CLIENTS..).zip(&self.stomp).filter(is_open).map(|(index, _)| ScheduleStep::Read(index)));
        steps.extend((FIRST..).zip(&self.receivers).flat_map(|(index, receiver)| receiver.movements(index)));
        steps
    }
}
