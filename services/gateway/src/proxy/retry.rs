//! The repetition of a call: at most once, within the call's time, and only what the backend has surely, or nearly surely, not seen.
//! A budget keeps repetitions from doubling the load of a backend that is in trouble.

use parking_lot::Mutex;
use tokio::time::Instant;

use super::recent::RecentCounts;
use crate::{backend::PostError, settings::ProxyEvent};

/// Repetitions at most, in percent of the calls of the last ten seconds.
const PERCENT: u32 = 20;
/// Repetitions in ten seconds that are always allowed: of a few calls a fifth would be none.
const ALWAYS: u32 = 10;

/// The budget of one proxy on this node.
pub(super) struct RetryBudget(Mutex<RecentCounts>);

impl RetryBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(RecentCounts::new(now)))
    }

    /// Counts a call.
    pub(super) fn count(&self, now: Instant) {
        self.0.lock().add(now, 1, 0);
    }

    /// Takes a repetition from the budget, if there is one.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut counts = self.0.lock();
        let (calls, repeated) = counts.sums(now);
        let allowed = (calls.saturating_mul(PERCENT) / 100).max(ALWAYS);
        let is_allowed = repeated < allowed;
        if is_allowed {
            counts.add(now, 0, 1);
        }
        is_allowed
    }
}

/// True if a call that failed like this may be sent again: a decision may be asked for twice, what has effects may not.
pub(super) fn may_repeat(event: ProxyEvent, error: &PostError) -> bool {
    match error {
        PostError::Connect(_) => true,
        PostError::Stale(_) => !matches!(event, ProxyEvent::Publish | ProxyEvent::Rpc),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_has_effects_is_repeated_only_if_it_was_surely_not_seen() {
        let text = String::new;
        for event in ProxyEvent::ALL {
            let is_decision = !matches!(event, ProxyEvent::Publish | ProxyEvent::Rpc);
            assert!(may_repeat(event, &PostError::Connect(text())));
            assert_eq!(may_repeat(event, &PostError::Stale(text())), is_decision);
            for error in [PostError::Timeout, PostError::ConnectTimeout, PostError::Lost(text())] {
                assert!(!may_repeat(event, &error), "{error}");
            }
            for error in [PostError::Head(text()), PostError::Body(text()), PostError::TooLarge(1)] {
                assert!(!may_repeat(event, &error), "{error}");
            }
        }
    }

    #[test]
    fn a_fifth_of_the_calls_of_ten_seconds_may_be_repeated() {
        let now = Instant::now();
        let budget = RetryBudget::new(now);
        assert_eq!((0..100).filter(|_| budget.take(now)).count(), 10);
        let later = now + Duration::from_secs(60);
        (0..1000).for_each(|_| budget.count(later));
        assert_eq!((0..1000).filter(|_| budget.take(later)).count(), 200);
        assert!(!budget.take(later + Duration::from_secs(9)));
        assert!(budget.take(later + Duration::from_secs(10)));
    }
}
