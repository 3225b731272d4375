//! Failed attempts by client network: wrong session ids, logins, tokens and API keys. What is right costs nothing.
//! Decision record 24.

use std::{net::SocketAddr, sync::Arc};

use tokio::time::Instant;

use super::{
    AdmissionControl,
    buckets::{Buckets, Rate},
    refusals::RefusalCause,
};
use crate::{
    node::client_network::ClientNetwork,
    session::shared::login_limit::{Credential, LoginLimit},
};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptKind {
    /// The id of a session, where clients make them up.
    SessionId,
    /// The id of a session, where the node makes them up.
    OwnSessionId,
    /// Name and password of a STOMP user.
    Login,
    /// A connection token.
    Token,
    /// A key of the HTTP API.
    ApiKey,
}

impl AttemptKind {
    fn causes(self) -> (RefusalCause, RefusalCause) {
        match self {
            Self::SessionId | Self::OwnSessionId => {
                (RefusalCause::WrongSessionId, RefusalCause::WrongSessionIdLimit)
            }
            Self::Login => (RefusalCause::WrongLogin, RefusalCause::WrongLoginLimit),
            Self::Token => (RefusalCause::WrongToken, RefusalCause::WrongTokenLimit),
            Self::ApiKey => (RefusalCause::WrongApiKey, RefusalCause::WrongApiKeyLimit),
        }
    }
}

/// The failed attempts of networks, each kind for itself.
#[derive(Default)]
pub(super) struct Attempts {
    session_ids: Buckets,
    own_session_ids: Buckets,
    logins: Buckets,
    tokens: Buckets,
    api_keys: Buckets,
}

impl Attempts {
    fn of(&self, attempt: AttemptKind) -> &Buckets {
        match attempt {
            AttemptKind::SessionId => &self.session_ids,
            AttemptKind::OwnSessionId => &self.own_session_ids,
            AttemptKind::Login => &self.logins,
            AttemptKind::Token => &self.tokens,
            AttemptKind::ApiKey => &self.api_keys,
        }
    }
}

impl AdmissionControl {
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
        let limits = &self.limits;
        let per_minute = match attempt {
            AttemptKind::SessionId | AttemptKind::OwnSessionId => limits.wrong_ids_per_minute,
            AttemptKind::Login => limits.wrong_logins_per_minute,
            AttemptKind::Token => limits.wrong_tokens_per_minute,
            AttemptKind::ApiKey => limits.wrong_keys_per_minute,
        };
        (per_minute > 0).then(|| Rate::per_minute(per_minute))
    }

    /// The limit of failed logins for a session of the client at this address.
    pub fn login_limit(self: &Arc<Self>, peer: Option<SocketAddr>) -> Arc<dyn LoginLimit> {
        Arc::new(ClientLogins { admission: self.clone(), network: self.network_of(peer) })
    }

    /// The network that limits count under: that of the client, unless all that is known of it is its trusted proxy.
    pub fn network_of(&self, client: Option<SocketAddr>) -> Option<ClientNetwork> {
        let address = client?.ip();
        (!self.limits.trusted_proxies.trusts(address)).then(|| address.into())
    }
}

/// The failed logins of one network.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::settings::Settings;

    fn admission() -> Arc<AdmissionControl> {
        let mut settings = Settings::default();
        settings.stomp.wrong_logins_per_minute = 3;
        settings.client.wrong_ids_per_minute = 0;
        settings.http.trusted_proxies = serde_json::from_str(r#"["10.0.0.0/8"]"#).unwrap();
        AdmissionControl::new(&settings, Arc::default())
    }

    fn network(admission: &AdmissionControl, address: &str) -> Option<ClientNetwork> {
        admission.network_of(Some(SocketAddr::new(address.parse().unwrap(), 1)))
    }

    #[test]
    fn a_network_with_too_many_failures_is_refused_and_no_other_one_and_no_other_kind() {
        let admission = admission();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| network(&admission, address));
        let failures: Vec<_> = (0..5).map(|_| admission.failed_attempt(AttemptKind::Login, one)).collect();
        assert_eq!(failures, [true, true, true, false, false]);
        assert!(!admission.allows_attempt(AttemptKind::Login, one));
        assert!(admission.allows_attempt(AttemptKind::Login, other));
        assert!(admission.allows_attempt(AttemptKind::Token, one));
    }

    #[test]
    fn zero_is_no_limit_and_a_trusted_proxy_alone_is_nobody() {
        let admission = admission();
        let one = network(&admission, "192.0.2.1");
        assert!((0..10_000).all(|_| admission.failed_attempt(AttemptKind::SessionId, one)));
        let proxy = network(&admission, "10.1.2.3");
        assert_eq!(proxy, None);
        assert!((0..100).all(|_| admission.failed_attempt(AttemptKind::Login, proxy)));
    }
}
