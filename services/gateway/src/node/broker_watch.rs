//! BrokerWatch: notes in the event log what happened to the node's connections to the broker.

use std::time::Duration;

use gorani_broker::BrokerStats;

use crate::event_log::{NodeEventLog, event::GapChange};

/// Age of the last canary from which on it is late. Canaries come every second or so.
const CANARY_LATE: Duration = Duration::from_secs(5);

/// The counters of the broker when they were last looked at.
#[derive(Debug, Default)]
pub(super) struct BrokerWatch {
    connections_lost: u64,
    is_canary_late: bool,
}

impl BrokerWatch {
    /// Notes what has changed since the last look.
    pub(super) fn note_changes(&mut self, stats: &BrokerStats, events: &NodeEventLog) {
        let lost = stats.listening_connections_lost;
        if lost > self.connections_lost {
            events.note(GapChange::BrokerReconnected(lost - self.connections_lost));
            self.connections_lost = lost;
        }
        let age = stats.canary_age.unwrap_or_default();
        let is_late = age >= CANARY_LATE;
        if is_late && !self.is_canary_late {
            events.note(GapChange::CanaryLate(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        }
        self.is_canary_late = is_late;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::EventLogSizes;

    #[test]
    fn a_lost_connection_is_noted_once_and_a_late_canary_when_it_begins_to_be() {
        let sizes = EventLogSizes { gaps: 16, max_bytes: 1 << 20, ..EventLogSizes::default() };
        let (events, mut watch) = (NodeEventLog::new(sizes), BrokerWatch::default());
        let late = Some(Duration::from_secs(6));
        for (lost, canary_age) in [(0, None), (2, None), (2, late), (2, late), (2, None), (2, late)] {
            let stats =
                BrokerStats { listening_connections_lost: lost, canary_age, ..BrokerStats::default() };
            watch.note_changes(&stats, &events);
        }
        let noted: Vec<_> = events.gaps(10).0.into_iter().rev().map(|event| event.change).collect();
        let canary = GapChange::CanaryLate(6000);
        assert_eq!(noted, [GapChange::BrokerReconnected(2), canary.clone(), canary]);
    }
}
