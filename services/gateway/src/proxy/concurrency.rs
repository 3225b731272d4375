//! The calls of one proxy that may be under way now: between one and `max_in_flight`, by what the backend can take.
//!
//! A backend that is slower than its callers answers nobody in time: it works on calls that nobody waits for any more. So the
//! limit halves when a call times out, starts again from one after the breaker opened, and grows with calls that are answered
//! in a quarter of their time (slow start, then one a round, as TCP does; RFC 5681). Record 53.

use std::time::Duration;

use tokio::time::Instant;

/// The limit of now. Pure: it knows the places only by their number.
#[derive(Debug)]
pub(super) struct ConcurrencyLimit {
    most: usize,
    limit: usize,
    /// Below it the limit grows with each good call, above it with each round of them.
    threshold: usize,
    /// Good calls since the limit grew above the threshold.
    good: usize,
    /// Calls that began before it tell nothing new.
    lowered_at: Option<Instant>,
    /// Duration of a good call, smoothed; zero before the first one.
    usual: Duration,
}

impl ConcurrencyLimit {
    pub(super) fn new(most: usize) -> Self {
        Self { most, limit: most, threshold: most, good: 0, lowered_at: None, usual: Duration::ZERO }
    }

    /// Calls that may be under way.
    pub(super) fn get(&self) -> usize {
        self.limit
    }

    /// The time that a call should have left when it is sent: twice what calls take. Zero where none was answered yet.
    pub(super) fn needed(&self) -> Duration {
        self.usual * 2
    }

    /// A call was answered after `took` of the `time` that it may take. `is_used`: all places were taken, so a higher limit
    /// would have been used.
    pub(super) fn answered(&mut self, took: Duration, time: Duration, is_used: bool) {
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
        if took > time / 4 || !is_used || self.limit >= self.most {
            return;
        }
        self.good += 1;
        if self.limit < self.threshold || self.good >= self.limit {
            self.limit += 1;
            self.good = 0;
        }
    }

    /// A call that was sent at `began` timed out, or the backend said that it has too much to do.
    pub(super) fn overloaded(&mut self, began: Instant, now: Instant) {
        if self.lowered_at.is_some_and(|lowered| began < lowered) {
            return;
        }
        self.threshold = (self.limit / 2).max(1);
        self.lower(self.threshold, now);
    }

    /// The breaker opened: the backend gets one call at first.
    pub(super) fn restart(&mut self, now: Instant) {
        self.threshold = (self.limit / 2).clamp(1, self.threshold.max(1));
        self.lower(1, now);
    }

    fn lower(&mut self, limit: usize, now: Instant) {
        self.limit = limit;
        self.good = 0;
        self.lowered_at = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_millis(10);

    #[test]
    fn it_halves_once_for_all_calls_that_were_under_way() {
        let (mut limit, began) = (ConcurrencyLimit::new(256), Instant::now());
        for _ in 0..256 {
            limit.overloaded(began, began + TIME);
        }
        assert_eq!(limit.get(), 128);
        limit.overloaded(began + TIME, began + 2 * TIME);
        assert_eq!(limit.get(), 64);
        for round in 2..20 {
            limit.overloaded(began + round * TIME, began + (round + 1) * TIME);
        }
        assert_eq!(limit.get(), 1, "one call is always allowed");
    }

    #[test]
    fn after_the_breaker_opened_it_grows_with_each_good_call_to_half_of_before_then_slowly() {
        let (mut limit, now) = (ConcurrencyLimit::new(64), Instant::now());
        limit.restart(now);
        assert_eq!(limit.get(), 1);
        let grown = |limit: &mut ConcurrencyLimit, calls: usize| {
            (0..calls).for_each(|_| limit.answered(QUICK, TIME, true));
            limit.get()
        };
        assert_eq!(grown(&mut limit, 31), 32);
        assert_eq!(grown(&mut limit, 31), 32);
        assert_eq!(grown(&mut limit, 1), 33);
        assert_eq!(grown(&mut limit, 10_000), 64, "max_in_flight is the end of it");
        limit.restart(now);
        limit.restart(now);
        assert_eq!(grown(&mut limit, 1), 2, "a trial that failed keeps it able to grow");
    }

    #[test]
    fn it_does_not_grow_with_slow_calls_nor_where_places_are_free() {
        let (mut limit, now) = (ConcurrencyLimit::new(64), Instant::now());
        limit.restart(now);
        (0..100).for_each(|_| limit.answered(TIME * 2 / 5, TIME, true));
        (0..100).for_each(|_| limit.answered(QUICK, TIME, false));
        assert_eq!(limit.get(), 1);
        assert!(limit.needed() < 3 * QUICK);
    }
}
