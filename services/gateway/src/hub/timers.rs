//! Deadlines of a worker's sessions, under one timer: heartbeats, token expiry, time limits.
//!
//! Deadlines are rounded up to ticks, so that the many sessions of a worker wake its thread a few times a second and
//! not once each. `docs/protocols/websocket.md` §14.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::hub::registry::SessionKey;

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

#[cfg(test)]
mod tests {
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
}
