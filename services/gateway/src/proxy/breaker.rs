//! The circuit breaker of one proxy on this node: while the backend is down its calls end at once, and now and then one of them
//! tries whether it is back.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::time::Instant;

use super::recent::RecentCounts;
use crate::{random, settings::BreakerSettings};

/// It stays open for this long at first.
const OPEN_FIRST: Duration = Duration::from_secs(1);
/// The backend's own wish, by `Retry-After`, counts up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// The state, as metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BreakerState {
    /// Calls go through.
    Closed = 0,
    /// One call tries.
    HalfOpen = 1,
    /// Calls end at once.
    Open = 2,
}

/// The end of a call, for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallResult {
    /// The backend is there.
    Good,
    /// It is not, or not well.
    Failed,
    /// It asks to be left alone for a while.
    Busy(Duration),
}

/// The breaker.
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
}

struct State {
    counts: RecentCounts,
    /// Failures one after the other.
    in_row: u32,
    /// Open until then.
    open_until: Option<Instant>,
    /// The longest time of the next opening.
    next_open: Duration,
    /// A call tries whether the backend is back.
    is_trying: bool,
}

/// A call that the breaker let through. Dropped without a result, it counts for nothing.
pub(super) struct AdmittedCall<'b> {
    breaker: &'b Breaker,
    is_trial: bool,
}

impl Breaker {
    pub(super) fn new(settings: &BreakerSettings, now: Instant) -> Self {
        Self {
            settings: settings.clone(),
            state: Mutex::new(State {
                counts: RecentCounts::new(now),
                in_row: 0,
                open_until: None,
                next_open: OPEN_FIRST.min(settings.max_open),
                is_trying: false,
            }),
        }
    }

    pub(super) fn state(&self, now: Instant) -> BreakerState {
        let state = self.state.lock();
        match state.open_until {
            None => BreakerState::Closed,
            Some(_) if state.is_trying => BreakerState::HalfOpen,
            Some(until) if now >= until => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// True if a call would be let through now.
    pub(super) fn is_passable(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.open_until.is_none_or(|until| now >= until && !state.is_trying)
    }

    /// Lets a call through, or not.
    pub(super) fn admit(&self, now: Instant) -> Option<AdmittedCall<'_>> {
        let mut state = self.state.lock();
        let is_trial = match state.open_until {
            None => false,
            Some(until) if now >= until && !state.is_trying => {
                state.is_trying = true;
                true
            }
            Some(_) => return None,
        };
        Some(AdmittedCall { breaker: self, is_trial })
    }

    /// True if the breaker opened by it.
    fn report(&self, is_trial: bool, result: CallResult, now: Instant) -> bool {
        let mut state = self.state.lock();
        if is_trial {
            state.is_trying = false;
        } else if state.open_until.is_some() {
            // It began before the breaker opened, and tells nothing new.
            return false;
        }
        let is_good = result == CallResult::Good;
        if is_trial && is_good {
            state.open_until = None;
            state.next_open = OPEN_FIRST.min(self.settings.max_open);
            state.counts.clear();
        }
        state.in_row = if is_good { 0 } else { state.in_row.saturating_add(1) };
        state.counts.add(now, 1, (!is_good).into());
        let (calls, failed) = state.counts.sums(now);
        let is_too_much =
            u64::from(failed) * 100 >= u64::from(calls) * u64::from(self.settings.failure_percent);
        let (for_time, doubles) = match result {
            CallResult::Busy(time) if !time.is_zero() => (time.min(RETRY_AFTER_MAX), false),
            _ if is_good => return false,
            _ if is_trial
                || state.in_row >= self.settings.failures
                || (calls >= self.settings.min_calls && is_too_much) =>
            {
                // Full jitter: the nodes of a cluster do not come back all at once.
                (state.next_open.mul_f64(random::rng().random_range(0.0..=1.0)), true)
            }
            _ => return false,
        };
        state.open_until = Some(now + for_time);
        state.in_row = 0;
        state.counts.clear();
        if doubles {
            state.next_open = (state.next_open * 2).min(self.settings.max_open);
        }
        true
    }
}

impl AdmittedCall<'_> {
    /// Tells what became of it. True if the breaker opened by it.
    pub(super) fn report(mut self, result: CallResult, now: Instant) -> bool {
        let has_opened = self.breaker.report(self.is_trial, result, now);
        self.is_trial = false;
        has_opened
    }
}

impl Drop for AdmittedCall<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            // The client went away: the next call tries.
            self.breaker.state.lock().is_trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(&BreakerSettings::default(), now), now)
    }

    fn call(breaker: &Breaker, result: CallResult, now: Instant) {
        let _opened = breaker.admit(now).unwrap().report(result, now);
    }

    #[test]
    fn ten_failures_in_a_row_open_it_and_one_success_between_them_does_not() {
        let (breaker, now) = breaker();
        (0..9).for_each(|_| call(&breaker, CallResult::Failed, now));
        call(&breaker, CallResult::Good, now);
        (0..9).for_each(|_| call(&breaker, CallResult::Failed, now));
        assert_eq!(breaker.state(now), BreakerState::Closed);
        call(&breaker, CallResult::Failed, now);
        assert_ne!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn half_of_twenty_failing_calls_in_ten_seconds_open_it() {
        let (breaker, now) = breaker();
        for number in 0..19 {
            let result = if number % 2 == 0 { CallResult::Failed } else { CallResult::Good };
            call(&breaker, result, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed);
        // Ten seconds later these are forgotten.
        call(&breaker, CallResult::Failed, now + Duration::from_secs(10));
        assert_eq!(breaker.state(now + Duration::from_secs(10)), BreakerState::Closed);
        let (breaker, now) = self::breaker();
        for number in 0..20 {
            let result = if number % 2 == 0 { CallResult::Failed } else { CallResult::Good };
            call(&breaker, result, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Closed, "a good call does not open it");
        call(&breaker, CallResult::Failed, now);
        assert_ne!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn half_open_lets_one_call_through_and_its_result_decides() {
        let (breaker, now) = breaker();
        call(&breaker, CallResult::Busy(Duration::from_secs(5)), now);
        assert_eq!(breaker.state(now), BreakerState::Open);
        assert!(!breaker.is_passable(now) && breaker.admit(now).is_none());
        let later = now + Duration::from_secs(5);
        assert_eq!(breaker.state(later), BreakerState::HalfOpen);
        let trial = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_none(), "one at a time");
        trial.report(CallResult::Good, later);
        assert_eq!(breaker.state(later), BreakerState::Closed);
    }

    #[test]
    fn a_trial_whose_client_went_away_leaves_the_next_one_to_try() {
        let (breaker, now) = breaker();
        call(&breaker, CallResult::Busy(Duration::from_secs(5)), now);
        let later = now + Duration::from_secs(5);
        drop(breaker.admit(later).unwrap());
        let trial = breaker.admit(later).unwrap();
        trial.report(CallResult::Failed, later);
        let most = later + Duration::from_secs(1);
        assert!(breaker.state(most) != BreakerState::Closed, "a failed trial opens it again");
    }

    #[test]
    fn retry_after_opens_it_for_thirty_seconds_at_most() {
        let (breaker, now) = breaker();
        call(&breaker, CallResult::Busy(Duration::from_secs(3600)), now);
        assert_eq!(breaker.state(now + Duration::from_secs(29)), BreakerState::Open);
        assert_eq!(breaker.state(now + Duration::from_secs(30)), BreakerState::HalfOpen);
    }

    #[test]
    fn it_stays_open_for_longer_each_time_up_to_the_setting() {
        let (breaker, mut now) = breaker();
        (0..10).for_each(|_| call(&breaker, CallResult::Failed, now));
        for longest in [1, 2, 4, 8, 16, 30, 30] {
            now += Duration::from_secs(longest);
            assert!(breaker.is_passable(now), "open for at most {longest} s");
            call(&breaker, CallResult::Failed, now);
        }
    }

    #[test]
    fn a_call_that_began_before_it_opened_tells_nothing_new() {
        let (breaker, now) = breaker();
        let early = breaker.admit(now).unwrap();
        call(&breaker, CallResult::Busy(Duration::from_secs(5)), now);
        early.report(CallResult::Good, now);
        assert_eq!(breaker.state(now), BreakerState::Open);
    }
}
