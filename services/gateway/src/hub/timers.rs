//! Deadlines of a worker's sessions, under one timer: heartbeats, token expiry, time limits.
//!
//! Deadlines are rounded up to ticks, so that the many sessions of a worker wake its thread a few times a second and
//! not once each. `docs/protocols/websocket.md` §14.
//!
//! Keeps the worker's sessions present: an entry that is not refreshed is forgotten, so that the clients of a dead
//! node vanish with it. `docs/architecture.md` §5.7.
//!
//! The end of all sessions of a worker, spread over a time, so that their clients do not all come back elsewhere at once.
//!
//! The sessions end in shuffled order, each at a random moment of its own slot: jittered, at a rate that is not exceeded for
//! longer than two slots, and independent of how the sessions are connected. `docs/architecture.md` §5.10; record 15.
//!
//! A worker's share in the memory budget: it publishes what its clients hold, ends those of them that are the largest of the
//! node where too much is held.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use gorani_broker::{Broker, BrokerError};
use rand::{Rng, RngExt as _, seq::SliceRandom as _};
use tokio::{sync::Notify, time::Instant};

use crate::{
    disconnect::Disconnect,
    hub::{
        Hub,
        inbox::InboxLoad,
        registry::{ChannelMembership, SessionKey},
        removals::{PRESENCE_TTL, Removal, Removals, UserLimit},
    },
    memory::{
        MemoryBudget,
        holders::{self, Candidate, HeldBytes, ShedTurn},
    },
    session::Signal,
    tasks::Tasks,
};

/// Deadlines are met with this precision: fine against limits of seconds, coarse enough to share a wake-up.
const TICK: Duration = Duration::from_millis(50);

/// The deadlines, the earliest first.
pub(super) struct Timers {
    start: Instant,
    due: RefCell<BTreeSet<(u64, SessionKey)>>,
    /// Tick for which the loop sleeps; later ones need not wake it.
    sleeping_until: Cell<u64>,
    changed: Notify,
}

impl Timers {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            due: RefCell::default(),
            sleeping_until: Cell::new(0),
            changed: Notify::new(),
        }
    }

    /// The first tick that is not before the deadline. By nanoseconds: a session that is woken a fraction of a
    /// millisecond too early finds nothing due, asks for the same tick, and is woken again without a pause.
    fn tick_of(&self, deadline: Instant) -> u64 {
        let nanos = deadline.saturating_duration_since(self.start).as_nanos();
        u64::try_from(nanos.div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX)
    }

    /// Moves a session's deadline; returns the tick to give as `old` next time.
    pub(super) fn set(&self, key: SessionKey, old: Option<u64>, deadline: Option<Instant>) -> Option<u64> {
        let new = deadline.map(|deadline| self.tick_of(deadline));
        if new == old {
            return new;
        }
        let mut due = self.due.borrow_mut();
        if let Some(old) = old {
            due.remove(&(old, key));
        }
        if let Some(new) = new {
            due.insert((new, key));
            if new < self.sleeping_until.get() {
                self.changed.notify_one();
            }
        }
        new
    }

    /// Waits until deadlines have come, and takes them out.
    pub(super) async fn expired(&self) -> Vec<SessionKey> {
        loop {
            let first = self.due.borrow().first().map(|(tick, _)| *tick);
            self.sleeping_until.set(first.unwrap_or(u64::MAX));
            match first {
                None => self.changed.notified().await,
                Some(tick) => {
                    let at = self.start + TICK * u32::try_from(tick).unwrap_or(u32::MAX);
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(at) => {}
                        () = self.changed.notified() => continue,
                    }
                    let mut due = self.due.borrow_mut();
                    let later = due.split_off(&(tick + 1, SessionKey::FIRST));
                    return std::mem::replace(&mut *due, later).into_iter().map(|(_, key)| key).collect();
                }
            }
        }
    }
}

/// Interval at which entries are refreshed: twice within their life, so that one failure is survived.
const REFRESH_EVERY: Duration = Duration::from_secs(25);
/// Pause before another attempt, after one that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A client that was asked to come back to a channel stays present for so long.
const EXPECTED_BACK: Duration = Duration::from_secs(10);
/// Refreshes under way at a time.
const BATCH: usize = 256;

/// Keeps alive what the broker knows of a worker's sessions.
pub(super) struct PresenceRefresh {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) load: Arc<InboxLoad>,
    pub(super) removals: Rc<Removals>,
    pub(super) user_limit: Rc<UserLimit>,
}

impl PresenceRefresh {
    /// Refreshes presence and the slots among users' connections, for ever.
    pub(super) async fn run(self) {
        let mut pause = REFRESH_EVERY;
        loop {
            // Other nodes may have taken this one for dead, and its clients out of presence.
            tokio::select! {
                biased;
                () = self.load.lapsed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let gone = self.hub.borrow_mut().registry_mut().absent.take_older(EXPECTED_BACK);
            for (key, channel, info) in gone {
                self.removals.remove(Removal::Presence { key, channel, info });
            }
            pause = REFRESH_EVERY;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "refreshing presence failed");
                pause = AGAIN_AFTER;
            }
            if let Err(error) = self.user_limit.refresh().await {
                tracing::warn!(%error, "refreshing slots of users' connections failed");
                pause = AGAIN_AFTER;
            }
        }
    }

    /// Enters all sessions into presence again. For those that were out the broker publishes a join.
    async fn refresh(&self) -> Result<(), BrokerError> {
        let present: Vec<_> = {
            let hub = self.hub.borrow();
            let sessions = hub.registry().entries();
            let channels =
                sessions.flat_map(|(key, session)| session.present_in().map(move |found| (key, found)));
            channels.map(|(key, membership)| (key, membership.channel.clone())).collect()
        };
        let mut failed = Ok(());
        for batch in present.chunks(BATCH) {
            let refreshes: Vec<_> = {
                // Who has left meanwhile must not be entered again.
                let hub = self.hub.borrow();
                let membership = |(key, channel): &(SessionKey, Arc<str>)| {
                    let membership = hub.registry().get(*key)?.membership(channel)?;
                    let ChannelMembership { info, announce, .. } = membership;
                    Some(self.broker.presence_add(channel, info.clone(), PRESENCE_TTL, *announce))
                };
                batch.iter().filter_map(membership).collect()
            };
            if let Some(error) = join_all(refreshes).await.into_iter().find_map(Result::err) {
                failed = Err(error);
            }
        }
        failed
    }
}

/// Tells every session of now to come back elsewhere, over that time; at once if it is zero.
pub(super) fn drain_sessions(hub: &Rc<RefCell<Hub>>, over: Duration, tasks: &Tasks) {
    let mut keys: Vec<SessionKey> = hub.borrow().registry().keys().collect();
    if over.is_zero() {
        return keys.into_iter().for_each(|key| end(hub, key));
    }
    let mut random = crate::random::rng();
    keys.shuffle(&mut random);
    let moments = times(keys.len(), over, &mut random);
    let hub = Rc::clone(hub);
    let start = Instant::now();
    tasks.spawn(async move {
        for (key, moment) in keys.into_iter().zip(moments) {
            if start.elapsed() < moment {
                tokio::time::sleep_until(start + moment).await;
            }
            end(&hub, key);
        }
    });
}

fn end(hub: &RefCell<Hub>, key: SessionKey) {
    if let Some(session) = hub.borrow().registry().get(key) {
        session.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    }
}

/// One moment for each of so many, in ascending order, each in its equal share of the time.
fn times(count: usize, over: Duration, random: &mut impl Rng) -> Vec<Duration> {
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 sessions")]
    let share = |index: usize, within: f64| (index as f64 + within) / count as f64;
    (0..count).map(|index| over.mul_f64(share(index, random.random()))).collect()
}

/// Time between two measurements of the holders of memory. [`holders::STALLED_MEASUREMENTS`] of them are 2 s.
const MEASURE_EVERY: Duration = Duration::from_millis(200);

/// Keeps the memory budget on one worker.
pub(super) struct MemoryMonitor {
    /// Number of the worker.
    pub(super) index: usize,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) memory: Arc<MemoryBudget>,
}

impl MemoryMonitor {
    /// Keeps the budget, for ever.
    pub(super) async fn run(self) {
        let mut published = HeldBytes::default();
        let mut refused = 0;
        loop {
            tokio::time::sleep(MEASURE_EVERY).await;
            self.measure_memory(&mut published, &mut refused);
        }
    }

    /// One measurement. `published` is what the budget knows of this worker, `refused` how many large replies were refused before.
    fn measure_memory(&self, published: &mut HeldBytes, refused: &mut u64) {
        let broker = self.broker.stats();
        self.memory.set_broker(broker.memory_bytes, broker.pending_bytes);
        let mut measured = holders::measure();
        let others = self.memory.client_bytes().saturating_sub(published.total());
        if others.saturating_add(measured.held.total()) >= self.memory.client_limit_bytes() {
            // Shared chunks were counted once for every subscriber: only now is it worth to look closer.
            measured = holders::measure_exactly();
        }
        self.publish(published, measured.held);
        let mut turn = self.memory.largest.turn();
        let (count, given_back) = self.end_largest(&mut turn, measured.largest(), self.memory.excess_bytes());
        // They get a signal, and give it back within this turn of the worker.
        let held = measured.held - given_back;
        self.publish(published, held);
        drop(turn);
        if count > 0 {
            let bytes = given_back.total();
            tracing::warn!(count, bytes, "memory.max_bytes exceeded; ended the largest connections");
        }
        let refused_now = self.memory.replies_refused();
        let are_refused = std::mem::replace(refused, refused_now) != refused_now;
        // One is enough where nothing was ended yet.
        let wanted = usize::from(are_refused && count == 0);
        let mut turn = self.memory.stalled.turn();
        let (count, given_back) = self.end_largest(&mut turn, measured.stalled(), wanted);
        self.publish(published, held - given_back);
        drop(turn);
        if count > 0 {
            let bytes = given_back.total();
            tracing::warn!(
                bytes,
                "large replies are refused; ended the largest connection that does not read"
            );
        }
    }

    fn publish(&self, published: &mut HeldBytes, held: HeldBytes) {
        self.memory.change_held(*published, held);
        *published = held;
    }

    /// Ends those of this worker's holders that are among the largest of the node, until these have given back `bytes`.
    /// Returns how many there were and what they give back.
    fn end_largest(&self, node: &mut ShedTurn<'_>, own: &[Candidate], bytes: usize) -> (usize, HeldBytes) {
        let sizes: Vec<usize> = own.iter().map(Candidate::bytes).collect();
        let count = node.report(self.index, &sizes, bytes, Instant::now());
        let given_back =
            own.iter().take(count).map(Candidate::end).fold(HeldBytes::default(), |sum, held| sum + held);
        self.memory.count_ended(count);
        (count, given_back)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_come_in_order_and_can_be_moved_and_removed() {
        let timers = Timers::new();
        let [first, second, third] =
            [SessionKey::FIRST, SessionKey::FIRST.next(), SessionKey::FIRST.next().next()];
        let after = |millis| Some(timers.start + Duration::from_millis(millis));
        let moved = timers.set(first, None, after(100));
        timers.set(second, None, after(300));
        let removed = timers.set(third, None, after(200));
        timers.set(first, moved, after(700));
        timers.set(third, removed, None);
        assert_eq!(timers.expired().await, [second]);
        assert_eq!(timers.expired().await, [first]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_deadline_comes_too_early() {
        let timers = Timers::new();
        for micros in [1, 999, 1000, 49_999, 50_000, 50_001, 100_400, 25_000_400] {
            let deadline = timers.start + Duration::from_micros(micros);
            timers.set(SessionKey::FIRST, None, Some(deadline));
            assert_eq!(timers.expired().await, [SessionKey::FIRST]);
            assert!(Instant::now() >= deadline, "{micros} us");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_wakes_a_sleeping_loop() {
        let timers = std::rc::Rc::new(Timers::new());
        let start = timers.start;
        timers.set(SessionKey::FIRST, None, Some(start + Duration::from_secs(3600)));
        let soon = SessionKey::FIRST.next();
        let setter = async {
            tokio::task::yield_now().await;
            timers.set(soon, None, Some(start + Duration::from_secs(1)));
        };
        let (expired, ()) = tokio::join!(timers.expired(), setter);
        assert_eq!(expired, [soon]);
    }

    #[test]
    fn moments_are_jittered_within_equal_shares_of_the_time() {
        let (over, count) = (Duration::from_secs(20), 1000);
        let share = over / count;
        let moments = times(1000, over, &mut rand::rng());
        for (moment, number) in moments.iter().zip(0..) {
            assert!((share * number..=share * (number + 1)).contains(moment), "{number}: {moment:?}");
        }
        let even = moments.windows(2).filter(|pair| (pair[1] - pair[0]).abs_diff(share) < share / 20).count();
        assert!(even < 500, "{even} of 999 gaps are even");
    }
}
