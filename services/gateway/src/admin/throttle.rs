//! Wrong logins: an address that fails too often waits longer and longer, and a node that sees too many of them takes one a second.
//! It is never closed: a right password from elsewhere gets in.

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use crate::node::client_network::ClientNetwork;

/// Failures of an address within [`WINDOW`] after which it waits.
const FAILURES_OF_ADDRESS: u32 = 5;
/// Failures of all addresses within [`WINDOW`] above which the node takes one login a second.
const FAILURES_OF_NODE: usize = 30;
/// Time for which a failure counts.
const WINDOW: Duration = Duration::from_secs(300);
/// The first wait of an address; each failure after it doubles the wait.
const FIRST_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// Addresses that are remembered; the one that failed first is forgotten for a new one.
const ADDRESSES: usize = 4096;
/// Logins that wait for those under way. More are refused, and may come again in a second.
const WAITING: usize = 16;
/// Pause before a login on a node that sees too many failures.
const PACE: Duration = Duration::from_secs(1);

/// The failures of one address.
#[derive(Debug)]
struct AddressFailures {
    count: u32,
    last: Instant,
    refused_until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Failures {
    addresses: IndexMap<ClientNetwork, AddressFailures>,
    /// Times of the last failures of all, at most one more than [`FAILURES_OF_NODE`].
    of_node: Vec<Instant>,
}

/// The limit of logins of one node.
pub struct LoginThrottle {
    failures: Mutex<Failures>,
    /// Held by the logins that are being verified.
    verified: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// One login is verified at a time.
impl Default for LoginThrottle {
    fn default() -> Self {
        Self::new(1)
    }
}

/// A login is refused before its password is looked at; it may come again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins; try again in {} s", whole_seconds(*.0))]
pub struct Throttled(pub Duration);

/// Rounded up, so that who comes then is not refused again.
pub fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// The right to verify one login; the next one has it when this is dropped.
pub struct LoginTurn {
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl LoginThrottle {
    /// One that has so many logins verified at a time.
    pub fn new(at_once: usize) -> Self {
        Self {
            failures: Mutex::default(),
            verified: Arc::new(Semaphore::new(at_once)),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// Waits for the turn of a login.
    ///
    /// # Errors
    /// Its address has failed too often, or too many logins wait.
    pub async fn turn(&self, network: Option<ClientNetwork>) -> Result<LoginTurn, Throttled> {
        self.check(network)?;
        let Ok(_waiting) = self.waiting.clone().try_acquire_owned() else { return Err(Throttled(PACE)) };
        let verified = self.verified.clone().acquire_owned().await;
        let Ok(permit) = verified else { return Err(Throttled(PACE)) };
        // Others of its address may have failed while it waited.
        self.check(network)?;
        if self.is_flooded() {
            tokio::time::sleep(PACE).await;
        }
        Ok(LoginTurn { _permit: permit })
    }

    fn check(&self, network: Option<ClientNetwork>) -> Result<(), Throttled> {
        let now = Instant::now();
        let until = network.and_then(|network| self.failures.lock().addresses.get(&network)?.refused_until);
        match until.map(|until| until.saturating_duration_since(now)) {
            Some(left) if !left.is_zero() => Err(Throttled(left.max(PACE))),
            _ => Ok(()),
        }
    }

    fn is_flooded(&self) -> bool {
        let mut failures = self.failures.lock();
        failures.of_node.retain(|at| at.elapsed() < WINDOW);
        failures.of_node.len() > FAILURES_OF_NODE
    }

    /// A login failed.
    pub fn failed(&self, network: Option<ClientNetwork>) {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        if failures.of_node.len() > FAILURES_OF_NODE {
            failures.of_node.remove(0);
        }
        failures.of_node.push(now);
        let Some(network) = network else { return };
        if failures.addresses.len() >= ADDRESSES && !failures.addresses.contains_key(&network) {
            failures.addresses.shift_remove_index(0);
        }
        let fresh = AddressFailures { count: 0, last: now, refused_until: None };
        let address = failures.addresses.entry(network).or_insert(fresh);
        let forgotten_at = address.refused_until.unwrap_or(address.last) + WINDOW;
        if now > forgotten_at {
            address.count = 0;
        }
        address.count = address.count.saturating_add(1);
        address.last = now;
        if let Some(over) = address.count.checked_sub(FAILURES_OF_ADDRESS) {
            let wait = FIRST_WAIT.saturating_mul(1 << over.min(10)).min(LONGEST_WAIT);
            address.refused_until = Some(now + wait);
        }
    }

    /// A login succeeded: its address begins anew.
    pub fn succeeded(&self, network: Option<ClientNetwork>) {
        if let Some(network) = network {
            self.failures.lock().addresses.shift_remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::{IpAddr, Ipv4Addr};

    use futures_util::FutureExt as _;

    use super::*;

    fn network(last: u8) -> Option<ClientNetwork> {
        Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)).into())
    }

    async fn fail(throttle: &LoginThrottle, network: Option<ClientNetwork>) -> Result<(), Throttled> {
        let _turn = throttle.turn(network).await?;
        throttle.failed(network);
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_waits_after_five_failures_and_then_twice_as_long_each_time() {
        let throttle = LoginThrottle::default();
        for _ in 0..FAILURES_OF_ADDRESS {
            fail(&throttle, network(1)).await.unwrap();
        }
        let mut wait = FIRST_WAIT;
        for _ in 0..8 {
            let Throttled(left) = fail(&throttle, network(1)).await.unwrap_err();
            assert_eq!(left, wait);
            // Another address is not concerned.
            assert!(throttle.turn(network(2)).await.is_ok());
            tokio::time::advance(left).await;
            fail(&throttle, network(1)).await.unwrap();
            wait = (2 * wait).min(LONGEST_WAIT);
        }
        assert_eq!(wait, LONGEST_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_after_a_while_and_by_a_right_password() {
        let throttle = LoginThrottle::default();
        for _ in 1..FAILURES_OF_ADDRESS {
            fail(&throttle, network(1)).await.unwrap();
        }
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        for _ in 1..FAILURES_OF_ADDRESS {
            fail(&throttle, network(1)).await.unwrap();
        }
        throttle.succeeded(network(1));
        for _ in 0..FAILURES_OF_ADDRESS {
            fail(&throttle, network(1)).await.unwrap();
        }
        assert!(fail(&throttle, network(1)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_with_many_failures_takes_one_login_a_second_and_never_none() {
        let throttle = LoginThrottle::default();
        for last in 0..=u8::try_from(FAILURES_OF_NODE).unwrap() {
            fail(&throttle, network(last)).await.unwrap();
        }
        let began = Instant::now();
        for last in 100..103 {
            drop(throttle.turn(network(last)).await.unwrap());
        }
        assert_eq!(began.elapsed(), 3 * PACE);
        tokio::time::advance(WINDOW).await;
        let began = Instant::now();
        drop(throttle.turn(network(200)).await.unwrap());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn logins_that_wait_are_bounded_and_one_is_verified_at_a_time() {
        let throttle = LoginThrottle::default();
        let turn = throttle.turn(network(0)).await.unwrap();
        let waiting: Vec<_> = (1..).map(|last| throttle.turn(network(last))).take(WAITING).collect();
        let mut waiting = Box::pin(futures_util::future::join_all(waiting));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(throttle.turn(network(200)).await.err(), Some(Throttled(PACE)));
        drop(turn);
        drop(waiting);
        assert!(throttle.turn(network(200)).await.is_ok());
    }

    #[test]
    fn addresses_that_are_remembered_are_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let throttle = LoginThrottle::default();
            for number in 0..2 * u32::try_from(ADDRESSES).unwrap() {
                throttle.failed(Some(IpAddr::V4(number.into()).into()));
            }
            let failures = throttle.failures.lock();
            assert_eq!(failures.addresses.len(), ADDRESSES);
            assert!(failures.of_node.len() <= FAILURES_OF_NODE + 1);
        });
    }
}
