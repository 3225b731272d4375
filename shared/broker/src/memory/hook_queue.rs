//! One queue of the store of hooks in memory: the events that wait for one endpoint, and its dead letters.

use std::collections::{BTreeMap, HashMap};

use crate::{
    hook_entry::parse_event_id,
    hook_store::{DeadHook, HookDelivered, HookDeliveryState, HookEvent, HookQueueHead, HookQueuePlan},
};

/// Milliseconds and number: the order of the events.
pub(super) type EventPosition = (u64, u64);

/// Bytes of an event beside its content, near enough.
const EVENT_BYTES: u64 = 160;

/// The events for one endpoint.
#[derive(Debug, Default)]
pub(super) struct HookQueue {
    events: BTreeMap<EventPosition, HookEvent>,
    bytes: u64,
    /// Events that came again: their position is not that of their id.
    replayed: HashMap<String, EventPosition>,
    dropped: u64,
    dropped_told: u64,
    dropped_since_ms: u64,
    state: HookDeliveryState,
    dead: BTreeMap<EventPosition, DeadHook>,
    dead_bytes: u64,
    dead_dropped: u64,
}

fn cost(event: &HookEvent) -> u64 {
    event.draft.content_bytes() + EVENT_BYTES
}

/// The position that an id names.
fn position(id: &str) -> Option<EventPosition> {
    parse_event_id(id).map(|(_, milliseconds, number)| (milliseconds, number))
}

impl HookQueue {
    /// Adds an event at the end; over the bounds the oldest go.
    pub(super) fn push(&mut self, position: EventPosition, event: HookEvent, plan: &HookQueuePlan) {
        self.bytes += cost(&event);
        self.events.insert(position, event);
        while self.events.len() as u64 > plan.max_events || self.bytes > plan.max_bytes {
            let Some(first) = self.events.keys().next().copied() else { return };
            let since_ms = first.0;
            self.remove(first);
            self.dropped += 1;
            if self.dropped_since_ms == 0 {
                self.dropped_since_ms = since_ms;
            }
        }
    }

    fn remove(&mut self, position: EventPosition) -> Option<HookEvent> {
        let event = self.events.remove(&position)?;
        self.bytes -= cost(&event);
        if event.replayed {
            self.replayed.remove(&event.id);
        }
        Some(event)
    }

    fn remove_by_id(&mut self, id: &str) -> Option<HookEvent> {
        let position = self.replayed.get(id).copied().or_else(|| position(id))?;
        self.remove(position)
    }

    pub(super) fn head(&self, max_events: u32, max_bytes: u64) -> HookQueueHead {
        let mut bytes = 0;
        let is_within = |(index, event): &(usize, &HookEvent)| {
            bytes += cost(event);
            *index == 0 || bytes <= max_bytes
        };
        let events = self.events.values().take(max_events as usize).enumerate().take_while(is_within);
        HookQueueHead {
            events: events.map(|(_, event)| event.clone()).collect(),
            dropped: self.dropped - self.dropped_told,
            dropped_mark: self.dropped,
            dropped_since_ms: self.dropped_since_ms,
            length: self.events.len() as u64,
            bytes: self.bytes,
            dead_letters: self.dead.len() as u64,
            dead_letters_dropped: self.dead_dropped,
            state: self.state.clone(),
        }
    }

    pub(super) fn complete(&mut self, delivered: HookDelivered, now_ms: u64, plan: &HookQueuePlan) {
        for id in &delivered.taken {
            self.remove_by_id(id);
        }
        for (id, reason, tries) in delivered.dead {
            if let (Some(event), Some(position)) = (self.remove_by_id(&id), position(&id)) {
                self.put_dead_letter(position, DeadHook { event, reason, tries, died_ms: now_ms }, plan);
            }
        }
        self.dropped_told = self.dropped_told.max(delivered.dropped_told.min(self.dropped));
        if self.dropped_told == self.dropped {
            self.dropped_since_ms = 0;
        }
        self.state = delivered.state;
    }

    fn put_dead_letter(&mut self, position: EventPosition, letter: DeadHook, plan: &HookQueuePlan) {
        self.dead_bytes += cost(&letter.event);
        self.dead.insert(position, letter);
        while self.dead.len() as u64 > plan.max_dead_letters || self.dead_bytes > plan.max_bytes {
            let Some((_, letter)) = self.dead.pop_first() else { return };
            self.dead_bytes -= cost(&letter.event);
            self.dead_dropped += 1;
        }
    }

    /// Dead letters after an id; of an id that cannot be one, from the oldest.
    pub(super) fn dead_letters(&self, after: &str, limit: u32) -> Vec<DeadHook> {
        let after = position(after);
        let later = self.dead.iter().filter(|(position, _)| after.is_none_or(|after| **position > after));
        later.take(limit as usize).map(|(_, letter)| letter.clone()).collect()
    }

    pub(super) fn take_dead_letter(&mut self, id: &str) -> Option<HookEvent> {
        let position = position(id)?;
        // The partition is a part of the id too.
        if self.dead.get(&position)?.event.id != id {
            return None;
        }
        let letter = self.dead.remove(&position)?;
        self.dead_bytes -= cost(&letter.event);
        Some(letter.event)
    }

    /// Adds an event that was a dead letter.
    pub(super) fn push_again(&mut self, position: EventPosition, mut event: HookEvent, plan: &HookQueuePlan) {
        event.replayed = true;
        self.replayed.insert(event.id.clone(), position);
        self.push(position, event, plan);
    }
}
