//! The bounds of one proxy's calls on this node: so many at a time, and a bounded queue before them. A call waits in the order in
//! which it came, within its own time. One session cannot fill the queue. How many are sent at a time follows what the backend can
//! take ([`ConcurrencyLimit`]).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::concurrency::ConcurrencyLimit;

/// Slots in the queue that one session may have.
const WAITING_OF_SESSION: usize = 8;

/// Why a call has no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSlot {
    /// The queue is full, or this session's part of it.
    Full,
    /// Its time was over while it waited, or too little of it is left for an answer.
    Timeout,
}

/// The slots of one proxy.
#[derive(Debug)]
pub(super) struct CallLimits {
    slots: Semaphore,
    allowed: Mutex<Allowed>,
    max_waiting: usize,
    waiting: AtomicUsize,
    /// Sessions that wait, by client id, and how often. Touched only while calls wait.
    of_sessions: Mutex<HashMap<Arc<str>, usize>>,
}

/// The slots that there are.
#[derive(Debug)]
struct Allowed {
    limit: ConcurrencyLimit,
    /// Free and taken ones. More than the limit allows, until calls that are under way end.
    slots: usize,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct CallSlot<'l> {
    limits: &'l CallLimits,
    permit: Option<SemaphorePermit<'l>>,
    began: Instant,
}

impl CallLimits {
    pub(super) fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        Self {
            slots: Semaphore::new(max_in_flight),
            allowed: Mutex::new(Allowed {
                limit: ConcurrencyLimit::new(max_in_flight),
                slots: max_in_flight,
            }),
            max_waiting,
            waiting: AtomicUsize::new(0),
            of_sessions: Mutex::default(),
        }
    }

    /// Calls under way.
    pub(super) fn running(&self) -> usize {
        self.allowed.lock().slots.saturating_sub(self.slots.available_permits())
    }

    /// Calls that may be under way now.
    pub(super) fn allowed(&self) -> usize {
        self.allowed.lock().limit.get()
    }

    /// The breaker opened: the backend gets one call at first.
    pub(super) fn restart(&self) {
        self.change(|limit| limit.restart(Instant::now()));
    }

    /// Changes the limit, and makes or takes away free slots; those that are taken go when their calls end.
    fn change(&self, change: impl FnOnce(&mut ConcurrencyLimit)) {
        let mut allowed = self.allowed.lock();
        change(&mut allowed.limit);
        let limit = allowed.limit.get();
        if limit > allowed.slots {
            self.slots.add_permits(limit - allowed.slots);
            allowed.slots = limit;
        } else {
            let excess = allowed.slots - limit;
            allowed.slots -= self.slots.forget_permits(excess);
        }
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Waits for a slot. It is given back when it is dropped.
    pub(super) async fn enter(&self, client: &Arc<str>, deadline: Instant) -> Result<CallSlot<'_>, NoSlot> {
        if let Ok(permit) = self.slots.try_acquire() {
            return Ok(self.slot(permit));
        }
        let _waiting = Waiting::new(self, client).ok_or(NoSlot::Full)?;
        let slot = match timeout_at(deadline, self.slots.acquire()).await {
            Ok(Ok(permit)) => self.slot(permit),
            // Slots are never closed.
            Ok(Err(_)) => return Err(NoSlot::Full),
            Err(_elapsed) => return Err(NoSlot::Timeout),
        };
        // The backend would work on a call whose caller is gone before the answer: the slot is for one that came later.
        if deadline.saturating_duration_since(slot.began) < self.allowed.lock().limit.needed() {
            return Err(NoSlot::Timeout);
        }
        Ok(slot)
    }

    fn slot<'l>(&'l self, permit: SemaphorePermit<'l>) -> CallSlot<'l> {
        CallSlot { limits: self, permit: Some(permit), began: Instant::now() }
    }
}

impl CallSlot<'_> {
    /// The backend answered. `time`: what a call may take.
    pub(super) fn answered(&self, time: Duration) {
        let is_used = self.limits.slots.available_permits() == 0;
        self.limits.change(|limit| limit.answered(self.began, Instant::now(), time, is_used));
    }

    /// The call timed out. That is the backend's fault only if half of the time was left when the call was sent.
    pub(super) fn timed_out(&self, time: Duration) {
        if self.began.elapsed() >= time / 2 {
            self.overloaded();
        }
    }

    /// The backend said that it has too much to do.
    pub(super) fn overloaded(&self) {
        self.limits.change(|limit| limit.overloaded(self.began, Instant::now()));
    }
}

impl Drop for CallSlot<'_> {
    fn drop(&mut self) {
        let mut allowed = self.limits.allowed.lock();
        if allowed.slots > allowed.limit.get()
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
            allowed.slots -= 1;
        }
    }
}

/// A slot in the queue.
struct Waiting<'l> {
    limits: &'l CallLimits,
    client: Arc<str>,
}

impl<'l> Waiting<'l> {
    fn new(limits: &'l CallLimits, client: &Arc<str>) -> Option<Self> {
        let mut of_sessions = limits.of_sessions.lock();
        if limits.waiting.load(Relaxed) >= limits.max_waiting {
            return None;
        }
        let of_session = of_sessions.entry(client.clone()).or_default();
        // Sessions without an id cannot be told apart, and would share eight slots.
        if *of_session >= WAITING_OF_SESSION && !client.is_empty() {
            return None;
        }
        *of_session += 1;
        limits.waiting.fetch_add(1, Relaxed);
        Some(Self { limits, client: client.clone() })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut of_sessions = self.limits.of_sessions.lock();
        self.limits.waiting.fetch_sub(1, Relaxed);
        if let Some(of_session) = of_sessions.get_mut(&self.client) {
            *of_session -= 1;
            if *of_session == 0 {
                of_sessions.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use futures_util::{FutureExt, future::join_all};

    use super::*;

    fn client(number: usize) -> Arc<str> {
        format!("client-{number}").into()
    }

    #[tokio::test(start_paused = true)]
    async fn calls_wait_in_their_order_and_one_more_than_fit_is_refused_at_once() {
        let limits = CallLimits::new(1, 2);
        let deadline = Instant::now() + Duration::from_secs(1);
        let slot = limits.enter(&client(0), deadline).await.unwrap();
        let (one, two) = (client(1), client(2));
        let mut first = Box::pin(limits.enter(&one, deadline));
        let mut second = Box::pin(limits.enter(&two, deadline));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert_eq!((limits.running(), limits.waiting()), (1, 2));
        assert_eq!(limits.enter(&client(3), deadline).now_or_never().unwrap().unwrap_err(), NoSlot::Full);
        drop(slot);
        assert!((&mut second).now_or_never().is_none());
        drop(first.await.unwrap());
        drop(second.await.unwrap());
        assert_eq!((limits.running(), limits.waiting()), (0, 0));
        assert!(limits.of_sessions.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_has_at_most_eight_slots_in_the_queue() {
        let limits = CallLimits::new(1, 100);
        let deadline = Instant::now() + Duration::from_secs(1);
        let _slot = limits.enter(&client(0), deadline).await.unwrap();
        let one = client(1);
        let results = join_all((0..20).map(|_| limits.enter(&one, deadline))).await;
        let refused =
            |why: NoSlot| results.iter().filter(|result| result.as_ref().err() == Some(&why)).count();
        assert_eq!((refused(NoSlot::Full), refused(NoSlot::Timeout)), (12, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_counts_in_the_time_of_a_call_and_gives_its_slot_back() {
        let limits = CallLimits::new(1, 1);
        let deadline = Instant::now() + Duration::from_secs(1);
        let slot = limits.enter(&client(0), deadline).await.unwrap();
        assert_eq!(limits.enter(&client(1), deadline).await.unwrap_err(), NoSlot::Timeout);
        assert_eq!(Instant::now(), deadline);
        // A call whose client went away while it waited.
        let two = client(2);
        let mut gone = Box::pin(limits.enter(&two, deadline + Duration::from_secs(9)));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert_eq!(limits.waiting(), 0);
        drop(slot);
        assert!(limits.enter(&client(3), deadline).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_are_sent_to_a_backend_that_is_too_slow_and_all_again_when_it_is_not() {
        let limits = CallLimits::new(8, 100);
        let deadline = Instant::now() + Duration::from_secs(60);
        let time = Duration::from_secs(1);
        let mut slots = Vec::new();
        for number in 0..8 {
            slots.push(limits.enter(&client(number), deadline).await.unwrap());
        }
        tokio::time::advance(time).await;
        slots.drain(..).for_each(|slot| slot.overloaded());
        assert_eq!((limits.allowed(), limits.running()), (4, 0));
        let (mut under_way, more) = (Vec::new(), client(9));
        for number in 0..4 {
            under_way.push(limits.enter(&client(number), deadline).await.unwrap());
        }
        let mut waits = Box::pin(limits.enter(&more, deadline));
        assert!((&mut waits).now_or_never().is_none());
        limits.restart();
        assert_eq!((limits.allowed(), limits.running()), (1, 4));
        under_way.drain(..3).for_each(drop);
        assert!((&mut waits).now_or_never().is_none(), "the fourth is the one that is allowed");
        under_way.clear();
        let slot = waits.await.unwrap();
        slot.answered(time);
        drop(slot);
        for _ in 0..200 {
            let slots = join_all((0..limits.allowed()).map(|_| limits.enter(&more, deadline))).await;
            slots.into_iter().for_each(|slot| slot.unwrap().answered(time));
        }
        assert_eq!((limits.allowed(), limits.running()), (8, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_has_waited_too_long_to_be_answered_in_time_is_not_sent() {
        let limits = CallLimits::new(1, 100);
        let time = Duration::from_secs(1);
        let deadline = Instant::now() + time;
        let slot = limits.enter(&client(0), deadline).await.unwrap();
        let (late, early) = (client(1), client(2));
        let mut first = Box::pin(limits.enter(&late, deadline));
        let mut second = Box::pin(limits.enter(&early, deadline + time));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(600)).await;
        slot.answered(time);
        drop(slot);
        assert_eq!(first.await.unwrap_err(), NoSlot::Timeout, "400 ms are left, and a call takes 600 ms");
        assert!(second.await.is_ok());
    }
}
