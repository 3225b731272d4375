//! Attempts by client network, each kind with so many in a time: failed ones (wrong session ids, logins, tokens and API keys;
//! what is right costs nothing) and handshakes. Token buckets count them. Decision record 24.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusals::RefusalCause;
use crate::node::client_network::ClientNetwork;

/// Networks remembered at most, in one table of buckets; beyond them, all whose bucket is full are forgotten.
const NETWORKS: usize = 100_000;
/// A table that is full is searched for full buckets at most this often.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

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

/// The rate at which a bucket fills, and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Tokens a second.
    pub(super) per_second: f64,
    /// Tokens at most.
    pub(super) burst: f64,
}

impl Rate {
    /// So many a second, and a second's worth at once.
    pub(super) fn per_second(count: u32) -> Self {
        Self { per_second: count.into(), burst: count.into() }
    }

    /// So many a minute, and a minute's worth at once.
    pub(super) fn per_minute(count: u32) -> Self {
        Self { per_second: f64::from(count) / 60.0, burst: count.into() }
    }
}

/// A bucket for each network that has taken something lately.
#[derive(Default)]
pub(super) struct Buckets(Mutex<BucketTable>);

#[derive(Default)]
struct BucketTable {
    buckets: HashMap<ClientNetwork, Bucket>,
    searched_at: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn left(&self, rate: Rate, now: Instant) -> f64 {
        let refilled = now.duration_since(self.at).as_secs_f64() * rate.per_second;
        (self.left + refilled).min(rate.burst)
    }
}

impl Buckets {
    /// Takes one of a network's tokens; false if it has none left.
    pub(super) fn take(&self, network: ClientNetwork, rate: Rate, now: Instant) -> bool {
        let mut table = self.0.lock();
        if table.buckets.len() >= NETWORKS && !table.buckets.contains_key(&network) {
            table.forget_full(rate, now);
            if table.buckets.len() >= NETWORKS {
                return false;
            }
        }
        let bucket = table.buckets.entry(network).or_insert(Bucket { left: rate.burst, at: now });
        *bucket = Bucket { left: bucket.left(rate, now), at: now };
        let allowed = bucket.left >= 1.0;
        if allowed {
            bucket.left -= 1.0;
        }
        allowed
    }

    /// True if a network has a token left. Takes none.
    pub(super) fn has(&self, network: ClientNetwork, rate: Rate, now: Instant) -> bool {
        self.0.lock().buckets.get(&network).is_none_or(|bucket| bucket.left(rate, now) >= 1.0)
    }
}

impl BucketTable {
    fn forget_full(&mut self, rate: Rate, now: Instant) {
        if self.searched_at.is_some_and(|at| now.duration_since(at) < SEARCH_EVERY) {
            return;
        }
        self.searched_at = Some(now);
        self.buckets.retain(|_, bucket| bucket.left(rate, now) < rate.burst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{
        net::{IpAddr, Ipv4Addr, SocketAddr},
        sync::Arc,
    };

    use super::*;
    use crate::{node::admission::AdmissionControl, settings::Settings};

    fn network(number: u32) -> ClientNetwork {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn a_network_has_its_tokens_each_second_and_does_not_take_those_of_others() {
        let (buckets, start, rate) = (Buckets::default(), Instant::now(), Rate::per_second(3));
        let taken = |number, at| (0..5).filter(|_| buckets.take(network(number), rate, at)).count();
        assert_eq!(taken(1, start), 3);
        assert_eq!(taken(2, start), 3);
        assert_eq!(taken(1, start + Duration::from_secs(1)), 3);
        assert_eq!(taken(1, start + Duration::from_millis(1400)), 1);
    }

    #[test]
    fn looking_takes_no_token_and_a_minutes_worth_comes_back_in_a_minute() {
        let (buckets, start, rate) = (Buckets::default(), Instant::now(), Rate::per_minute(60));
        assert!(buckets.has(network(1), rate, start));
        assert_eq!((0..100).filter(|_| buckets.take(network(1), rate, start)).count(), 60);
        assert!(!buckets.has(network(1), rate, start));
        assert!(buckets.has(network(1), rate, start + Duration::from_secs(2)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| buckets.take(network(1), rate, later)).count(), 60);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_only_networks_that_have_taken_nothing_lately() {
        let (buckets, start, rate) = (Buckets::default(), Instant::now(), Rate::per_second(1));
        for number in 0..u32::try_from(NETWORKS).unwrap_or_default() {
            assert!(buckets.take(network(number), rate, start));
        }
        let stranger = network(u32::MAX);
        assert!(!buckets.take(stranger, rate, start));
        assert_eq!(buckets.0.lock().buckets.len(), NETWORKS);
        assert!(buckets.take(stranger, rate, start + Duration::from_secs(2)));
        assert_eq!(buckets.0.lock().buckets.len(), 1);
    }

    fn admission() -> Arc<AdmissionControl> {
        let mut settings = Settings::default();
        settings.stomp.wrong_logins_per_minute = 3;
        settings.client.wrong_ids_per_minute = 0;
        settings.http.trusted_proxies = serde_json::from_str(r#"["10.0.0.0/8"]"#).unwrap();
        AdmissionControl::new(&settings, Arc::default())
    }

    fn network_of(admission: &AdmissionControl, address: &str) -> Option<ClientNetwork> {
        admission.network_of(Some(SocketAddr::new(address.parse().unwrap(), 1)))
    }

    #[test]
    fn a_network_with_too_many_failures_is_refused_and_no_other_one_and_no_other_kind() {
        let admission = admission();
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| network_of(&admission, address));
        let failures: Vec<_> = (0..5).map(|_| admission.failed_attempt(AttemptKind::Login, one)).collect();
        assert_eq!(failures, [true, true, true, false, false]);
        assert!(!admission.allows_attempt(AttemptKind::Login, one));
        assert!(admission.allows_attempt(AttemptKind::Login, other));
        assert!(admission.allows_attempt(AttemptKind::Token, one));
    }

    #[test]
    fn zero_is_no_limit_and_a_trusted_proxy_alone_is_nobody() {
        let admission = admission();
        let one = network_of(&admission, "192.0.2.1");
        assert!((0..10_000).all(|_| admission.failed_attempt(AttemptKind::SessionId, one)));
        let proxy = network_of(&admission, "10.1.2.3");
        assert_eq!(proxy, None);
        assert!((0..100).all(|_| admission.failed_attempt(AttemptKind::Login, proxy)));
    }
}
