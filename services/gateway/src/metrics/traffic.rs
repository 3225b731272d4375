//! The traffic of one worker, counted on its own thread without a lock and added to the node's counters once a second, so that
//! threads do not fight over a counter at every write. Nothing here is moved once per subscriber. Decision record 60.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::disconnect::Disconnect;

use super::{
    commands::CommandMetrics,
    histogram::{AtomicHistogram, LocalHistogram, Scale},
    labels::TransportLabel,
    namespaces::{NamespaceHistograms, NamespaceIndex, Namespaces},
    table::{CounterTable, values},
};

/// Longest lag of `GET /metrics`.
const ADD_EVERY: Duration = Duration::from_secs(1);
/// Shorter turns are as they should be, and are not counted: most are of some microseconds.
const COUNTED_FROM: Duration = Duration::from_millis(1);
/// Turns that are kept until the next addition: more of [`COUNTED_FROM`] do not fit into the time between two.
const KEPT_TURNS: usize = 1024;
/// Of so many fan-outs of a worker, one is followed to the socket of a subscriber.
const SAMPLED_EVERY: u32 = 64;

/// Deliveries of the node.
#[derive(Debug, Clone)]
pub struct DeliveryMetrics {
    namespaces: Namespaces,
    deliveries: CounterTable,
    fanout_seconds: NamespaceHistograms,
    delivery_seconds: NamespaceHistograms,
    flush_seconds: Family<TransportLabel, AtomicHistogram>,
    /// Bytes that wait in outboxes, of up to 1,000 connections a worker and second.
    pub outbox_sampled_bytes: AtomicHistogram,
    slow_consumers: Family<SlowConsumerLabel, Counter>,
}

/// Labels of a connection that did not take what was sent to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct SlowConsumerLabel {
    /// `outbox`, `no_pong` or `write`; `held_back` is a subscription that lost its position, and its connection stays.
    cause: &'static str,
    /// `websocket`, `sse`, …
    transport: &'static str,
}

impl DeliveryMetrics {
    pub(super) fn register(registry: &mut Registry, namespaces: &Namespaces) -> Self {
        let metrics = Self {
            deliveries: CounterTable::new([namespaces.label(), ""], namespaces.values(), values(&[""])),
            fanout_seconds: namespaces.histograms(),
            delivery_seconds: namespaces.histograms(),
            flush_seconds: Family::default(),
            outbox_sampled_bytes: AtomicHistogram::new(Scale::Bytes),
            slow_consumers: Family::default(),
            namespaces: namespaces.clone(),
        };
        // The first of them counts for a rate only where there was a 0 before.
        for cause in ["outbox", "no_pong", "write"] {
            metrics.count_slow(cause, "websocket", 0);
        }
        registry.register(
            "deliveries",
            "Publications put into outboxes: one for each subscriber",
            metrics.deliveries.clone(),
        );
        registry.register(
            "fanout_seconds",
            "From the arrival of an event at this node to the last outbox of a worker; 1 of 16 events",
            metrics.fanout_seconds.clone(),
        );
        registry.register(
            "delivery_seconds",
            "From the time of a publication, by the clock of the node that published it, to the socket; 1 of 64 fan-outs, one subscriber",
            metrics.delivery_seconds.clone(),
        );
        registry.register(
            "flush_seconds",
            "From the moment at which an outbox gets something to the one at which it is empty again; 1 of 64 fan-outs, one subscriber",
            metrics.flush_seconds.clone(),
        );
        registry.register(
            "outbox_sampled_bytes",
            "Bytes that wait in outboxes, of up to 1,000 connections a worker and second",
            metrics.outbox_sampled_bytes.clone(),
        );
        registry.register(
            "slow_consumers",
            "Connections ended since they did not take what was sent, and subscriptions that lost their position for that",
            metrics.slow_consumers.clone(),
        );
        metrics
    }

    /// Publications that were put into outboxes.
    pub fn delivered(&self) -> u64 {
        self.deliveries.sum()
    }

    /// Times of fan-outs by bucket.
    pub fn fanouts(&self) -> Vec<u64> {
        self.fanout_seconds.counts()
    }

    /// A publication was written to a subscriber, so long after its time.
    pub fn observe_delivery(&self, namespace: NamespaceIndex, time: Duration) {
        if let Some(histogram) = self.delivery_seconds.of(namespace) {
            histogram.observe(time);
        }
    }

    /// The label of a namespace in the times of deliveries.
    pub fn delivery_label(&self, namespace: NamespaceIndex) -> Option<(&'static str, &str)> {
        self.delivery_seconds.label_of(namespace)
    }

    /// The outbox of a connection is empty again.
    pub fn observe_flush(&self, transport: &'static str, time: Duration) {
        self.flush_seconds.get_or_create(&TransportLabel::new(transport)).observe(time);
    }

    /// A session has ended with this code; it is a slow consumer if its client did not take what was sent.
    pub fn count_ended(&self, code: u16, transport: &'static str) {
        let causes = [
            (Disconnect::SLOW, "outbox"),
            (Disconnect::NO_PONG, "no_pong"),
            (Disconnect::WRITE_ERROR, "write"),
        ];
        if let Some((_, cause)) = causes.iter().find(|(disconnect, _)| disconnect.code == code) {
            self.count_slow(cause, transport, 1);
        }
    }

    fn count_slow(&self, cause: &'static str, transport: &'static str, count: u64) {
        self.slow_consumers.get_or_create(&SlowConsumerLabel { cause, transport }).inc_by(count);
    }
}

/// The counters of the node that the traffic of a worker is added to.
#[derive(Debug, Clone)]
pub struct TrafficMetrics {
    pub(super) bytes_sent: Counter,
    pub(super) bytes_received: Counter,
    pub(super) messages_received: Counter,
    pub(super) worker_turn_seconds: AtomicHistogram,
    pub(super) deliveries: DeliveryMetrics,
    pub(super) commands: CommandMetrics,
}

/// The traffic of a worker's connections since the last addition.
#[derive(Default)]
pub struct TrafficCounters {
    bytes_sent: Cell<u64>,
    bytes_received: Cell<u64>,
    messages_received: Cell<u64>,
    /// Times for which the worker was held at a stretch, where they are worth counting.
    held: RefCell<Vec<Duration>>,
    namespaces: Namespaces,
    /// Commands of its clients; those are shared by all workers.
    pub commands: CommandMetrics,
    /// By namespace.
    deliveries: Box<[Cell<u64>]>,
    fanouts: Box<[LocalHistogram]>,
    /// Fan-outs until one is sampled.
    until_sample: Cell<u32>,
}

impl TrafficCounters {
    /// Counters that are added to those of the node.
    pub fn new(all: &TrafficMetrics) -> Self {
        let metrics = &all.deliveries;
        let namespaces = metrics.namespaces.clone();
        Self {
            deliveries: std::iter::repeat_with(Cell::default).take(namespaces.values().len()).collect(),
            fanouts: std::iter::repeat_with(LocalHistogram::default)
                .take(metrics.fanout_seconds.count())
                .collect(),
            namespaces,
            commands: all.commands.clone(),
            ..Self::default()
        }
    }

    /// The value of a channel in the label `namespace`.
    pub fn namespace_of(&self, channel: &str) -> NamespaceIndex {
        self.namespaces.of(channel)
    }

    /// Bytes went to a socket.
    pub fn sent(&self, bytes: usize) {
        self.bytes_sent.set(self.bytes_sent.get() + bytes as u64);
    }

    /// Publications went into outboxes, counted once for each.
    pub fn delivered(&self, namespace: NamespaceIndex, deliveries: u32) {
        if let Some(count) = self.deliveries.get(namespace.index()) {
            count.set(count.get() + u64::from(deliveries));
        }
    }

    /// The last outbox has what came to this node so long ago.
    pub fn fanned_out(&self, namespace: NamespaceIndex, time: Duration) {
        if let Some(histogram) = self.fanouts.get(namespace.index_among(self.fanouts.len())) {
            histogram.observe(time);
        }
    }

    /// True for the first fan-out and every 64th after it: that one is followed to a socket.
    pub fn is_sampled(&self) -> bool {
        let left = self.until_sample.get();
        self.until_sample.set(left.checked_sub(1).unwrap_or(SAMPLED_EVERY - 1));
        left == 0
    }

    /// The worker was held for so long: by one connection's input, or by what it delivered at a stretch.
    pub fn held(&self, time: Duration) {
        if time >= COUNTED_FROM {
            let mut held = self.held.borrow_mut();
            if held.len() < KEPT_TURNS {
                held.push(time);
            }
        }
    }

    /// Messages came, with payloads of so many bytes.
    pub fn received(&self, messages: usize, bytes: usize) {
        self.messages_received.set(self.messages_received.get() + messages as u64);
        self.bytes_received.set(self.bytes_received.get() + bytes as u64);
    }

    /// Adds the counts to the node's, for ever.
    pub(crate) async fn flush_periodically(self: Rc<Self>, metrics: TrafficMetrics) {
        loop {
            tokio::time::sleep(ADD_EVERY).await;
            self.add_to(&metrics);
        }
    }

    fn add_to(&self, metrics: &TrafficMetrics) {
        for time in self.held.take() {
            metrics.worker_turn_seconds.observe(time);
        }
        metrics.bytes_sent.inc_by(self.bytes_sent.take());
        metrics.bytes_received.inc_by(self.bytes_received.take());
        metrics.messages_received.inc_by(self.messages_received.take());
        for (row, count) in self.deliveries.iter().enumerate().filter(|(_, count)| count.get() > 0) {
            metrics.deliveries.deliveries.add(row, 0, count.take());
        }
        for (index, fanout) in self.fanouts.iter().enumerate() {
            if let Some(all) = metrics.deliveries.fanout_seconds.at(index) {
                fanout.add_to(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use gorani_broker::BrokerStats;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn turns_are_kept_from_a_millisecond_on_and_no_more_than_fit_between_two_additions() {
        let traffic = TrafficCounters::default();
        traffic.held(COUNTED_FROM - Duration::from_nanos(1));
        assert!(traffic.held.borrow().is_empty());
        traffic.held(COUNTED_FROM);
        assert_eq!(*traffic.held.borrow(), [COUNTED_FROM]);
        for _ in 0..2 * KEPT_TURNS {
            traffic.held(COUNTED_FROM);
        }
        assert_eq!(traffic.held.borrow().len(), KEPT_TURNS);
    }

    #[test]
    fn the_first_fan_out_is_sampled_and_every_64th_after_it() {
        let traffic = TrafficCounters::default();
        let sampled: Vec<_> = (0..200).filter(|_| traffic.is_sampled()).collect();
        assert_eq!(sampled, [0, 64, 128, 192]);
    }

    #[test]
    fn deliveries_and_fan_outs_are_added_to_those_of_their_namespace_once() {
        let metrics = Metrics::new(Namespaces::new(Some(["chat"].into_iter())), &[]);
        let traffic = TrafficCounters::new(&metrics.traffic());
        let namespace = traffic.namespace_of("chat:lobby");
        traffic.delivered(namespace, 2000);
        traffic.delivered(traffic.namespace_of("lobby"), 1);
        traffic.fanned_out(namespace, Duration::from_micros(300));
        traffic.add_to(&metrics.traffic());
        traffic.add_to(&metrics.traffic());
        let text = metrics.text(&BrokerStats::default()).unwrap();
        for line in [
            "gorani_deliveries_total{namespace=\"chat\"} 2000\n",
            "gorani_deliveries_total{namespace=\"without_namespace\"} 1\n",
            "gorani_fanout_seconds_count{namespace=\"chat\"} 1\n",
            "gorani_fanout_seconds_bucket{namespace=\"chat\",le=\"0.0005\"} 1\n",
        ] {
            assert!(text.contains(line) || text.contains(&swapped(line)), "{line}: {text}");
        }
    }

    /// The same sample with its two labels the other way round.
    fn swapped(line: &str) -> String {
        line.replace("{namespace=\"chat\",le=\"0.0005\"}", "{le=\"0.0005\",namespace=\"chat\"}")
    }
}
