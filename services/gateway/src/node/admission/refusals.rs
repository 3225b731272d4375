//! Refusals by cause, and the error of a session that gets no slot. Refusals are counted for `GET /metrics`, and logged in one
//! line for many, since a client that floods a node must not fill its log as well.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::node::client_network::ClientNetwork;

/// A cause is logged at most this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Networks counted for one line; of more only the total is known.
const NETWORKS: usize = 64;

/// Why something was refused, or did not go well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is described below")]
pub enum RefusalCause {
    MaxConnections,
    HandshakesPerSecond,
    Unauthenticated,
    UnauthenticatedOfAddress,
    UnauthenticatedOfConnection,
    UnauthenticatedReplaced,
    Waiting,
    WaitingOfAddress,
    Polls,
    PollsOfAddress,
    WrongSessionId,
    WrongSessionIdLimit,
    WrongLogin,
    WrongLoginLimit,
    WrongToken,
    WrongTokenLimit,
    WrongApiKey,
    WrongApiKeyLimit,
}

impl RefusalCause {
    const ALL: [Self; 18] = [
        Self::MaxConnections,
        Self::HandshakesPerSecond,
        Self::Unauthenticated,
        Self::UnauthenticatedOfAddress,
        Self::UnauthenticatedOfConnection,
        Self::UnauthenticatedReplaced,
        Self::Waiting,
        Self::WaitingOfAddress,
        Self::Polls,
        Self::PollsOfAddress,
        Self::WrongSessionId,
        Self::WrongSessionIdLimit,
        Self::WrongLogin,
        Self::WrongLoginLimit,
        Self::WrongToken,
        Self::WrongTokenLimit,
        Self::WrongApiKey,
        Self::WrongApiKeyLimit,
    ];

    /// The label of its counter.
    pub fn label(self) -> &'static str {
        self.names().0
    }

    fn message(self) -> &'static str {
        self.names().1
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::MaxConnections => ("max_connections", "Refused sessions: http.max_connections is reached"),
            Self::HandshakesPerSecond => {
                ("handshakes_per_second", "Refused sessions: http.handshakes_per_second is reached")
            }
            Self::Unauthenticated => {
                ("unauthenticated", "Refused sessions: too many of the node are unauthenticated")
            }
            Self::UnauthenticatedOfAddress => (
                "unauthenticated_of_address",
                "Refused sessions: too many of their address are unauthenticated",
            ),
            Self::UnauthenticatedOfConnection => (
                "unauthenticated_of_connection",
                "Refused sessions: too many over their connection are unauthenticated",
            ),
            Self::UnauthenticatedReplaced => {
                ("unauthenticated_replaced", "Ended unauthenticated sessions for newer ones of their address")
            }
            Self::Waiting => ("waiting", "Ended sessions: sockjs.max_waiting is reached"),
            Self::WaitingOfAddress => {
                ("waiting_of_address", "Ended sessions: too many of their address wait for a request")
            }
            Self::Polls => ("polls", "Refused polls: poll.max_waiting is reached"),
            Self::PollsOfAddress => ("polls_of_address", "Refused polls: too many of their address wait"),
            Self::WrongSessionId => ("wrong_session_id", "Requests with wrong session ids"),
            Self::WrongSessionIdLimit => (
                "wrong_session_id_limit",
                "Refused requests: client.wrong_ids_per_minute of their address is reached",
            ),
            Self::WrongLogin => ("wrong_login", "Wrong STOMP logins"),
            Self::WrongLoginLimit => (
                "wrong_login_limit",
                "Refused STOMP logins: stomp.wrong_logins_per_minute of their address is reached",
            ),
            Self::WrongToken => ("wrong_token", "Invalid connection tokens"),
            Self::WrongTokenLimit => (
                "wrong_token_limit",
                "Refused connection tokens: client.wrong_tokens_per_minute of their address is reached",
            ),
            Self::WrongApiKey => ("wrong_api_key", "Wrong API keys"),
            Self::WrongApiKeyLimit => {
                ("wrong_api_key_limit", "Wrong API keys over api.wrong_keys_per_minute of their address")
            }
        }
    }
}

/// Refusals since the last log line, by cause.
#[derive(Default)]
pub(super) struct Refusals([Mutex<RefusalCounts>; RefusalCause::ALL.len()]);

#[derive(Default)]
struct RefusalCounts {
    count: u64,
    networks: HashMap<ClientNetwork, u64>,
    told_at: Option<Instant>,
}

/// One line of the log.
#[derive(Debug, PartialEq, Eq)]
struct RefusalSummary {
    cause: RefusalCause,
    count: u64,
    /// The network that was refused most often, and how often.
    most: Option<(ClientNetwork, u64)>,
}

impl Refusals {
    pub(super) fn count(&self, cause: RefusalCause, network: Option<ClientNetwork>) {
        let Some(counts) = self.0.get(cause as usize) else { return };
        let mut counts = counts.lock();
        counts.count += 1;
        if let Some(network) = network
            && (counts.networks.len() < NETWORKS || counts.networks.contains_key(&network))
        {
            *counts.networks.entry(network).or_default() += 1;
        }
    }

    /// The summaries that are due now.
    fn due(&self, now: Instant) -> Vec<RefusalSummary> {
        let mut due = Vec::new();
        for (cause, counts) in RefusalCause::ALL.into_iter().zip(&self.0) {
            let mut counts = counts.lock();
            let is_early = counts.told_at.is_some_and(|at| now.duration_since(at) < TELL_EVERY);
            if counts.count == 0 || is_early {
                continue;
            }
            let most = counts.networks.drain().max_by_key(|(_, count)| *count);
            due.push(RefusalSummary { cause, count: std::mem::take(&mut counts.count), most });
            counts.told_at = Some(now);
        }
        due
    }

    /// Tells the log what was refused lately.
    pub(super) fn log(&self, now: Instant) {
        for RefusalSummary { cause, count, most } in self.due(now) {
            let (most_from, most_count) = most.unzip();
            let most_from = most_from.map(tracing::field::display);
            tracing::warn!(cause = cause.label(), count, most_from, most_count, "{}", cause.message());
        }
    }
}

/// Why a session gets no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPermit {
    /// `http.max_connections`.
    #[error("this node holds as many connections as it may")]
    Full,
    /// `client.max_unauthenticated`.
    #[error("too many sessions of this node have not connected yet")]
    Unauthenticated,
    /// The client's part of it.
    #[error("too many sessions from this address have not connected yet")]
    UnauthenticatedOfAddress,
    /// `client.max_unauthenticated_per_connection`.
    #[error("too many sessions over this connection have not connected yet")]
    UnauthenticatedOfConnection,
}

impl NoPermit {
    /// The HTTP status: whether the node is full, or the client asks for too much.
    pub fn status(self) -> u16 {
        match self {
            Self::Full | Self::Unauthenticated => 503,
            Self::UnauthenticatedOfAddress | Self::UnauthenticatedOfConnection => 429,
        }
    }

    pub(super) fn cause(self) -> RefusalCause {
        match self {
            Self::Full => RefusalCause::MaxConnections,
            Self::Unauthenticated => RefusalCause::Unauthenticated,
            Self::UnauthenticatedOfAddress => RefusalCause::UnauthenticatedOfAddress,
            Self::UnauthenticatedOfConnection => RefusalCause::UnauthenticatedOfConnection,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> ClientNetwork {
        IpAddr::from(Ipv4Addr::from_bits(number)).into()
    }

    #[test]
    fn each_cause_has_its_own_place_and_label() {
        for (index, cause) in RefusalCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
            assert_eq!(RefusalCause::ALL.iter().filter(|other| other.label() == cause.label()).count(), 1);
        }
    }

    #[test]
    fn a_flood_is_one_line_that_names_who_was_refused_most() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..10_000 {
            refusals.count(RefusalCause::WrongToken, Some(network(7)));
            refusals.count(RefusalCause::WrongToken, Some(network(1000 + number)));
        }
        let cause = RefusalCause::WrongToken;
        assert_eq!(
            refusals.due(now),
            [RefusalSummary { cause, count: 20_000, most: Some((network(7), 10_000)) }]
        );
        assert_eq!(refusals.due(now), []);
    }

    #[test]
    fn what_comes_soon_after_a_line_is_in_the_next_one_and_other_causes_do_not_wait_for_it() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let line = |cause, count| RefusalSummary { cause, count, most: None };
        refusals.count(RefusalCause::WrongLogin, None);
        assert_eq!(refusals.due(now), [line(RefusalCause::WrongLogin, 1)]);
        refusals.count(RefusalCause::WrongLogin, None);
        refusals.count(RefusalCause::Waiting, None);
        assert_eq!(refusals.due(now), [line(RefusalCause::Waiting, 1)]);
        assert_eq!(refusals.due(now + TELL_EVERY), [line(RefusalCause::WrongLogin, 1)]);
    }

    #[test]
    fn the_networks_that_are_counted_are_bounded() {
        let refusals = Refusals::default();
        (0..100_000).for_each(|number| refusals.count(RefusalCause::WrongApiKey, Some(network(number))));
        assert!(refusals.0.iter().all(|counts| counts.lock().networks.len() <= NETWORKS));
    }
}
