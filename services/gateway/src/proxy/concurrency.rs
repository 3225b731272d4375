//! The calls of one proxy that may be under way now: between one and `max_in_flight`, by what the backend can take.
//!
//! A backend that is slower than its callers answers nobody in time: it works on calls that nobody waits for any more. So the
//! limit halves when calls time out or take too long, starts again from one after the breaker opened, and else grows with calls
//! that are answered (slow start, then one a round, as TCP does; RFC 5681). Too long is a quarter of their time and twice what
//! the quickest calls take: a backend that is slow with a single call, too, gets as many as ever. All nodes see the same delay
//! of a backend that they share, so that their parts become equal. Record 53.

use std::time::Duration;

use tokio::time::Instant;

/// The quickest call counts for this long, twice at most.
const LEAST_KEPT: Duration = Duration::from_secs(10);

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
    delay: Delay,
}

/// Durations of answered calls.
#[derive(Debug)]
struct Delay {
    /// Smoothed; zero before the first one.
    usual: Duration,
    /// The least of this stretch of time and the one before.
    least: Duration,
    /// The least of this stretch of time, and its begin.
    least_now: Duration,
    since: Option<Instant>,
}

impl Delay {
    fn add(&mut self, took: Duration, now: Instant) {
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
        if self.since.is_none_or(|since| now.duration_since(since) > LEAST_KEPT) {
            self.least = self.least_now.min(took);
            self.least_now = took;
            self.since = Some(now);
        }
        self.least_now = self.least_now.min(took);
        self.least = self.least.min(took);
    }

    /// Calls take longer than one alone would, and so long that who waits for a place comes too late.
    fn is_too_long(&self, time: Duration) -> bool {
        self.usual > (time / 4).max(self.least.saturating_mul(2)).min(time * 3 / 4)
    }
}

impl ConcurrencyLimit {
    pub(super) fn new(most: usize) -> Self {
        let delay =
            Delay { usual: Duration::ZERO, least: Duration::MAX, least_now: Duration::MAX, since: None };
        Self { most, limit: most, threshold: most, good: 0, lowered_at: None, delay }
    }

    /// Calls that may be under way.
    pub(super) fn get(&self) -> usize {
        self.limit
    }

    /// The time that a call should have left when it is sent: twice what calls take. Zero where none was answered yet.
    pub(super) fn needed(&self) -> Duration {
        self.delay.usual * 2
    }

    /// A call that was sent at `began` was answered now, within the `time` that it may take. `is_used`: all places were taken,
    /// so a higher limit would have been used.
    pub(super) fn answered(&mut self, began: Instant, now: Instant, time: Duration, is_used: bool) {
        self.delay.add(now.duration_since(began), now);
        if self.delay.is_too_long(time) {
            return self.overloaded(began, now);
        }
        if !is_used || self.limit >= self.most {
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
    use std::collections::VecDeque;

    use super::*;

    const TIME: Duration = Duration::from_secs(1);
    const QUICK: Duration = Duration::from_millis(10);

    /// So many calls, each begun when the one before was answered after `took`.
    fn calls(limit: &mut ConcurrencyLimit, count: u32, took: Duration, is_used: bool, now: &mut Instant) {
        for _ in 0..count {
            let began = *now;
            *now += took;
            limit.answered(began, *now, TIME, is_used);
        }
    }

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
        let (mut limit, mut now) = (ConcurrencyLimit::new(64), Instant::now());
        limit.restart(now);
        assert_eq!(limit.get(), 1);
        for (count, expected) in [(31, 32), (31, 32), (1, 33), (10_000, 64)] {
            calls(&mut limit, count, QUICK, true, &mut now);
            assert_eq!(limit.get(), expected);
        }
        limit.restart(now);
        limit.restart(now);
        calls(&mut limit, 1, QUICK, true, &mut now);
        assert_eq!(limit.get(), 2, "a trial that failed keeps it able to grow");
    }

    #[test]
    fn it_does_not_grow_where_places_are_free() {
        let (mut limit, mut now) = (ConcurrencyLimit::new(64), Instant::now());
        limit.restart(now);
        calls(&mut limit, 100, QUICK, false, &mut now);
        assert_eq!((limit.get(), limit.needed()), (1, 2 * QUICK));
    }

    #[test]
    fn calls_that_become_slow_lower_it_and_calls_that_are_always_slow_do_not() {
        let (mut limit, mut now) = (ConcurrencyLimit::new(64), Instant::now());
        calls(&mut limit, 10, QUICK, true, &mut now);
        calls(&mut limit, 1, TIME * 2 / 5, true, &mut now);
        assert_eq!(limit.get(), 64, "one slow call is none");
        calls(&mut limit, 8, TIME * 2 / 5, true, &mut now);
        assert!(limit.get() < 64);
        let mut limit = ConcurrencyLimit::new(64);
        limit.restart(now);
        calls(&mut limit, 10_000, TIME * 2 / 5, true, &mut now);
        assert_eq!(limit.get(), 64);
    }

    /// Nodes that always have callers, at one backend that answers a call every 20 ms in the order in which they came.
    /// Gives how many calls of each node it answered in time in the last minute of three.
    fn shared_backend(mut nodes: Vec<ConcurrencyLimit>) -> Vec<usize> {
        const STEP: Duration = Duration::from_millis(20);
        let begin = Instant::now();
        let mut answered = vec![0; nodes.len()];
        let mut in_flight: Vec<Vec<Instant>> = vec![Vec::new(); nodes.len()];
        let mut backend: VecDeque<(usize, Instant)> = VecDeque::new();
        for step in 0..180 * 50 {
            let now = begin + STEP * step;
            for (index, node) in nodes.iter_mut().enumerate() {
                for began in in_flight[index].extract_if(.., |began| now.duration_since(*began) >= TIME) {
                    node.overloaded(began, now);
                }
                while in_flight[index].len() < node.get() {
                    in_flight[index].push(now);
                    backend.push_back((index, now));
                }
            }
            if let Some((index, began)) = backend.pop_front()
                && let Some(waits) = in_flight[index].iter().position(|other| *other == began)
            {
                in_flight[index].swap_remove(waits);
                nodes[index].answered(began, now + STEP, TIME, true);
                answered[index] += usize::from(step >= 120 * 50);
            }
        }
        answered
    }

    #[test]
    fn nodes_share_a_slow_backend_which_is_nearly_always_at_work_for_somebody_who_waits() {
        let mut late = ConcurrencyLimit::new(256);
        late.restart(Instant::now());
        let parts = shared_backend(vec![ConcurrencyLimit::new(256), late, ConcurrencyLimit::new(256)]);
        let total: usize = parts.iter().sum();
        assert!(total > 60 * 50 * 9 / 10, "{parts:?}");
        assert!(parts.iter().all(|part| *part > total / 6), "{parts:?}");
    }
}
