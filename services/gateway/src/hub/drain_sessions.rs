//! The end of all sessions of a worker, spread over a time, so that those who come back elsewhere do not come all at once.
//!
//! In the order of a shuffle, each at a random moment of a slot of its own: jittered, at a rate that is never exceeded for
//! longer than two slots, and independent of how the sessions are connected. `docs/architecture.md` §5.10; record 15.

use std::{cell::RefCell, rc::Rc, time::Duration};

use rand::{Rng, RngExt as _, seq::SliceRandom as _};
use tokio::time::Instant;

use crate::{
    disconnect::Disconnect,
    hub::{Hub, registry::SessionKey},
    session::Signal,
    tasks::Tasks,
};

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

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]
    use super::*;

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
