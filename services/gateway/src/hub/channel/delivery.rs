//! Fan-out: the runs of a channel's publications, and the loop over its subscriptions. `docs/architecture.md` §3.4.
//!
//! There are two copies of the loop. One is for runs that a trace follows; the other one is for all others, and knows nothing of
//! traces. Decision record 67.

use gorani_broker::ChannelEvent;

use super::{Channel, trace::watch::FanOutObserver};
use crate::{
    format::encoder::Encoder,
    hub::subscription::{EventBatch, PositionLost, Unobserved},
};

impl Channel {
    /// Counts a run of publications, all its subscribers at once. One that is ended or that waits for its reply is counted too.
    fn count_deliveries(&mut self, publications: usize, batch: &EventBatch<'_>) {
        if !batch.is_presence {
            let takers = self.subscriptions.len().saturating_sub(usize::from(!batch.excluded.is_empty()));
            let deliveries = u32::try_from(publications.saturating_mul(takers)).unwrap_or(u32::MAX);
            self.delivered = self.delivered.saturating_add(deliveries);
        }
    }

    /// Delivers events that are in order, in runs that all subscriptions of an encoding share.
    pub(super) fn fan_out(&mut self, events: &[ChannelEvent], encoder: &mut Encoder) {
        let mut rest = events;
        while !rest.is_empty() {
            let length = EventBatch::length(rest);
            let length = self.watch.as_ref().map_or(length, |watch| watch.cut(rest, length));
            let (run, others) = rest.split_at(length);
            rest = others;
            let batch = EventBatch::of(run);
            self.count_deliveries(run.len(), &batch);
            if self.watch.is_none() {
                self.deliver_run(run, &batch, encoder, &mut Unobserved);
            } else {
                self.deliver_observed(run, &batch, encoder);
            }
        }
    }

    /// Delivers a run to all subscriptions. There is one copy of it for runs that traces follow, and one for all others.
    fn deliver_run<O: FanOutObserver>(
        &mut self,
        run: &[ChannelEvent],
        batch: &EventBatch<'_>,
        encoder: &mut Encoder,
        observer: &mut O,
    ) {
        encoder.begin();
        for (key, subscription) in &mut self.subscriptions {
            let mut is_lost = false;
            if subscription.take_run(&self.name, run, batch, encoder, observer) == Err(PositionLost)
                && subscription.end()
            {
                self.lost.push(*key);
                is_lost = true;
            }
            observer.served(*key, subscription.info(), subscription.outbox(), is_lost);
        }
    }

    fn deliver_observed(&mut self, run: &[ChannelEvent], batch: &EventBatch<'_>, encoder: &mut Encoder) {
        let Some(watch) = self.watch.take() else { return };
        match watch.observe(run) {
            Some(mut observed) => {
                self.deliver_run(run, batch, encoder, &mut observed);
                observed.finish();
            }
            None => self.deliver_run(run, batch, encoder, &mut Unobserved),
        }
        self.watch = Some(watch);
    }
}
