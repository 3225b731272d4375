//! Steps of the clients of STOMP. Their numbers follow those of the other clients.

use std::sync::Arc;

use super::{CLIENTS, PROCESSES, World};
use crate::simulation::{
    client::SOCKET_BYTES,
    jobs::QUEUES,
    schedule::ScheduleStep,
    stomp::{SimAckMode, StompClient},
};

impl World {
    fn stomp_client(&mut self, client: usize) -> Option<&mut StompClient> {
        self.stomp.get_mut(client.checked_sub(CLIENTS)?)
    }

    /// A step of a client of STOMP; `None` also for steps of others.
    pub(super) fn begin_of_stomp(&mut self, step: &ScheduleStep) -> Option<String> {
        let done = |is_done: bool| is_done.then(String::new);
        match step {
            ScheduleStep::Connect(client, process, worker) => {
                if self.stomp_client(*client)?.is_open() {
                    return None;
                }
                let (near, far) = tokio::io::duplex(SOCKET_BYTES);
                let is_accepted = self.processes.get_mut(*process)?.as_mut()?.accept_stomp(far, *worker);
                if is_accepted {
                    self.stomp_client(*client)?.connect(near, *process);
                }
                done(is_accepted)
            }
            ScheduleStep::Disconnect(client) => {
                let network = self.network.clone();
                let client = self.stomp_client(*client).filter(|client| client.is_open())?;
                client.disconnect(&mut network.0.lock().server.log.jobs);
                done(true)
            }
            ScheduleStep::Read(client) => {
                let network = self.network.clone();
                let process = self.stomp_client(*client)?.process?;
                let process = self.processes.get(process)?.as_ref();
                let is_running = process.is_none_or(|process| !process.is_frozen());
                let client = self.stomp_client(*client)?;
                let has_read = client.read(&mut network.0.lock().server, is_running);
                has_read.then(|| std::mem::take(&mut client.told).join(" | "))
            }
            ScheduleStep::Subscribe(client, channel) => done(self.stomp_client(*client)?.subscribe(channel)),
            ScheduleStep::Unsubscribe(client, channel) => {
                done(self.stomp_client(*client)?.unsubscribe(channel))
            }
            ScheduleStep::Publish(client, channel) => self.stomp_send(*client, channel, false),
            ScheduleStep::Send(client, queue) => self.stomp_send(*client, queue, true),
            ScheduleStep::Consume(client, mode, queue) => {
                let mode = match mode {
                    0 => SimAckMode::Auto,
                    1 => SimAckMode::Client,
                    _ => SimAckMode::Individual,
                };
                done(self.stomp_client(*client)?.consume(queue, mode))
            }
            ScheduleStep::Leave(client, queue) => done(self.stomp_client(*client)?.leave(queue)),
            ScheduleStep::Ack(client, index) => self.stomp_settle(*client, *index, true),
            ScheduleStep::Nack(client, index) => self.stomp_settle(*client, *index, false),
            ScheduleStep::Begin(client) => done(self.stomp_client(*client)?.begin()),
            ScheduleStep::Commit(client) => {
                let network = self.network.clone();
                done(self.stomp_client(*client)?.commit(&mut network.0.lock().server))
            }
            ScheduleStep::Abort(client) => done(self.stomp_client(*client)?.abort()),
            ScheduleStep::Goodbye(client) => done(self.stomp_client(*client)?.send_disconnect()),
            _ => None,
        }
    }

    fn stomp_send(&mut self, client: usize, name: &Arc<str>, is_queue: bool) -> Option<String> {
        let number = self.next_number + 1;
        let network = self.network.clone();
        let server = &mut network.0.lock().server;
        let is_sent = self.stomp_client(client)?.publish(name, number, is_queue, server);
        self.next_number = number;
        is_sent.then(|| format!("number {number}"))
    }

    fn stomp_settle(&mut self, client: usize, index: usize, is_handled: bool) -> Option<String> {
        let network = self.network.clone();
        let is_settled = self.stomp_client(client)?.settle(index, is_handled, &mut network.0.lock().server);
        is_settled.then(String::new)
    }

    /// A round of settling: those that took part are there, and handle whatever is in the queues.
    pub(super) async fn settle_stomp(&mut self) {
        for client in CLIENTS..CLIENTS + self.stomp.len() {
            if !self.stomp_client(client).is_some_and(|client| client.is_used) {
                continue;
            }
            self.carry_out(&ScheduleStep::Connect(client, client % PROCESSES, client)).await;
            self.carry_out(&ScheduleStep::Commit(client)).await;
            for channel in self.stomp_client(client).map(|client| client.unasked()).unwrap_or_default() {
                self.carry_out(&ScheduleStep::Subscribe(client, channel)).await;
            }
            for queue in QUEUES {
                self.carry_out(&ScheduleStep::Consume(client, 2, queue.into())).await;
                self.carry_out(&ScheduleStep::Consume(client, 2, format!("{queue}.dead").into())).await;
            }
            while self.carry_out(&ScheduleStep::Ack(client, 0)).await {}
        }
    }

    /// All clients of STOMP go.
    pub(super) fn end_stomp(&mut self) {
        let state = &mut *self.network.0.lock();
        self.stomp.iter_mut().for_each(|client| client.disconnect(&mut state.server.log.jobs));
    }
}
