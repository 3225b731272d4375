//! Steps of the clients that receive over HTTP. Their numbers follow those of the clients of STOMP.

use super::World;
use crate::simulation::{
    receive::{FIRST, Receiver, WorkerTarget},
    schedule::ScheduleStep,
};

impl World {
    /// A step of such a client; `None` also for steps of others.
    pub(super) fn begin_of_receiver(&mut self, step: &ScheduleStep) -> Option<String> {
        let done = |is_done: bool| is_done.then(String::new);
        match step {
            ScheduleStep::Connect(client, process, worker) => {
                done(self.ask(*client, *process, *worker, |it, target| it.connect(target))?)
            }
            ScheduleStep::Poll(client, process, worker, seconds) => {
                done(self.ask(*client, *process, *worker, |it, target| it.poll(target, *seconds))?)
            }
            ScheduleStep::Post(client, worker) => {
                done(self.ask(*client, 0, *worker, |it, target| it.post(target))?)
            }
            ScheduleStep::Read(client) => {
                let network = self.network.clone();
                let receiver = self.receiver(*client)?;
                let has_read = receiver.read(&mut network.0.lock().server.log);
                has_read.then(|| receiver.take_told())
            }
            ScheduleStep::Disconnect(client) => {
                let owner = self.receiver(*client).filter(|it| it.is_open())?.owner();
                let process = owner.and_then(|owner| self.processes.get(owner)?.as_ref());
                let is_running = process.is_some_and(|process| !process.is_frozen());
                self.receiver(*client)?.lose_connections(is_running);
                done(true)
            }
            ScheduleStep::Subscribe(client, channel) => done(self.receiver(*client)?.subscribe(channel)),
            ScheduleStep::Unsubscribe(client, channel) => done(self.receiver(*client)?.unsubscribe(channel)),
            ScheduleStep::Publish(client, channel) => {
                self.receiver(*client)?;
                let data = self.next_data();
                done(self.receiver(*client)?.publish(channel, &data))
            }
            ScheduleStep::Presence(client, channel) => done(self.receiver(*client)?.presence(channel)),
            ScheduleStep::History(client, channel) => done(self.receiver(*client)?.history(channel)),
            _ => None,
        }
    }

    fn receiver(&mut self, client: usize) -> Option<&mut Box<dyn Receiver>> {
        self.receivers.get_mut(client.checked_sub(FIRST)?)
    }

    /// Lets a client make a request. One for a session goes to the process that holds it.
    fn ask(
        &mut self,
        client: usize,
        process: usize,
        worker: usize,
        act: impl FnOnce(&mut dyn Receiver, WorkerTarget<'_>) -> bool,
    ) -> Option<bool> {
        let receiver = self.receivers.get_mut(client.checked_sub(FIRST)?)?;
        let index = receiver.owner().unwrap_or(process);
        let Some(process) = self.processes.get_mut(index)?.as_mut() else {
            // Nobody is there to take its request.
            let was_open = receiver.owner().is_some();
            receiver.disconnect();
            return Some(was_open);
        };
        Some(act(&mut **receiver, WorkerTarget { process, index, worker }))
    }

    /// A round of settling: those that took part come back.
    pub(super) async fn settle_receivers(&mut self) {
        for index in 0..self.receivers.len() {
            let receiver = self.receivers.get(index).filter(|receiver| receiver.is_used());
            for step in receiver.map(|receiver| receiver.settle(FIRST + index)).unwrap_or_default() {
                self.carry_out(&step).await;
            }
        }
    }
}
