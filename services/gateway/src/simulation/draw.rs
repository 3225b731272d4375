//! Draws the next step by chance. It draws the faults of the whole run first: a run with few faults goes deeper than one in
//! which everything breaks.

mod receive;
mod stomp;

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    backend::{ANSWERS, SimBackend, asks},
    receive::receivers,
    schedule::ScheduleStep,
    world::{CHANNELS, CLIENTS, PROCESSES, WORKERS, World},
};

/// The weight with which something is drawn, against the others.
type Weight = u32;

/// The number of things that can break in a run.
const FAULTS: usize = 9;

/// Draws the steps of a run.
pub(super) struct Draw {
    random: StdRng,
    /// Channels and clients of this run: with few of them more happens to each.
    channels: Vec<&'static str>,
    clients: usize,
    faults: [bool; FAULTS],
    fault_weight: Weight,
    /// Set in runs with clients of STOMP.
    stomp: Option<stomp::StompDraw>,
    /// Set in runs with clients that receive over HTTP.
    receive: Option<receive::ReceiveDraw>,
    /// Set in runs in which a backend is asked.
    asks: bool,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let faults = std::array::from_fn(|_| random.random_bool(0.4));
        let fault_weight: Weight = random.random_range(1..8);
        let count = random.random_range(1..=CHANNELS.len());
        let channels = CHANNELS.sample(&mut random, count).copied().collect();
        let clients = random.random_range(1..=CLIENTS);
        let stomp = stomp::StompDraw::of_seed(seed);
        let clients = stomp.as_ref().map_or(clients, |stomp| stomp.others.min(clients));
        let receive = receive::ReceiveDraw::of_seed(seed, receivers().len());
        let clients = receive.as_ref().map_or(clients, |receive| receive.others.min(clients));
        Self { random, channels, clients, faults, fault_weight, stomp, receive, asks: asks(seed) }
    }

    /// The next step in this world.
    pub(super) fn next(&mut self, world: &World) -> ScheduleStep {
        let mut choices: Vec<(Weight, ScheduleStep)> = Vec::with_capacity(64);
        let pace = self.pace();
        choices.extend(world.movements().into_iter().map(|step| (12 * pace, step)));
        self.add_clients(world, &mut choices);
        self.add_stomp(world, &mut choices);
        self.add_receivers(world, &mut choices);
        self.add_faults(world, &mut choices);
        let total: Weight = choices.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.random_range(0..total.max(1));
        for (weight, step) in choices {
            if drawn < weight {
                return step;
            }
            drawn -= weight;
        }
        ScheduleStep::Wait(1)
    }

    /// Queues and requests need many movements for one message: there less breaks and ends between two of them.
    fn pace(&self) -> Weight {
        if self.stomp.is_some() || self.receive.is_some() { 4 } else { 1 }
    }

    fn channel(&mut self) -> Arc<str> {
        Arc::from(*self.channels.choose(&mut self.random).unwrap_or(&CHANNELS[0]))
    }

    fn add_clients(&mut self, world: &World, choices: &mut Vec<(Weight, ScheduleStep)>) {
        for (index, client) in world.clients.iter().enumerate().take(self.clients) {
            if !client.is_open() {
                let (process, worker) =
                    (self.random.random_range(0..PROCESSES), self.random.random_range(0..WORKERS));
                choices.push((10, ScheduleStep::Connect(index, process, worker)));
                continue;
            }
            choices.push((1, ScheduleStep::Disconnect(index)));
            if !client.is_connected() {
                continue;
            }
            choices.extend(
                client.unasked().into_iter().map(|channel| (6, ScheduleStep::Subscribe(index, channel))),
            );
            choices.push((4, ScheduleStep::Subscribe(index, self.channel())));
            choices.push((2, ScheduleStep::Unsubscribe(index, self.channel())));
            choices.push((2, ScheduleStep::Publish(index, self.channel())));
            choices.push((1, ScheduleStep::Presence(index, self.channel())));
            choices.push((1, ScheduleStep::History(index, self.channel())));
            if self.asks {
                choices.push((4, ScheduleStep::Call(index)));
            }
            choices.push((
                1,
                ScheduleStep::ApiUnsubscribe(self.random.random_range(0..PROCESSES), index, self.channel()),
            ));
        }
        let channels = self.stomp.as_ref().map_or(1, |stomp| stomp.channels);
        let channels = if self.receive.is_some() { receive::PUBLICATIONS } else { channels };
        choices.push((
            6 * channels,
            ScheduleStep::ApiPublish(self.random.random_range(0..PROCESSES), self.channel()),
        ));
        let time = *[1, 20, 60, 300, 1100, 4000, 11_000, 26_000].choose(&mut self.random).unwrap_or(&1);
        choices.push((3, ScheduleStep::Wait(time)));
    }

    fn add_faults(&mut self, world: &World, choices: &mut Vec<(Weight, ScheduleStep)>) {
        let process = self.random.random_range(0..PROCESSES);
        let worker = self.random.random_range(0..WORKERS);
        let count = self.random.random_range(0..3);
        let client = self.random.random_range(0..CLIENTS);
        for call in world.backend.iter().flat_map(SimBackend::waiting) {
            // Mostly it grants, as all that is under way goes on.
            choices.push((4, ScheduleStep::Reply(call, self.random.random_range(0..ANSWERS))));
        }
        // Whatever broke is mended sooner or later.
        let pace = self.pace();
        choices.push((4 * pace, ScheduleStep::Heal(process)));
        choices.push((2 * pace, ScheduleStep::Thaw(process, worker)));
        if world.processes.get(process).is_some_and(Option::is_none) {
            choices.push((4 * pace, ScheduleStep::Start(process)));
        }
        let faults = [
            ScheduleStep::Kill(process, count),
            ScheduleStep::Freeze(process, worker),
            ScheduleStep::Lose(process, self.channel()),
            ScheduleStep::Cut(process, count),
            ScheduleStep::Failover(count),
            ScheduleStep::Expire(self.channel()),
            ScheduleStep::Forget(self.channel()),
            ScheduleStep::Wait(45_000),
            ScheduleStep::Disconnect(client),
        ];
        let (weight, is_on) = (self.fault_weight, self.faults);
        choices.extend(
            faults.into_iter().zip(is_on).filter(|(_, is_on)| *is_on).map(|(step, _)| (weight, step)),
        );
    }
}
