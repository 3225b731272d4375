//! The simulated world: processes, clients and the network between them. It carries steps out, one after the other, and looks
//! after each whether what must hold holds.

mod receive;
mod settle;
mod stomp;

use std::{cell::Cell, rc::Rc, time::Duration};

use bytes::Bytes;
use gorani_broker::Publication;

use super::{
    backend::SimBackend,
    client::{SOCKET_BYTES, SimClient},
    counts::RunCounts,
    embedded,
    leaks::EndedNodes,
    network::SimNetwork,
    process::Process,
    receive::{FIRST, Receiver, receivers},
    schedule::ScheduleStep,
    settings::{asking_settings, settings},
    stomp::StompClient,
};
use crate::{
    clock,
    session_command::{SessionCommand, SessionTarget},
};

/// Processes, workers of each, clients.
pub(super) const PROCESSES: usize = 2;
pub(super) const WORKERS: usize = 2;
pub(super) const CLIENTS: usize = 3;
/// Clients of STOMP.
pub(super) const STOMP_CLIENTS: usize = 2;
/// The client that gets joins and leaves. After a gap it is sent away, so the others must not be as it is.
pub(super) const WATCHER: usize = 1;
/// With history and recovery; with history of two publications; without history.
pub(super) const CHANNELS: [&str; 3] = ["kept:a", "short:b", "live:c"];

/// The simulated world.
pub(super) struct World {
    pub(super) network: SimNetwork,
    /// Its only process has the embedded broker.
    is_embedded: bool,
    /// The backend that nodes ask, where they do.
    pub(super) backend: Option<SimBackend>,
    pub(super) processes: Vec<Option<Process>>,
    pub(super) clients: Vec<SimClient>,
    /// Their numbers follow those of the others.
    pub(super) stomp: Vec<StompClient>,
    /// Theirs follow those.
    pub(super) receivers: Vec<Box<dyn Receiver>>,
    pub(super) next_number: u64,
    /// Requests of backends that have not ended.
    pub(super) asked: Vec<BackendRequest>,
    /// The steps that were carried out, in words; nothing where nobody reads it.
    pub(super) trace: Vec<String>,
    pub(super) is_traced: bool,
    /// Steps that were carried out, by kind.
    pub(super) steps: RunCounts,
    /// Processes that were killed.
    pub(super) ended: EndedNodes,
}

/// A request of a backend.
pub(super) struct BackendRequest {
    pub(super) what: String,
    pub(super) link: usize,
    pub(super) ended: Rc<Cell<bool>>,
}

impl Drop for World {
    /// The nodes hold the network and the network the nodes.
    fn drop(&mut self) {
        self.network.0.lock().links.clear();
    }
}

fn start(network: &SimNetwork, is_embedded: bool, asks: bool) -> Process {
    let settings = if asks { asking_settings() } else { settings() };
    match is_embedded {
        true => Process::start_embedded(network, settings, WORKERS),
        false => Process::start(network, settings, WORKERS),
    }
}

impl World {
    /// With the embedded broker there is one process. `asks`: its nodes ask a backend.
    pub(super) fn new(is_embedded: bool, asks: bool) -> Self {
        clock::simulated::set(true);
        let backend = asks.then(SimBackend::default);
        if let Some(backend) = &backend {
            backend.install();
        }
        let network = SimNetwork::default();
        let count = if is_embedded { 1 } else { PROCESSES };
        let processes = (0..count).map(|_| Some(start(&network, is_embedded, asks))).collect();
        let clients = (0..CLIENTS).map(|index| {
            let client = SimClient::new(format!("client {index}"), index == WATCHER);
            client.asking(backend.clone())
        });
        let clients = clients.collect();
        let stomp =
            (CLIENTS..CLIENTS + STOMP_CLIENTS).map(|index| StompClient::new(format!("client {index}")));
        let stomp = stomp.collect();
        Self {
            network,
            is_embedded,
            backend,
            processes,
            clients,
            stomp,
            receivers: receivers(),
            next_number: 0,
            asked: Vec::new(),
            trace: Vec::new(),
            is_traced: true,
            steps: RunCounts::default(),
            ended: EndedNodes::default(),
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            self.trace.push(what());
        }
    }

    /// The end of the world: all its processes end. Nothing may be left of them.
    pub(super) fn leave(mut self) -> EndedNodes {
        let mut ended = std::mem::take(&mut self.ended);
        self.processes.iter().flatten().for_each(|process| ended.add(process));
        ended
    }

    /// Carries a step out and whatever follows from it. False if it made no sense.
    pub(super) async fn carry_out(&mut self, step: &ScheduleStep) -> bool {
        let Some(said) = self.begin(step).await else { return false };
        self.steps.add(step.name());
        self.note(|| if said.is_empty() { step.to_string() } else { format!("{step}: {said}") });
        self.run().await;
        true
    }

    /// Runs all processes until nothing more can run.
    async fn run(&mut self) {
        let mut has_run = true;
        while has_run {
            has_run = false;
            for process in self.processes.iter_mut().flatten() {
                has_run |= process.run();
            }
            // Tasks that have yielded are woken when the runtime has its turn.
            tokio::task::yield_now().await;
        }
    }

    fn link(&self, process: usize) -> Option<usize> {
        self.processes.get(process)?.as_ref().map(|process| process.link)
    }

    async fn begin(&mut self, step: &ScheduleStep) -> Option<String> {
        let done = |is_done: bool| is_done.then(String::new);
        match step {
            // There is no link that they could concern.
            ScheduleStep::Execute(..)
            | ScheduleStep::Answer(..)
            | ScheduleStep::Receive(..)
            | ScheduleStep::Lose(..)
                if self.is_embedded =>
            {
                None
            }
            ScheduleStep::Cut(..)
            | ScheduleStep::Heal(_)
            | ScheduleStep::Failover(_)
            | ScheduleStep::Forget(_)
                if self.is_embedded =>
            {
                None
            }
            ScheduleStep::Expire(channel) if self.is_embedded => {
                let memory = self.network.0.lock().server.embedded.clone();
                done(embedded::expire(&memory, channel))
            }
            ScheduleStep::Start(process) => {
                let slot = self.processes.get_mut(*process).filter(|slot| slot.is_none())?;
                *slot = Some(start(&self.network, self.is_embedded, self.backend.is_some()));
                done(true)
            }
            ScheduleStep::Kill(process, executed) => {
                let process = self.processes.get_mut(*process)?.take()?;
                self.ended.add(&process);
                process.kill(*executed);
                done(true)
            }
            ScheduleStep::Freeze(process, worker) => {
                done(self.processes.get_mut(*process)?.as_mut()?.freeze(*worker, true))
            }
            ScheduleStep::Thaw(process, worker) => {
                done(self.processes.get_mut(*process)?.as_mut()?.freeze(*worker, false))
            }
            ScheduleStep::Execute(process, line) => self.network.execute(self.link(*process)?, line),
            ScheduleStep::Answer(process, line) => self.network.answer(self.link(*process)?, line),
            ScheduleStep::Receive(process, channel) => {
                self.network.receive(self.link(*process)?, channel).map(str::to_owned)
            }
            ScheduleStep::Lose(process, channel) => done(self.network.lose(self.link(*process)?, channel)),
            ScheduleStep::Cut(process, executed) => done(self.network.cut(self.link(*process)?, *executed)),
            ScheduleStep::Heal(process) => {
                let process = self.processes.get(*process)?.as_ref()?;
                done(self.network.heal(process.link, process.id()))
            }
            ScheduleStep::Failover(count) => {
                for process in self.processes.iter().flatten() {
                    self.network.cut(process.link, 0);
                }
                self.network.0.lock().server.forget_newest(*count as u64);
                done(true)
            }
            ScheduleStep::Expire(channel) => {
                self.network.0.lock().server.expire(channel);
                done(true)
            }
            ScheduleStep::Forget(channel) => {
                self.network.0.lock().server.forget_stream(channel);
                done(true)
            }
            ScheduleStep::Wait(milliseconds) => {
                self.pass(Duration::from_millis(*milliseconds as u64)).await;
                done(true)
            }
            ScheduleStep::Reply(call, way) => self.backend.as_ref()?.answer(*call, *way),
            ScheduleStep::ApiPublish(process, channel) => self.api_publish(*process, channel),
            ScheduleStep::ApiUnsubscribe(process, client, channel) => {
                self.api_unsubscribe(*process, *client, channel)
            }
            step => {
                let begun = self.begin_of_receiver(step).or_else(|| self.begin_of_stomp(step));
                begun.or_else(|| self.begin_of_client(step))
            }
        }
    }

    fn begin_of_client(&mut self, step: &ScheduleStep) -> Option<String> {
        let done = |is_done: bool| is_done.then(String::new);
        match step {
            ScheduleStep::Connect(client, process, worker) => {
                let client = self.clients.get_mut(*client).filter(|client| !client.is_open())?;
                let accepting = self.processes.get_mut(*process)?.as_mut()?;
                let (near, far) = tokio::io::duplex(SOCKET_BYTES);
                let is_accepted = accepting.accept(far, *worker);
                if is_accepted {
                    client.connect(near, *process);
                }
                done(is_accepted)
            }
            ScheduleStep::Disconnect(client) => {
                let client = self.clients.get_mut(*client).filter(|client| client.is_open())?;
                client.disconnect();
                done(true)
            }
            ScheduleStep::Read(client) => {
                let client = self.clients.get_mut(*client)?;
                if !client.read(&mut self.network.0.lock().server.log) {
                    return None;
                }
                Some(std::mem::take(&mut client.told).join(" "))
            }
            ScheduleStep::Subscribe(client, channel) => {
                done(self.clients.get_mut(*client)?.subscribe(channel))
            }
            ScheduleStep::Unsubscribe(client, channel) => {
                done(self.clients.get_mut(*client)?.unsubscribe(channel))
            }
            ScheduleStep::Publish(client, channel) => {
                let data = self.next_data();
                done(self.clients.get_mut(*client)?.publish(channel, &data))
            }
            ScheduleStep::Call(client) => {
                self.backend.as_ref()?;
                let data = self.next_data();
                done(self.clients.get_mut(*client)?.call(self.next_number, &data))
            }
            ScheduleStep::Presence(client, channel) => done(self.clients.get_mut(*client)?.presence(channel)),
            ScheduleStep::History(client, channel) => done(self.clients.get_mut(*client)?.history(channel)),
            _ => None,
        }
    }

    pub(super) fn next_data(&mut self) -> String {
        self.next_number += 1;
        format!("{{\"n\":{}}}", self.next_number)
    }

    fn api_publish(&mut self, process: usize, channel: &str) -> Option<String> {
        let data = Bytes::from(self.next_data());
        let process = self.processes.get(process)?.as_ref()?;
        let node = process.node.clone()?;
        let publication = Publication { data, time_ms: clock::unix_ms(), ..Publication::default() };
        let published = node.publisher.publish(channel, publication, false, None);
        let ended = Rc::new(Cell::new(false));
        self.asked.push(BackendRequest {
            what: format!("publish {channel}"),
            link: process.link,
            ended: ended.clone(),
        });
        process.spawn(async move {
            // A backend gets the outcome, whatever it is.
            let _ = published.await;
            ended.set(true);
        });
        Some(format!("number {}", self.next_number))
    }

    fn api_unsubscribe(&mut self, process: usize, client: usize, channel: &str) -> Option<String> {
        let id = match self.clients.get(client) {
            Some(client) => client.id.clone()?,
            None if client < FIRST => self.stomp.get(client.checked_sub(CLIENTS)?)?.id.clone()?,
            None => self.receivers.get(client.checked_sub(FIRST)?)?.id()?.to_owned(),
        };
        let process = self.processes.get(process)?.as_ref()?;
        let node = process.node.clone()?;
        let target = SessionTarget { user: String::new(), client: Some(id), session: None };
        let command = SessionCommand::Unsubscribe { target, channel: channel.to_owned() };
        process.spawn(async move { node.workers.dispatch_command(command).await });
        Some(String::new())
    }

    /// Lets time pass, so that timers fire.
    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
        tokio::task::yield_now().await;
    }

    /// The violations of the run so far.
    pub(super) fn violations(&self) -> Vec<String> {
        let state = self.network.0.lock();
        let log = &state.server.log;
        let mut violations: Vec<String> =
            log.violations.iter().chain(&log.jobs.violations).cloned().collect();
        violations.extend(self.backend.iter().flat_map(|backend| backend.violations(log)));
        if self.processes.iter().flatten().any(Process::is_spinning) {
            violations.push("tasks wake one another without an end".to_owned());
        }
        violations.extend(self.ended.leaks());
        violations
    }
}
