//! Draws the next steps of STOMP clients. Every other seed has some, so that the rest of a run goes deeper without them.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{Draw, Weight};
use crate::simulation::{
    jobs::QUEUES,
    schedule::ScheduleStep,
    world::{CLIENTS, PROCESSES, STOMP_CLIENTS, WORKERS, World},
};

/// Messages in queues from which on more are seldom sent.
const ENOUGH: usize = 4;

/// Draws for a run with such clients.
pub(super) struct StompDraw {
    /// Its own, so that runs without them stay what they are.
    random: StdRng,
    clients: usize,
    /// Clients of the client protocol at most.
    pub(super) others: usize,
    /// Process and worker, where all connect to the same: consumers of one worker share its name towards the broker.
    place: Option<(usize, usize)>,
    /// The chances of queues and of channels.
    queues: Weight,
    pub(super) channels: Weight,
    /// The chances that a message is acknowledged, and refused.
    acks: Weight,
    nacks: Weight,
}

impl StompDraw {
    pub(super) fn of_seed(seed: u64) -> Option<Self> {
        if seed.is_multiple_of(2) {
            return None;
        }
        let mut random = StdRng::seed_from_u64(!seed);
        let clients = random.random_range(1..=STOMP_CLIENTS);
        let (queues, channels) = *[(1, 0), (1, 0), (0, 1), (1, 1)].choose(&mut random).unwrap_or(&(1, 1));
        let others = random.random_range(0..=1);
        let place = (random.random_range(0..PROCESSES), random.random_range(0..WORKERS));
        let place = random.random_bool(0.5).then_some(place);
        let (acks, nacks) = (random.random_range(0..80), random.random_range(0..40));
        Some(Self { random, clients, others, place, queues, channels, acks, nacks })
    }

    fn queue(&mut self) -> Arc<str> {
        let queue = QUEUES.choose(&mut self.random).unwrap_or(&QUEUES[0]);
        if self.random.random_bool(0.1) { format!("{queue}.dead").into() } else { Arc::from(*queue) }
    }
}

impl Draw {
    pub(super) fn add_stomp(&mut self, world: &World, choices: &mut Vec<(Weight, ScheduleStep)>) {
        let Some(mut draw) = self.stomp.take() else { return };
        // Full queues refuse everything: that is to happen, and seldom.
        let sends = if world.network.0.lock().server.queued().count() < ENOUGH { 24 } else { 2 };
        for (index, client) in (CLIENTS..).zip(&world.stomp).take(draw.clients) {
            if !client.is_open() {
                let anywhere = (draw.random.random_range(0..PROCESSES), draw.random.random_range(0..WORKERS));
                let (process, worker) = draw.place.unwrap_or(anywhere);
                choices.push((60, ScheduleStep::Connect(index, process, worker)));
                continue;
            }
            choices.push((1, ScheduleStep::Disconnect(index)));
            if !client.is_connected() {
                continue;
            }
            choices.push((1, ScheduleStep::Goodbye(index)));
            if client.has_transaction() {
                choices.extend([(12, ScheduleStep::Commit(index)), (6, ScheduleStep::Abort(index))]);
            } else {
                choices.push((4, ScheduleStep::Begin(index)));
            }
            let (queues, channels) = (draw.queues, draw.channels);
            let unasked = client.unasked().into_iter();
            choices.extend(unasked.map(|channel| (40, ScheduleStep::Subscribe(index, channel))));
            choices.push((30 * channels, ScheduleStep::Subscribe(index, self.channel())));
            choices.push((4 * channels, ScheduleStep::Unsubscribe(index, self.channel())));
            choices.push((20 * channels, ScheduleStep::Publish(index, self.channel())));
            let mode = draw.random.random_range(0..3);
            choices.push((60 * queues, ScheduleStep::Consume(index, mode, draw.queue())));
            choices.push((4 * queues, ScheduleStep::Leave(index, draw.queue())));
            // Dead letters come from queues alone.
            let queue = QUEUES.choose(&mut draw.random).unwrap_or(&QUEUES[0]);
            choices.push((sends * queues, ScheduleStep::Send(index, Arc::from(*queue))));
            let held = client.held().count();
            if held > 0 {
                let one = draw.random.random_range(0..held);
                choices.push((draw.acks, ScheduleStep::Ack(index, one)));
                choices.push((draw.nacks, ScheduleStep::Nack(index, one)));
            }
            let process = draw.random.random_range(0..PROCESSES);
            choices.push((channels, ScheduleStep::ApiUnsubscribe(process, index, self.channel())));
        }
        self.stomp = Some(draw);
    }
}
