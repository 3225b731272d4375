//! Sessions that have not authenticated yet: how many a node holds, a network, and a TCP connection.
//!
//! If a network holds as many as it may, its newest one replaces its oldest, provided that the oldest has had the time that
//! honest clients need. So one client behind the same address as many others (a carrier-grade NAT's, or a balancer that nobody
//! trusts) does not keep them out by holding connections that never say anything. Decision record 24.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::Duration,
};

use actix::Recipient;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusals::NoPermit;
use crate::{
    disconnect::Disconnect,
    node::client_network::{ClientNetwork, Exhausted, FairShare, HolderCounts, SessionSource},
    session::Signal,
};

/// One TCP connection holds at most one part in so many of what its network may.
const CONNECTION_PARTS: usize = 2;
/// After so long without a connect a session may be ended for a newer one. Honest clients connect within a round trip.
const REPLACED_AFTER: Duration = Duration::from_secs(2);
/// Why it ends then. Its client comes back.
const REPLACED: &str = "not connected in time, others wait";

/// The most that there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnauthenticatedLimits {
    pub(super) of_node: usize,
    pub(super) of_connection: usize,
}

/// Sessions that have not authenticated yet.
#[derive(Default)]
pub(super) struct Unauthenticated {
    share: FairShare,
    connections: Mutex<HolderCounts<SocketAddr>>,
    networks: Mutex<Networks>,
}

/// Those of each network, the oldest first.
#[derive(Default)]
struct Networks {
    sessions: HashMap<ClientNetwork, BTreeMap<u64, PendingSession>>,
    next_number: u64,
}

struct PendingSession {
    since: Instant,
    /// To end it, once it runs.
    mailbox: Option<Recipient<Signal>>,
}

/// One of them.
#[derive(Debug)]
pub(in crate::node) struct UnauthenticatedPermit {
    pub(super) source: SessionSource,
    /// Its number in its network.
    number: u64,
}

impl Unauthenticated {
    /// One more; true beside it if an older one was ended for it.
    pub(super) fn take(
        &self,
        source: &SessionSource,
        most: UnauthenticatedLimits,
        now: Instant,
    ) -> Result<(Box<UnauthenticatedPermit>, bool), NoPermit> {
        // One connection leaves half of what its network may hold to the others that come from there.
        let of_network = self.share.of_network(most.of_node);
        let of_connection = most.of_connection.min(of_network.div_ceil(CONNECTION_PARTS));
        let mut connections = source.connection.map(|connection| (self.connections.lock(), connection));
        if let Some((connections, connection)) = &connections
            && connections.get(connection) >= of_connection
        {
            return Err(NoPermit::UnauthenticatedOfConnection);
        }
        let mut has_replaced = false;
        let mut taken = self.share.take(source.network(), most.of_node);
        if let (Err(Exhausted::Network), Some(network)) = (&taken, source.network())
            && self.end_oldest(network, now)
        {
            has_replaced = true;
            taken = self.share.take(source.network(), most.of_node);
        }
        taken.map_err(|exhausted| match exhausted {
            Exhausted::All => NoPermit::Unauthenticated,
            Exhausted::Network => NoPermit::UnauthenticatedOfAddress,
        })?;
        if let Some((connections, connection)) = &mut connections {
            connections.add(*connection);
        }
        let number = source.network().map_or(0, |network| self.networks.lock().add(network, now));
        Ok((Box::new(UnauthenticatedPermit { source: *source, number }), has_replaced))
    }

    /// It runs, and can be ended through this mailbox.
    pub(super) fn set_actor(&self, permit: &UnauthenticatedPermit, mailbox: Recipient<Signal>) {
        let Some(network) = permit.source.network() else { return };
        let mut networks = self.networks.lock();
        let sessions = networks.sessions.get_mut(&network);
        if let Some(pending) = sessions.and_then(|sessions| sessions.get_mut(&permit.number)) {
            pending.mailbox = Some(mailbox);
        }
    }

    /// It has authenticated, or is over.
    pub(super) fn give_back(&self, permit: &UnauthenticatedPermit) {
        let UnauthenticatedPermit { source, number } = permit;
        if let Some(connection) = source.connection {
            self.connections.lock().remove(connection);
        }
        let network = source.network();
        // One that was ended for another has given its share to that one.
        if network.is_none_or(|network| self.networks.lock().remove(network, *number).is_some()) {
            self.share.give_back(network);
        }
    }

    /// Ends the oldest session of a network, if it has had its time.
    fn end_oldest(&self, network: ClientNetwork, now: Instant) -> bool {
        let mut networks = self.networks.lock();
        let oldest = networks.sessions.get(&network).and_then(BTreeMap::first_key_value);
        let Some((number, PendingSession { since, mailbox: Some(mailbox) })) = oldest else { return false };
        if now.duration_since(*since) < REPLACED_AFTER {
            return false;
        }
        let reason = Disconnect::new(Disconnect::TOO_MANY_REQUESTS.code, REPLACED);
        if mailbox.try_send(Signal::Disconnect(reason)).is_err() {
            // It is over already, or does not get round to it: nothing is free yet.
            return false;
        }
        let number = *number;
        networks.remove(network, number);
        drop(networks);
        self.share.give_back(Some(network));
        true
    }
}

impl Networks {
    fn add(&mut self, network: ClientNetwork, since: Instant) -> u64 {
        self.next_number = self.next_number.wrapping_add(1);
        self.sessions
            .entry(network)
            .or_default()
            .insert(self.next_number, PendingSession { since, mailbox: None });
        self.next_number
    }

    fn remove(&mut self, network: ClientNetwork, number: u64) -> Option<PendingSession> {
        let sessions = self.sessions.get_mut(&network)?;
        let removed = sessions.remove(&number);
        if sessions.is_empty() {
            self.sessions.remove(&network);
        }
        if self.sessions.is_empty() {
            // What a flood took is given back.
            self.sessions = HashMap::new();
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{cell::RefCell, rc::Rc};

    use actix::{Actor, Context, Handler};

    use super::*;

    /// A session that keeps the signals that it gets.
    #[derive(Default)]
    struct Closed(Rc<RefCell<Vec<u16>>>);

    impl Actor for Closed {
        type Context = Context<Self>;
    }

    impl Handler<Signal> for Closed {
        type Result = ();

        fn handle(&mut self, signal: Signal, _: &mut Context<Self>) {
            if let Signal::Disconnect(reason) = signal {
                self.0.borrow_mut().push(reason.code);
            }
        }
    }

    const MOST: UnauthenticatedLimits = UnauthenticatedLimits { of_node: 64, of_connection: 1000 };

    fn source(last: u8) -> SessionSource {
        SessionSource { client: Some([192, 0, 2, last].into()), connection: None }
    }

    #[actix_rt::test]
    async fn the_newest_of_a_network_takes_the_place_of_its_oldest_once_that_has_had_its_time() {
        let (unauthenticated, start) = (Unauthenticated::default(), Instant::now());
        let closed = Rc::new(RefCell::new(Vec::new()));
        let take = |last, now| {
            let (permit, has_replaced) = unauthenticated.take(&source(last), MOST, now)?;
            unauthenticated.set_actor(&permit, Closed(closed.clone()).start().recipient());
            Ok::<_, NoPermit>((permit, has_replaced))
        };
        let mut held: Vec<_> = (0..16).map(|_| take(1, start).unwrap().0).collect();
        let soon = start + REPLACED_AFTER / 2;
        assert_eq!(take(1, soon).unwrap_err(), NoPermit::UnauthenticatedOfAddress);
        let (newest, has_replaced) = take(1, start + REPLACED_AFTER).unwrap();
        assert!(has_replaced);
        tokio::task::yield_now().await;
        assert_eq!(*closed.borrow(), [3013]);
        // The one that was ended has nothing to give back.
        unauthenticated.give_back(&held.remove(0));
        let (another, has_replaced) = take(1, start + REPLACED_AFTER).unwrap();
        assert!(has_replaced);
        // Those of others are never ended for it.
        assert!(!take(2, start + REPLACED_AFTER).unwrap().1);
        held.remove(0);
        held.extend([newest, another]);
        held.iter().for_each(|permit| unauthenticated.give_back(permit));
        assert_eq!(unauthenticated.networks.lock().sessions.len(), 1);
        assert_eq!((0..16).filter(|_| take(1, start).is_ok_and(|(_, replaced)| !replaced)).count(), 16);
    }

    #[actix_rt::test]
    async fn a_session_that_does_not_run_yet_is_not_ended() {
        let (unauthenticated, start) = (Unauthenticated::default(), Instant::now());
        let held: Vec<_> = (0..16).map(|_| unauthenticated.take(&source(1), MOST, start).unwrap()).collect();
        let later = start + 10 * REPLACED_AFTER;
        assert_eq!(
            unauthenticated.take(&source(1), MOST, later).unwrap_err(),
            NoPermit::UnauthenticatedOfAddress
        );
        assert_eq!(held.len(), 16);
    }
}
