//! The bounds of one proxy's calls on this node: so many at a time, and a bounded queue before them. A call waits in the order in
//! which it came, within its own time. One session cannot fill the queue.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

/// Places in the queue that one session may have.
const WAITING_OF_SESSION: usize = 8;

/// Why a call has no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The queue is full, or this session's part of it.
    Full,
    /// Its time was over while it waited.
    Timeout,
}

/// The places of one proxy.
pub(super) struct CallLimits {
    places: Semaphore,
    max_in_flight: usize,
    max_waiting: usize,
    waiting: AtomicUsize,
    /// Sessions that wait, by client id, and how often. Touched only while calls wait.
    of_sessions: Mutex<HashMap<Arc<str>, usize>>,
}

impl CallLimits {
    pub(super) fn new(max_in_flight: usize, max_waiting: usize) -> Self {
        Self {
            places: Semaphore::new(max_in_flight),
            max_in_flight,
            max_waiting,
            waiting: AtomicUsize::new(0),
            of_sessions: Mutex::default(),
        }
    }

    /// Calls under way.
    pub(super) fn in_flight(&self) -> usize {
        self.max_in_flight.saturating_sub(self.places.available_permits())
    }

    /// Calls that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Waits for a place. It is given back when it is dropped.
    pub(super) async fn enter(
        &self,
        client: &Arc<str>,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, NoPlace> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waiting = Waiting::new(self, client).ok_or(NoPlace::Full)?;
        match timeout_at(deadline, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            // Places are never closed.
            Ok(Err(_)) => Err(NoPlace::Full),
            Err(_elapsed) => Err(NoPlace::Timeout),
        }
    }
}

/// A place in the queue.
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
        if *of_session >= WAITING_OF_SESSION {
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
        let place = limits.enter(&client(0), deadline).await.unwrap();
        let (one, two) = (client(1), client(2));
        let mut first = Box::pin(limits.enter(&one, deadline));
        let mut second = Box::pin(limits.enter(&two, deadline));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        assert_eq!((limits.in_flight(), limits.waiting()), (1, 2));
        assert_eq!(limits.enter(&client(3), deadline).now_or_never().unwrap().unwrap_err(), NoPlace::Full);
        drop(place);
        assert!((&mut second).now_or_never().is_none());
        drop(first.await.unwrap());
        drop(second.await.unwrap());
        assert_eq!((limits.in_flight(), limits.waiting()), (0, 0));
        assert!(limits.of_sessions.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_has_at_most_eight_places_in_the_queue() {
        let limits = CallLimits::new(1, 100);
        let deadline = Instant::now() + Duration::from_secs(1);
        let _place = limits.enter(&client(0), deadline).await.unwrap();
        let one = client(1);
        let results = join_all((0..20).map(|_| limits.enter(&one, deadline))).await;
        let refused =
            |why: NoPlace| results.iter().filter(|result| result.as_ref().err() == Some(&why)).count();
        assert_eq!((refused(NoPlace::Full), refused(NoPlace::Timeout)), (12, 8));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_counts_in_the_time_of_a_call_and_gives_its_place_back() {
        let limits = CallLimits::new(1, 1);
        let deadline = Instant::now() + Duration::from_secs(1);
        let place = limits.enter(&client(0), deadline).await.unwrap();
        assert_eq!(limits.enter(&client(1), deadline).await.unwrap_err(), NoPlace::Timeout);
        assert_eq!(Instant::now(), deadline);
        // A call whose client went away while it waited.
        let two = client(2);
        let mut gone = Box::pin(limits.enter(&two, deadline + Duration::from_secs(9)));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        assert_eq!(limits.waiting(), 0);
        drop(place);
        assert!(limits.enter(&client(3), deadline).await.is_ok());
    }
}
