//! Admission: who gets a slot, who made too many wrong attempts, and what is told of those who are refused. Limits by address
//! count under the client's network. Decision record 24.
//!
//! - [`slots`]: a slot for each session. - [`attempts`]: wrong ids, logins, tokens and keys. - [`refusals`]: counters and log
//!   lines. - `unauthenticated`: those that have not connected. - `buckets`, `share`: what they count with.

pub mod attempts;
mod buckets;
pub(crate) mod fair_share;
pub mod permits;
pub mod refusals;
pub(super) mod unauthenticated;

use std::net::{IpAddr, SocketAddr};

use actix_http::header::{HeaderMap, X_FORWARDED_FOR};
use tokio::time::Instant;

use self::{
    attempts::Attempts,
    buckets::{Buckets, Rate},
    refusals::{RefusalCause, Refusals},
    unauthenticated::Unauthenticated,
};
use crate::node::Node;

/// What the node knows of those who come.
#[derive(Default)]
pub(super) struct AdmissionControl {
    handshakes: Buckets,
    unauthenticated: Unauthenticated,
    attempts: Attempts,
    refusals: Refusals,
}

impl Node {
    /// The client's address as far as it can be believed (`http.trusted_proxies`): the peer, or whom it names. Record 14.
    pub fn client_address(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<SocketAddr> {
        // A line that is no text ends what is believed, as any entry does that is no address.
        let lines: Vec<_> =
            headers.get_all(X_FORWARDED_FOR).map(|line| line.to_str().unwrap_or_default()).collect();
        peer.map(|peer| self.settings.http.trusted_proxies.client(peer, lines.into_iter()))
    }

    /// Whether this address may make another handshake now (`http.handshakes_per_second`). Where it may not, that is
    /// counted and logged.
    pub fn allows_handshake(&self, address: IpAddr) -> bool {
        let network = address.into();
        let allowed = match self.settings.http.handshakes_per_second {
            0 => true,
            limit => self.admission.handshakes.take(network, Rate::per_second(limit), Instant::now()),
        };
        if !allowed {
            self.refused(RefusalCause::HandshakesPerSecond, Some(network));
        }
        allowed
    }
}
