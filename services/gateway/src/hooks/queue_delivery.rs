//! Delivery of one queue, that of an endpoint in a partition: one request at a time, in order. `docs/adr/0052-hooks-delivered.md`.
//!
//! The state of delivery is in the store, so that another node goes on where this one stopped.

use std::{rc::Rc, sync::Arc, time::Duration};

use gorani_broker::{
    Broker, BrokerError,
    hook_store::{HookDelivered, HookDeliveryState, HookEvent, HookQueueHead, Partition},
};
use tokio::{sync::watch, time::Instant};

use super::{
    attempt::{AttemptResult, BACKOFF_FIRST, pause},
    batch::{BatchBounds, BatchContext, HookBatch},
    endpoint::{EndpointDelivery, PAUSE},
    lease::PartitionLeases,
    store::store_of,
};
use crate::clock;

/// Interval at which an empty queue is read: events of other nodes wait so long at most.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// Pause after a failure of the store.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// Interval at which a queue that waits for its next attempt is looked at: for the lease, and for the metrics.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks of which one reads the length of the queue.
const LOOKS_PER_READ: u32 = 5;
/// Attempts with an event that the endpoint refuses, before it becomes a dead letter.
const REFUSED_TRIES: u32 = 5;
/// Characters of the reason of a dead letter.
const REASON_CHARS: usize = 300;

/// The search for the event that an endpoint refuses: batches are halved until it is alone.
#[derive(Debug, Clone, Copy)]
struct Bisection {
    /// Events of the next batch.
    limit: usize,
    /// Events left of the batch that was refused.
    left: usize,
}

/// One queue, for as long as this node owns its partition.
pub(super) struct HookQueueDelivery {
    pub(super) partition: Partition,
    pub(super) node: Arc<str>,
    pub(super) endpoint: Rc<EndpointDelivery>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) leases: Arc<PartitionLeases>,
    /// The bound of the first pause.
    pub(super) backoff_first: Duration,
    bisection: Option<Bisection>,
    /// The first event and the length of the last batch that failed: it is sent again as it was, with the same id.
    failed: Option<(String, usize)>,
}

impl HookQueueDelivery {
    pub(super) fn new(
        partition: Partition,
        node: Arc<str>,
        endpoint: Rc<EndpointDelivery>,
        broker: Arc<dyn Broker>,
        leases: Arc<PartitionLeases>,
    ) -> Self {
        Self {
            partition,
            node,
            endpoint,
            broker,
            leases,
            backoff_first: BACKOFF_FIRST,
            bisection: None,
            failed: None,
        }
    }

    /// Delivers until the partition is another node's. `wake` says that this node has written into the partition.
    pub(super) async fn run(mut self, mut wake: watch::Receiver<()>) {
        let mut is_first = true;
        while self.owns() {
            wake.mark_unchanged();
            let head = match self.read_head(self.endpoint.endpoint.settings.batch_max_events).await {
                Ok(head) => head,
                Err(()) => {
                    tokio::time::sleep(STORE_RETRY).await;
                    continue;
                }
            };
            if std::mem::take(&mut is_first) && head.state.is_paused {
                self.endpoint.note_pause(head.state.next_ms);
            }
            if head.events.is_empty() && head.dropped == 0 {
                tokio::select! {
                    changed = wake.changed() => if changed.is_err() { break },
                    () = tokio::time::sleep(POLL_EVERY) => {}
                }
                continue;
            }
            let left = Duration::from_millis(head.state.next_ms.saturating_sub(clock::unix_ms()));
            // A clock that was set back must not stop delivery.
            let left = left.min(PAUSE).max(self.endpoint.paused_for().unwrap_or_default());
            if !left.is_zero() {
                self.wait(left).await;
                continue;
            }
            if self.owns() {
                self.attempt(head).await;
            }
        }
        self.endpoint.forget_backlog(self.partition);
    }

    fn owns(&self) -> bool {
        self.leases.owns(self.partition)
    }

    fn name(&self) -> &str {
        &self.endpoint.endpoint.settings.name
    }

    async fn read_head(&self, max_events: u32) -> Result<HookQueueHead, ()> {
        let max_bytes = self.endpoint.endpoint.settings.batch_max_bytes;
        match self.head(max_events, max_bytes).await {
            Ok(head) => {
                self.endpoint.note_backlog(self.partition, &head);
                Ok(head)
            }
            Err(error) => {
                tracing::debug!(%error, endpoint = self.name(), partition = self.partition, "reading events failed");
                Err(())
            }
        }
    }

    async fn head(&self, max_events: u32, max_bytes: u64) -> Result<HookQueueHead, BrokerError> {
        store_of(&*self.broker)?.head(self.partition, self.name(), max_events, max_bytes).await
    }

    async fn note_delivered(&self, delivered: HookDelivered) -> Result<(), BrokerError> {
        store_of(&*self.broker)?.complete(self.partition, self.name(), delivered).await
    }

    /// Waits for the next attempt, or until the partition is another node's.
    async fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut looks = 0;
        while self.owns() && Instant::now() < until {
            tokio::time::sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
            looks += 1;
            if looks % LOOKS_PER_READ == 0 {
                // For the metrics alone: a failure here shows when the wait is over.
                let _is_read = self.read_head(1).await.is_ok();
            }
        }
    }

    /// Sends the first events of the queue, and notes what came of it.
    async fn attempt(&mut self, head: HookQueueHead) {
        let settings = &self.endpoint.endpoint.settings;
        let first = head.events.first().map(|event| event.id.clone()).unwrap_or_default();
        let is_suspect = !first.is_empty() && head.state.suspect == first;
        let most = settings.batch_max_events as usize;
        let max_events = match (&self.failed, self.bisection) {
            _ if is_suspect => 1,
            (Some((failed_first, length)), _) if head.state.tries > 0 && *failed_first == first => *length,
            (_, Some(bisection)) => bisection.limit,
            _ => most,
        };
        let bounds = BatchBounds {
            max_events: max_events.clamp(1, most),
            max_bytes: usize::try_from(settings.batch_max_bytes).unwrap_or(usize::MAX),
        };
        let context = BatchContext {
            partition: self.partition,
            endpoint: &settings.name,
            node: &self.node,
            format: settings.format,
            with_meta: settings.include_connection_meta,
            now_ms: clock::unix_ms(),
        };
        let batch = HookBatch::of(&head, !is_suspect, bounds, context);
        let result = self.endpoint.post(&batch).await;
        self.failed = None;
        let tries = head.state.tries.saturating_add(1);
        match result {
            AttemptResult::Taken => self.taken(&head, &batch).await,
            AttemptResult::Refused(reason) => {
                let tries = if is_suspect { tries } else { 1 };
                self.refused(&head, &batch, reason, tries).await;
            }
            AttemptResult::Gone => {
                let state = HookDeliveryState { is_paused: true, ..next_state(tries, PAUSE, "") };
                self.complete(HookDelivered { state, ..HookDelivered::default() }).await;
            }
            AttemptResult::Failed { reason, retry_after } => {
                self.failed = Some((first, batch.len()));
                self.failed(&head, &batch, reason, tries, retry_after).await;
            }
        }
    }

    async fn taken(&mut self, head: &HookQueueHead, batch: &HookBatch) {
        self.bisection = self.bisection.and_then(|bisection| {
            let left = bisection.left.saturating_sub(batch.len());
            (left > 0).then_some(Bisection { limit: bisection.limit.min(left), left })
        });
        let taken = head.events.iter().take(batch.events).map(|event| event.id.clone()).collect();
        self.complete(HookDelivered { taken, dropped_told: mark(head, batch), ..HookDelivered::default() })
            .await;
    }

    /// The endpoint cannot make anything of one of the events: which one shows when it is alone.
    async fn refused(&mut self, head: &HookQueueHead, batch: &HookBatch, reason: String, tries: u32) {
        let length = batch.len();
        if length > 1 {
            self.bisection = Some(Bisection { limit: length.div_ceil(2), left: length });
            return;
        }
        let Some(event) = head.events.first().filter(|_| !batch.has_gap) else {
            tracing::warn!(
                endpoint = self.name(),
                partition = self.partition,
                dropped = head.dropped,
                reason,
                "an endpoint of hooks refuses the event that tells of dropped events; it is not sent again"
            );
            self.bisection = None;
            let dropped_told = mark(head, batch);
            self.complete(HookDelivered { dropped_told, ..HookDelivered::default() }).await;
            return;
        };
        if tries < REFUSED_TRIES {
            let state = next_state(tries, pause(self.backoff_first, tries, None), &event.id);
            self.complete(HookDelivered { state, ..HookDelivered::default() }).await;
            return;
        }
        self.bisection = None;
        self.log_dead(1, &event.id, &reason);
        let dead = vec![(event.id.clone(), shortened(&reason), tries)];
        self.complete(HookDelivered { dead, ..HookDelivered::default() }).await;
    }

    /// The endpoint does not answer as it should: the same again later. Events that have waited for too long are given up.
    async fn failed(
        &mut self,
        head: &HookQueueHead,
        batch: &HookBatch,
        reason: String,
        tries: u32,
        retry_after: Option<Duration>,
    ) {
        let state = next_state(tries, pause(self.backoff_first, tries, retry_after), "");
        let sent = head.events.get(..batch.events).unwrap_or_default();
        let mut dead = self.expired(sent, &reason, tries);
        let mut is_all = dead.len() == sent.len() && !dead.is_empty();
        if let Some((id, ..)) = dead.first() {
            self.log_dead(dead.len(), id, &reason);
            self.failed = None;
        }
        let mut delivered =
            HookDelivered { dead: std::mem::take(&mut dead), state, ..HookDelivered::default() };
        // Those behind them that are as old would have to wait for an attempt of their own each time.
        loop {
            if !self.complete(delivered.clone()).await || !is_all || !self.owns() {
                return;
            }
            let Ok(head) = self.read_head(self.endpoint.endpoint.settings.batch_max_events).await else {
                return;
            };
            dead = self.expired(&head.events, &reason, 0);
            let Some((id, ..)) = dead.first() else { return };
            self.log_dead(dead.len(), id, &reason);
            is_all = dead.len() == head.events.len();
            delivered.dead = dead;
        }
    }

    /// The first of these events that are too old. One that was a dead letter already is sent for as long as it takes.
    fn expired(&self, events: &[HookEvent], reason: &str, tries: u32) -> Vec<(String, String, u32)> {
        let max_age = self.endpoint.endpoint.settings.max_age.as_millis();
        let now_ms = clock::unix_ms();
        let is_old = |event: &&HookEvent| {
            !event.replayed && u128::from(now_ms.saturating_sub(event.draft.time_ms)) > max_age
        };
        let reason = shortened(&format!("older than max_age: {reason}"));
        events.iter().take_while(is_old).map(|event| (event.id.clone(), reason.clone(), tries)).collect()
    }

    fn log_dead(&self, count: usize, first: &str, reason: &str) {
        tracing::warn!(
            endpoint = self.name(),
            partition = self.partition,
            count,
            first,
            reason,
            "events became dead letters of an endpoint of hooks; see: gorani hooks list"
        );
    }

    /// Notes in the store what came of a delivery; tried for as long as the partition is this node's, since what is not noted is
    /// sent again. False: it is not noted.
    async fn complete(&self, delivered: HookDelivered) -> bool {
        loop {
            match self.note_delivered(delivered.clone()).await {
                Ok(()) => return true,
                Err(error) => {
                    tracing::debug!(%error, endpoint = self.name(), partition = self.partition, "noting a delivery failed");
                }
            }
            if !self.owns() {
                return false;
            }
            tokio::time::sleep(STORE_RETRY).await;
        }
    }
}

fn next_state(tries: u32, pause: Duration, suspect: &str) -> HookDeliveryState {
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    HookDeliveryState {
        tries,
        next_ms: clock::unix_ms().saturating_add(pause_ms),
        suspect: suspect.to_owned(),
        is_paused: false,
    }
}

fn mark(head: &HookQueueHead, batch: &HookBatch) -> u64 {
    if batch.has_gap { head.dropped_mark } else { 0 }
}

fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_CHARS).collect()
}
