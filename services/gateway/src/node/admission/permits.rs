//! Slots: one for each session of a node, of which those that have not authenticated hold a share only.
//!
//! A session authenticates with its connect (CONNECT in STOMP), which honest clients send at once. Until then nothing is
//! known of it but where it comes from. Decision record 24.

use std::sync::{Arc, atomic::Ordering};

use actix::Recipient;
use tokio::time::Instant;

pub use super::refusals::NoPermit;
use super::{
    AdmissionControl,
    refusals::RefusalCause,
    unauthenticated::{UnauthenticatedLimits, UnauthenticatedPermit},
};
pub use crate::node::client_network::SessionSource;
use crate::session::Signal;

/// Unauthenticated sessions hold one part in so many of a node's slots, unless `client.max_unauthenticated` says otherwise…
const UNAUTHENTICATED_PARTS: usize = 2;
/// …and at least so many: a node with few slots is not divided.
const UNAUTHENTICATED_AT_LEAST: usize = 256;

/// One slot among the connections of a node, given back when dropped.
pub struct ConnectionPermit {
    admission: Arc<AdmissionControl>,
    /// Until its session has authenticated.
    unauthenticated: Option<Box<UnauthenticatedPermit>>,
}

impl AdmissionControl {
    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// True if there is room for no further session now. Nothing is taken: [`Self::acquire_permit`] may be refused all the same.
    pub fn is_full(&self) -> bool {
        self.connections() >= self.limits().max_connections
    }

    /// Takes a slot for a session, which has not authenticated yet: [`ConnectionPermit::authenticated`].
    ///
    /// # Errors
    /// The node is full, or holds too many sessions that have not authenticated. It is counted and logged already.
    pub fn acquire_permit(self: &Arc<Self>, source: &SessionSource) -> Result<ConnectionPermit, NoPermit> {
        let taken = self.try_acquire_permit(source);
        if let Err(no_slot) = &taken {
            self.refused(no_slot.cause(), source.network());
        }
        taken
    }

    fn try_acquire_permit(self: &Arc<Self>, source: &SessionSource) -> Result<ConnectionPermit, NoPermit> {
        let mut place = ConnectionPermit { admission: self.clone(), unauthenticated: None };
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let limits = self.limits();
        if before >= limits.max_connections {
            return Err(NoPermit::Full);
        }
        let most = match limits.max_unauthenticated {
            0 => (limits.max_connections / UNAUTHENTICATED_PARTS).max(UNAUTHENTICATED_AT_LEAST),
            most => most,
        };
        let most =
            UnauthenticatedLimits { of_node: most, of_connection: limits.max_unauthenticated_per_connection };
        let (permit, has_replaced) = self.unauthenticated.take(source, most, Instant::now())?;
        if has_replaced {
            self.refused(RefusalCause::UnauthenticatedReplaced, source.network());
        }
        place.unauthenticated = Some(permit);
        Ok(place)
    }
}

impl ConnectionPermit {
    /// True if its session has authenticated.
    pub fn is_authenticated(&self) -> bool {
        self.unauthenticated.is_none()
    }

    /// Its session runs. Until it has authenticated it may be ended for a newer one of its network.
    pub fn set_actor(&self, mailbox: Recipient<Signal>) {
        if let Some(permit) = &self.unauthenticated {
            self.admission.unauthenticated.set_actor(permit, mailbox);
        }
    }

    /// Its session has authenticated: it no longer counts among those that have not.
    pub fn authenticated(&mut self) {
        if let Some(permit) = self.unauthenticated.take() {
            self.admission.unauthenticated.give_back(&permit);
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.authenticated();
        self.admission.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::net::SocketAddr;

    use super::*;
    use crate::settings::Settings;

    fn admission(max_connections: usize) -> Arc<AdmissionControl> {
        let mut settings = Settings::default();
        settings.http.max_connections = max_connections;
        AdmissionControl::new(&settings, Arc::default())
    }

    fn source(address: &str, port: u16) -> SessionSource {
        let address = address.parse().unwrap();
        SessionSource { client: Some(address), connection: Some(SocketAddr::new(address, port)) }
    }

    fn flood(
        admission: &Arc<AdmissionControl>,
        source: impl Fn(usize) -> SessionSource,
    ) -> (Vec<ConnectionPermit>, NoPermit) {
        let mut places = Vec::new();
        loop {
            match admission.acquire_permit(&source(places.len())) {
                Ok(place) => places.push(place),
                Err(no_slot) => return (places, no_slot),
            }
        }
    }

    #[test]
    fn one_tcp_connection_holds_so_many_unauthenticated_sessions_and_leaves_the_rest_to_others() {
        let admission = admission(100_000);
        let (places, no_slot) = flood(&admission, |_| source("192.0.2.1", 1));
        assert_eq!((places.len(), no_slot), (500, NoPermit::UnauthenticatedOfConnection));
        assert!(admission.acquire_permit(&source("192.0.2.1", 2)).is_ok());
        drop(places);
        assert_eq!(admission.connections(), 0);
        assert!(admission.acquire_permit(&source("192.0.2.1", 1)).is_ok());
    }

    #[test]
    fn on_a_small_node_one_tcp_connection_leaves_its_network_room_for_others() {
        let admission = admission(4000);
        let (places, no_slot) = flood(&admission, |_| source("192.0.2.1", 1));
        assert_eq!((places.len(), no_slot), (222, NoPermit::UnauthenticatedOfConnection));
        let others: Vec<_> =
            (2..102).map(|port| admission.acquire_permit(&source("192.0.2.1", port))).collect();
        assert!(others.iter().all(Result::is_ok));
    }

    #[test]
    fn one_network_holds_a_part_of_the_unauthenticated_sessions_however_many_connections_it_makes() {
        let admission = admission(4000);
        let port = |count: usize| u16::try_from(count + 1).unwrap();
        let (places, no_slot) = flood(&admission, |count| source("2001:db8::1", port(count)));
        assert_eq!((places.len(), no_slot), (400, NoPermit::UnauthenticatedOfAddress));
        // The same /64 is the same network, the next one is not.
        assert!(admission.acquire_permit(&source("2001:db8::2:0:0:1", 1)).is_err());
        assert!(admission.acquire_permit(&source("2001:db8:0:1::1", 1)).is_ok());
    }

    #[test]
    fn unauthenticated_sessions_of_all_together_leave_half_of_the_slots_to_those_that_have_authenticated() {
        let admission = admission(1000);
        let of_trusted_proxy = |_| SessionSource::default();
        let (mut places, no_slot) = flood(&admission, of_trusted_proxy);
        assert_eq!((places.len(), no_slot), (500, NoPermit::Unauthenticated));
        places.iter_mut().for_each(ConnectionPermit::authenticated);
        let (more, no_slot) = flood(&admission, of_trusted_proxy);
        assert_eq!((more.len(), no_slot), (500, NoPermit::Full));
    }
}
