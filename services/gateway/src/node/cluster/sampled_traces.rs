//! The traces that sampled contexts of backends have begun on this node: it counts them, and asks the other nodes only while they are
//! few. Decision record 67.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::event_log::trace::SAMPLED_TRACES_MAX;

/// Time for which a slot stays unused after the cluster had no room for a trace of a sampled context, or could not be asked.
const SAMPLED_PAUSE: Duration = Duration::from_secs(5);

/// The traces that sampled contexts have begun on this node, each with the time at which its slot is free again.
#[derive(Debug, Default)]
pub(super) struct SampledTraces(Mutex<Vec<(String, Instant)>>);

impl SampledTraces {
    /// Takes a slot until the end of a trace. False if all are taken.
    pub(super) fn admit(&self, id: &str, now: Instant, ends: Instant) -> bool {
        let mut slots = self.0.lock();
        slots.retain(|(_, until)| *until > now);
        if slots.len() >= SAMPLED_TRACES_MAX {
            return false;
        }
        slots.push((id.to_owned(), ends));
        true
    }

    /// Keeps the slot of one that did not begin, for a pause.
    pub(super) fn pause(&self, id: &str, now: Instant) {
        let mut slots = self.0.lock();
        slots.retain(|(own, _)| own != id);
        slots.push((id.to_owned(), now + SAMPLED_PAUSE));
    }

    /// Gives the slot of one that has ended back.
    pub(super) fn forget(&self, id: &str) {
        self.0.lock().retain(|(own, _)| own != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(60);

    #[test]
    fn a_node_begins_as_many_traces_of_sampled_contexts_as_a_cluster_may_have_and_again_when_one_has_ended() {
        let (traces, now) = (SampledTraces::default(), Instant::now());
        for number in 0..SAMPLED_TRACES_MAX {
            assert!(traces.admit(&number.to_string(), now, now + LASTS), "{number}");
        }
        assert!(!traces.admit("more", now, now + LASTS));
        traces.forget("0");
        assert!(traces.admit("one", now, now + LASTS), "one was ended");
        assert!(!traces.admit("more", now, now + LASTS));
        assert!(traces.admit("later", now + LASTS, now + LASTS * 2), "their time is over");
    }

    #[test]
    fn a_node_that_found_no_room_in_the_cluster_leaves_the_slot_unused_for_a_pause() {
        let (traces, now) = (SampledTraces::default(), Instant::now());
        for number in 0..SAMPLED_TRACES_MAX {
            traces.admit(&number.to_string(), now, now + LASTS);
        }
        // It was begun, and ended again everywhere.
        traces.forget("0");
        traces.pause("0", now);
        assert!(!traces.admit("more", now, now + LASTS));
        assert!(traces.admit("more", now + SAMPLED_PAUSE, now + LASTS));
    }
}
