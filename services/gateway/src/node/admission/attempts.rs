//! Failed attempts by client network: wrong session ids, logins, tokens and API keys. What is right costs nothing.
//! Decision record 24.

use super::{buckets::Buckets, refusals::RefusalCause};

/// The kinds of wrong attempts.
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
    pub(super) fn causes(self) -> (RefusalCause, RefusalCause) {
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
    pub(super) fn of(&self, attempt: AttemptKind) -> &Buckets {
        match attempt {
            AttemptKind::SessionId => &self.session_ids,
            AttemptKind::OwnSessionId => &self.own_session_ids,
            AttemptKind::Login => &self.logins,
            AttemptKind::Token => &self.tokens,
            AttemptKind::ApiKey => &self.api_keys,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{net::SocketAddr, sync::Arc};

    use super::*;
    use crate::{
        node::{admission::AdmissionControl, client_network::ClientNetwork},
        settings::Settings,
    };

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
