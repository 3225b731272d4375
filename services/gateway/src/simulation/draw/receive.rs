//! The next steps of clients that receive over HTTP. Every fourth seed has some, so that the rest of a run goes deeper without
//! them.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Draw, Weight};
use crate::simulation::{
    receive::{Choices, FIRST},
    schedule::ScheduleStep,
    world::World,
};

/// Factor by which more is published in such runs.
pub(super) const PUBLICATIONS: Weight = 8;

/// The chances of a run with such clients.
pub(super) struct ReceiveDraw {
    /// Its own, so that runs without them stay what they are.
    random: StdRng,
    /// True for each of them that takes part.
    clients: Vec<bool>,
    /// Clients of other kinds at most.
    pub(super) others: usize,
}

impl ReceiveDraw {
    /// `count`: clients there are.
    pub(super) fn of_seed(seed: u64, count: usize) -> Option<Self> {
        if seed % 4 != 2 {
            return None;
        }
        let mut random = StdRng::seed_from_u64(!seed);
        let mut clients: Vec<bool> = (0..count).map(|_| random.random_bool(0.3)).collect();
        let one = random.random_range(0..count.max(1));
        if let Some(client) = clients.get_mut(one) {
            *client = true;
        }
        let others = random.random_range(0..=1);
        Some(Self { random, clients, others })
    }
}

impl Draw {
    pub(super) fn add_receivers(&mut self, world: &World, choices: &mut Vec<(Weight, ScheduleStep)>) {
        let Some(draw) = &mut self.receive else { return };
        let taking_part = world.receivers.iter().zip(&draw.clients).enumerate();
        for (index, (receiver, _)) in taking_part.filter(|(_, (_, takes_part))| **takes_part) {
            let mut choices = Choices { random: &mut draw.random, channels: &self.channels, steps: choices };
            receiver.choose(FIRST + index, &mut choices);
        }
    }
}
