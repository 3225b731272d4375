//! Admission: who gets a slot, who made too many wrong attempts, and what the refused ones get. Limits by address
//! count under the client's network. Decision record 24.
//!
//! - [`permits`]: a slot for each session.
//! - [`attempts`]: handshakes, and wrong ids, logins, tokens and keys.
//! - [`refusals`]: reasons, counters and log lines.
//! - `unauthenticated`: those that have not connected.

pub mod attempts;
pub mod permits;
pub mod refusals;
pub(super) mod unauthenticated;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
};

use actix_http::header::{HeaderMap, X_FORWARDED_FOR};
use parking_lot::RwLock;
use tokio::time::Instant;

use self::{
    attempts::{AttemptKind, Attempts, Buckets, Rate},
    refusals::{RefusalCause, Refusals},
    unauthenticated::Unauthenticated,
};
use super::client_network::{ClientNetwork, SessionSource};
use crate::{
    metrics::Metrics,
    session::shared::login_limit::{Credential, LoginLimit},
    settings::{Settings, proxies::TrustedProxies},
};

/// The limits for those who come.
#[derive(Debug, Clone)]
struct AdmissionLimits {
    trusted_proxies: TrustedProxies,
    handshakes_per_second: u32,
    max_connections: usize,
    max_unauthenticated: usize,
    max_unauthenticated_per_connection: usize,
    wrong_ids_per_minute: u32,
    wrong_logins_per_minute: u32,
    wrong_tokens_per_minute: u32,
    wrong_keys_per_minute: u32,
}

impl From<&Settings> for AdmissionLimits {
    fn from(settings: &Settings) -> Self {
        let Settings { http, client, stomp, api, .. } = settings;
        Self {
            trusted_proxies: http.trusted_proxies.clone(),
            handshakes_per_second: http.handshakes_per_second,
            max_connections: http.max_connections,
            max_unauthenticated: client.max_unauthenticated,
            max_unauthenticated_per_connection: client.max_unauthenticated_per_connection,
            wrong_ids_per_minute: client.wrong_ids_per_minute,
            wrong_logins_per_minute: stomp.wrong_logins_per_minute,
            wrong_tokens_per_minute: client.wrong_tokens_per_minute,
            wrong_keys_per_minute: api.wrong_keys_per_minute,
        }
    }
}

/// The sessions of a node, what failed lately, and the limits of both.
pub struct AdmissionControl {
    limits: RwLock<Arc<AdmissionLimits>>,
    metrics: Arc<Metrics>,
    connections: AtomicUsize,
    handshakes: Buckets,
    unauthenticated: Unauthenticated,
    attempts: Attempts,
    refusals: Refusals,
}

impl AdmissionControl {
    fn limits(&self) -> Arc<AdmissionLimits> {
        self.limits.read().clone()
    }

    /// Puts the limits of other settings in the place of those there are, for what comes from now on. The number of connections stays:
    /// it follows from the files that the system lets the node open.
    pub fn replace_limits(&self, settings: &Settings) {
        let max_connections = self.limits().max_connections;
        let next = AdmissionLimits { max_connections, ..settings.into() };
        *self.limits.write() = Arc::new(next);
    }

    /// True for the address of a balancer in front of the node (`http.trusted_proxies`).
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.limits().trusted_proxies.trusts(address)
    }

    /// Nobody is there yet.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            limits: RwLock::new(Arc::new(settings.into())),
            metrics,
            connections: AtomicUsize::new(0),
            handshakes: Buckets::default(),
            unauthenticated: Unauthenticated::default(),
            attempts: Attempts::default(),
            refusals: Refusals::default(),
        })
    }

    /// The client's address as far as it can be believed (`http.trusted_proxies`): the peer, or whom it names. Record 14.
    pub fn client_address(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> Option<SocketAddr> {
        // A line that is no text ends what is believed, as any entry does that is no address.
        let lines: Vec<_> =
            headers.get_all(X_FORWARDED_FOR).map(|line| line.to_str().unwrap_or_default()).collect();
        peer.map(|peer| self.limits().trusted_proxies.client(peer, lines.into_iter()))
    }

    /// True if this address may make another handshake now (`http.handshakes_per_second`). Where it may not, that is
    /// counted and logged.
    pub fn allows_handshake(&self, address: IpAddr) -> bool {
        let network = address.into();
        let allowed = match self.limits().handshakes_per_second {
            0 => true,
            limit => self.handshakes.take(network, Rate::per_second(limit), Instant::now()),
        };
        if !allowed {
            self.refused(RefusalCause::HandshakesPerSecond, Some(network));
        }
        allowed
    }

    /// True if an attempt may be made now. Where it may not, that is counted and logged. A client whose network is not
    /// known is not limited.
    pub fn allows_attempt(&self, attempt: AttemptKind, network: Option<ClientNetwork>) -> bool {
        let Some((network, rate)) = network.zip(self.rate(attempt)) else { return true };
        let allowed = self.attempts.of(attempt).has(network, rate, Instant::now());
        if !allowed {
            self.refused(attempt.causes().1, Some(network));
        }
        allowed
    }

    /// An attempt failed. False if the network has made too many.
    pub fn failed_attempt(&self, attempt: AttemptKind, network: Option<ClientNetwork>) -> bool {
        let allowed = network
            .zip(self.rate(attempt))
            .is_none_or(|(network, rate)| self.attempts.of(attempt).take(network, rate, Instant::now()));
        let (wrong, over_limit) = attempt.causes();
        self.refused(if allowed { wrong } else { over_limit }, network);
        allowed
    }

    /// `None`: no limit.
    fn rate(&self, attempt: AttemptKind) -> Option<Rate> {
        let limits = self.limits();
        let per_minute = match attempt {
            AttemptKind::SessionId | AttemptKind::OwnSessionId => limits.wrong_ids_per_minute,
            AttemptKind::Login => limits.wrong_logins_per_minute,
            AttemptKind::Token => limits.wrong_tokens_per_minute,
            AttemptKind::ApiKey => limits.wrong_keys_per_minute,
        };
        (per_minute > 0).then(|| Rate::per_minute(per_minute))
    }

    /// The network that limits count under: that of the client, unless all that is known of it is its trusted proxy.
    pub fn network_of(&self, client: Option<SocketAddr>) -> Option<ClientNetwork> {
        let address = client?.ip();
        (!self.limits().trusted_proxies.trusts(address)).then(|| address.into())
    }

    /// The source of a session, for the limits. `client`: its address as far as it can be believed; `connection`: the peer of a
    /// TCP connection that can carry many sessions. Trusted balancers count as neither.
    pub fn session_source(
        &self,
        client: Option<SocketAddr>,
        connection: Option<SocketAddr>,
    ) -> SessionSource {
        let is_stranger = |address: &SocketAddr| !self.limits().trusted_proxies.trusts(address.ip());
        SessionSource {
            client: client.filter(is_stranger).map(|address| address.ip()),
            connection: connection.filter(is_stranger),
        }
    }

    /// The limit of failed logins for a session of the client at this address.
    pub fn login_limit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Arc<dyn LoginLimit> {
        Arc::new(ClientLogins { admission: self.clone(), network: self.network_of(peer) })
    }

    /// Counts something that was refused, or did not go well. It is logged within a while.
    pub fn refused(&self, cause: RefusalCause, network: Option<ClientNetwork>) {
        self.metrics.count_refused(cause.label());
        self.refusals.count(cause, network);
    }

    /// Tells the log what was refused lately.
    pub(super) fn log_refusals(&self) {
        self.refusals.log(Instant::now());
    }
}

/// The failed logins of one network, as a session counts them.
struct ClientLogins {
    admission: Arc<AdmissionControl>,
    network: Option<ClientNetwork>,
}

impl ClientLogins {
    fn attempt(credential: Credential) -> AttemptKind {
        match credential {
            Credential::Password => AttemptKind::Login,
            Credential::Token => AttemptKind::Token,
        }
    }
}

impl LoginLimit for ClientLogins {
    fn allows(&self, credential: Credential) -> bool {
        self.admission.allows_attempt(Self::attempt(credential), self.network)
    }

    fn failed(&self, credential: Credential) {
        self.admission.failed_attempt(Self::attempt(credential), self.network);
    }
}
