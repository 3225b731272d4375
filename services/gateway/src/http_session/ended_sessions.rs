//! Sessions that have ended, and why: for a while a request for one gets the reason, though its actor and its slot are gone.

use std::{collections::HashMap, mem, sync::Arc};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::disconnect::Disconnect;

/// Ended sessions that are remembered, in each of two generations. Of a flood only the latest are.
const REMEMBERED: usize = 16 * 1024;

/// Ended sessions by id.
#[derive(Default)]
pub(super) struct EndedSessions(Mutex<EndedGenerations>);

#[derive(Default)]
struct EndedGenerations {
    young: HashMap<Arc<str>, SessionEnd>,
    old: HashMap<Arc<str>, SessionEnd>,
}

struct SessionEnd {
    reason: Disconnect,
    /// The time until which the reason is kept.
    by: Instant,
}

impl EndedSessions {
    /// Remembers why a session has ended, until `by`.
    pub(super) fn put(&self, session: Arc<str>, reason: Disconnect, by: Instant) {
        let mut generations = self.0.lock();
        if generations.young.len() >= REMEMBERED {
            generations.old = mem::take(&mut generations.young);
        }
        generations.young.insert(session, SessionEnd { reason, by });
    }

    /// Why a session has ended, if that is still remembered.
    pub(super) fn get(&self, session: &str) -> Option<Disconnect> {
        let generations = self.0.lock();
        let end = generations.young.get(session).or_else(|| generations.old.get(session))?;
        (end.by > Instant::now()).then(|| end.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: usize) -> Arc<str> {
        number.to_string().into()
    }

    #[test]
    fn an_end_is_told_for_its_time() {
        let (ended, now) = (EndedSessions::default(), Instant::now());
        ended.put(id(1), Disconnect::SLOW, now + Duration::from_secs(60));
        ended.put(id(2), Disconnect::SLOW, now);
        assert_eq!(ended.get("1"), Some(Disconnect::SLOW));
        assert_eq!((ended.get("2"), ended.get("3")), (None, None));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_latest_are_kept() {
        let (ended, by) = (EndedSessions::default(), Instant::now() + Duration::from_secs(60));
        let last = 5 * REMEMBERED;
        (0..=last).for_each(|number| ended.put(id(number), Disconnect::STALE, by));
        assert!(ended.get(&id(last)).is_some() && ended.get(&id(last - REMEMBERED)).is_some());
        assert_eq!(ended.get("0"), None);
        let generations = ended.0.lock();
        assert!(generations.young.len() <= REMEMBERED && generations.old.len() <= REMEMBERED);
    }
}
