//! Follows one publication to the socket of one of its subscribers, for the times of deliveries and of outboxes: a fan-out to a
//! thousand costs one look at one outbox more, and only 1 of 64. Nothing is kept for a connection. Decision record 60.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use gorani_broker::{ChannelEvent, TraceContext};
use tokio::time::{Instant, timeout};

use crate::{
    clock::unix_ms,
    hub::Hub,
    metrics::{Metrics, namespaces::NamespaceIndex},
    outbox::Outbox,
    tasks::Tasks,
};

/// Samples of a worker that wait at a time; while there are so many, no other begins.
const WAITING_MAX: u32 = 16;
/// A sample is given up after this time: it is longer than the last bound of the histograms.
const GIVE_UP_AFTER: Duration = Duration::from_secs(20);

/// The samples of a worker.
#[derive(Clone)]
pub(super) struct DeliverySamples {
    pub(super) metrics: Arc<Metrics>,
    pub(super) tasks: Tasks,
    /// Chooses the subscriber.
    pub(super) turn: Rc<Cell<usize>>,
    pub(super) waiting: Rc<Cell<u32>>,
}

/// A subscriber's outbox as it was before a fan-out.
pub(super) struct DeliverySample {
    outbox: Outbox,
    transport: &'static str,
    namespace: NamespaceIndex,
    /// The time of the publication, in milliseconds since the Unix epoch.
    published_ms: u64,
    began: Instant,
    was_empty: bool,
    queued_before: u64,
    /// It counts in the histograms; one that is followed for its trace alone does not.
    is_counted: bool,
    /// The trace of the publication, where it is sampled.
    trace: Option<Arc<TraceContext>>,
}

impl DeliverySamples {
    /// No sample yet.
    pub(super) fn new(metrics: Arc<Metrics>, tasks: Tasks) -> Self {
        Self { metrics, tasks, turn: Rc::default(), waiting: Rc::default() }
    }

    /// Chooses a subscriber of the channel, before these events go to it.
    pub(super) fn begin(
        &self,
        hub: &Hub,
        channel: &str,
        events: &[ChannelEvent],
        is_counted: bool,
    ) -> Option<DeliverySample> {
        let publication = events.iter().rev().find_map(|event| match event {
            ChannelEvent::Publication(publication) => Some(publication),
            ChannelEvent::Join(_) | ChannelEvent::Leave(_) => None,
        })?;
        if self.waiting.get() >= WAITING_MAX {
            return None;
        }
        self.turn.set(self.turn.get().wrapping_add(1));
        let (namespace, transport, outbox) = hub.nth_subscriber(channel, self.turn.get())?;
        Some(DeliverySample {
            transport,
            namespace,
            published_ms: publication.time_ms,
            is_counted,
            trace: publication.trace.clone(),
            began: Instant::now(),
            was_empty: outbox.is_empty(),
            queued_before: outbox.queued(),
            outbox,
        })
    }

    /// Follows what the fan-out has put into the outbox.
    pub(super) fn follow(&self, sample: DeliverySample) {
        let queued = sample.outbox.queued();
        if queued == sample.queued_before {
            // It is the subscriber that is excluded, or it waits for the reply of its subscribe.
            return;
        }
        self.waiting.set(self.waiting.get() + 1);
        let samples = self.clone();
        self.tasks.spawn(async move {
            // One that is given up ended unwritten, or is a slow consumer, which is counted as that.
            let _ = timeout(GIVE_UP_AFTER, samples.observe(sample, queued)).await;
            samples.waiting.set(samples.waiting.get() - 1);
        });
    }

    async fn observe(&self, sample: DeliverySample, queued: u64) {
        let DeliverySample {
            outbox,
            transport,
            namespace,
            published_ms,
            began,
            was_empty,
            is_counted,
            trace,
            ..
        } = sample;
        if !outbox.written_to(queued).await {
            return;
        }
        let time = Duration::from_millis(unix_ms().saturating_sub(published_ms));
        if let Some(trace) = trace {
            let label = self.metrics.deliveries.delivery_label(namespace);
            self.metrics.exemplars.note("delivery_seconds", label.as_slice(), time, &trace.trace_id);
        }
        if !is_counted {
            return;
        }
        self.metrics.deliveries.observe_delivery(namespace, time);
        if was_empty && outbox.written_all().await {
            self.metrics.deliveries.observe_flush(transport, began.elapsed());
        }
    }
}
