//! The subscriptions of a worker that a policy no longer permits: counted in slices, and ended where a reload enforces its settings.
//! Record 71.
//!
//! The worker keeps the list until it is told to end them, or that they stay. Each is then handed to its session at a random moment of
//! its share of the time, in the order of the random ids of their clients, and the session asks its own policy again.

use std::{cell::RefCell, collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

use gorani_auth::ChannelName;
use rand::RngExt as _;
use tokio::{sync::oneshot, time::Instant};

use super::page::SLICE;
use crate::{
    hub::{
        Hub,
        registry::{Generation, SessionKey},
    },
    metrics::TrafficCounters,
    session::{
        Signal,
        shared::{
            enforcement::{Enforcement, PermissionCheck},
            policy::Policy,
        },
    },
};

/// Sessions and subscriptions between two looks at the clock: a check takes less than 1 µs.
const ENTRIES_PER_LOOK: usize = 64;
/// Time over which subscriptions are ended: as long as `drain.seconds` is by default, since all of their clients ask again at once.
pub const ENFORCED_OVER: Duration = Duration::from_secs(20);

/// The subscriptions of a worker that a policy does not permit.
pub struct NotPermitted {
    /// Their numbers by namespace; the empty name is that of channels without one.
    pub by_namespace: BTreeMap<String, u64>,
    /// Has the worker end them. Dropped, they stay.
    pub end: oneshot::Sender<Arc<Enforcement>>,
}

/// A subscription that was found.
struct FoundSubscription {
    key: SessionKey,
    channel: Arc<str>,
    generation: Generation,
}

/// The subscriptions that were found, those of each slice together: one list of all would be moved as a whole when it grows.
#[derive(Default)]
struct FoundInSlices {
    slices: Vec<Vec<FoundSubscription>>,
    by_namespace: BTreeMap<String, u64>,
}

impl FoundInSlices {
    fn count(&self) -> usize {
        self.slices.iter().map(Vec::len).sum()
    }

    fn count_in_namespace(&mut self, channel: &str) {
        let namespace = ChannelName::parse(channel).namespace.unwrap_or_default();
        match self.by_namespace.get_mut(namespace) {
            Some(count) => *count += 1,
            None => drop(self.by_namespace.insert(namespace.to_owned(), 1)),
        }
    }
}

/// Counts the subscriptions that the policy does not permit, and ends them if that is wanted.
pub(super) async fn answer(
    policy: &Policy,
    hub: &RefCell<Hub>,
    traffic: &TrafficCounters,
    answer: oneshot::Sender<NotPermitted>,
) {
    let mut found = FoundInSlices::default();
    if !find(policy, hub, traffic, &answer, &mut found).await {
        return;
    }
    let (end, ordered) = oneshot::channel();
    let by_namespace = std::mem::take(&mut found.by_namespace);
    // The requester may have gone meanwhile; then they stay.
    if answer.send(NotPermitted { by_namespace, end }).is_ok()
        && let Ok(enforcement) = ordered.await
    {
        return end_spread(hub, traffic, found, &enforcement).await;
    }
    for slice in found.slices {
        drop(slice);
        tokio::task::yield_now().await;
    }
}

/// Looks through the sessions by client id, so that none comes twice and none that stays is missed. False: nobody waits any more.
async fn find(
    policy: &Policy,
    hub: &RefCell<Hub>,
    traffic: &TrafficCounters,
    answer: &oneshot::Sender<NotPermitted>,
    found: &mut FoundInSlices,
) -> bool {
    let mut next: Bound<Arc<str>> = Bound::Unbounded;
    while !answer.is_closed() {
        let began = Instant::now();
        let last = find_in_slice(policy, &hub.borrow(), &next, began, found);
        traffic.held(began.elapsed());
        match last {
            Some(client) => next = Bound::Excluded(client),
            None => return true,
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Returns the last client of the slice, where there may be more.
fn find_in_slice(
    policy: &Policy,
    hub: &Hub,
    from: &Bound<Arc<str>>,
    began: Instant,
    found: &mut FoundInSlices,
) -> Option<Arc<str>> {
    let (mut looked_at, mut slice, mut last) = (0, Vec::new(), None);
    let from = from.as_ref().map(|client| &**client);
    for (client, key) in hub.registry.clients.range::<str, _>((from, Bound::Unbounded)) {
        looked_at += 1;
        let Some(session) = hub.registry.get(*key) else { continue };
        for membership in &session.channels {
            looked_at += 1;
            if !policy.still_permits(&membership.channel, &session.user, membership.by) {
                let (channel, generation) = (membership.channel.clone(), membership.generation);
                found.count_in_namespace(&channel);
                slice.push(FoundSubscription { key: *key, channel, generation });
            }
        }
        if looked_at >= ENTRIES_PER_LOOK {
            looked_at = 0;
            if began.elapsed() >= SLICE {
                last = Some(client.clone());
                break;
            }
        }
    }
    found.slices.push(slice);
    last
}

/// Hands each to its session at its moment.
async fn end_spread(
    hub: &RefCell<Hub>,
    traffic: &TrafficCounters,
    found: FoundInSlices,
    enforcement: &Arc<Enforcement>,
) {
    let count = found.count();
    let start = Instant::now();
    let (mut began, mut last) = (start, SessionKey::NOBODY);
    for (index, one) in found.slices.into_iter().flatten().enumerate() {
        let due = time_of(index, count);
        if start.elapsed() < due {
            traffic.held(began.elapsed());
            tokio::time::sleep_until(start + due).await;
            began = Instant::now();
        } else if one.key == last || began.elapsed() >= SLICE {
            // A session takes one out of its mailbox before the next one comes.
            traffic.held(began.elapsed());
            tokio::task::yield_now().await;
            began = Instant::now();
        }
        if enforcement.is_stopped() {
            return;
        }
        last = one.key;
        hand_over(&hub.borrow(), one, enforcement);
    }
    traffic.held(began.elapsed());
}

/// A random time in the share of one of so many.
fn time_of(index: usize, count: usize) -> Duration {
    let within: f64 = crate::random::rng().random();
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 subscriptions")]
    ENFORCED_OVER.mul_f64((index as f64 + within) / count as f64)
}

/// Has its session look at a subscription again, if it is still the one that was counted.
fn hand_over(hub: &Hub, one: FoundSubscription, enforcement: &Arc<Enforcement>) {
    let FoundSubscription { key, channel, generation } = one;
    if hub.is_current(key, &channel, generation)
        && let Some(session) = hub.registry.get(key)
    {
        let enforcement = Arc::clone(enforcement);
        session.signal(Signal::CheckPermission(Box::new(PermissionCheck { channel, enforcement })));
    }
}

#[cfg(test)]
mod tests;
