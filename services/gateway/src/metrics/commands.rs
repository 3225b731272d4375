//! Counters of what clients ask for and what becomes of it: subscribes, recoveries, errors, tokens, and the SDKs that ask.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use gorani_auth::{InvalidToken, TokenError};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter},
    registry::Registry,
};

use super::{
    namespaces::Namespaces,
    table::{CounterTable, code_column, code_columns, values},
};

/// Commands of the client protocol, in the order of their rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CommandKind {
    /// Also whatever cannot be read.
    #[default]
    Connect,
    /// Of clients; those of the server have no reply.
    Subscribe,
    /// See [`CommandKind`].
    Unsubscribe,
    /// See [`CommandKind`].
    Publish,
    /// See [`CommandKind`].
    History,
    /// See [`CommandKind`].
    Presence,
    /// See [`CommandKind`].
    PresenceStats,
    /// See [`CommandKind`].
    Refresh,
    /// See [`CommandKind`].
    SubRefresh,
    /// See [`CommandKind`].
    Rpc,
    /// A command that could not be read.
    Unreadable,
}

impl CommandKind {
    /// The command's name in the protocol.
    pub fn name(self) -> &'static str {
        COMMANDS.get(self as usize).copied().unwrap_or_default()
    }
}

/// Names of [`CommandKind`], in its order.
const COMMANDS: [&str; 11] = [
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "history",
    "presence",
    "presence_stats",
    "refresh",
    "sub_refresh",
    "rpc",
    "unreadable",
];

/// The outcome of a recovery, in the order of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryOutcome {
    /// The client has all that it missed.
    Recovered,
    /// History no longer holds what follows the client's position.
    TooOld,
    /// The stream that the position is of has ended.
    Epoch,
    /// More was missed than a reply holds.
    TooMany,
    /// History could not be read.
    Failed,
}

const RECOVERY_OUTCOMES: [&str; 5] = ["recovered", "too_old", "epoch", "too_many", "failed"];

/// Codes of ends of subscriptions, in the order of their columns.
const UNSUBSCRIBE_CODES: [u32; 4] = [0, 2000, 2500, 2501];

/// The columns after them: other codes, and those that a reload ended with 2500, which is no gap.
const OTHER_UNSUBSCRIBES: [&str; 2] = ["other", "not_permitted"];

/// Why a token is refused, in the order of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Its time is over.
    Expired,
    /// Its time is still to come: clocks differ.
    Clock,
    /// No key of its id, or none is configured for its algorithm.
    Key,
    /// Not signed by the key.
    Signature,
    /// For others: `aud`.
    Audience,
    /// From others: `iss`.
    Issuer,
    /// It is no token, or one with bad claims.
    Malformed,
}

impl From<TokenError> for TokenRefusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::Expired,
            TokenError::NotYetValid => Self::Clock,
            TokenError::UnknownKey => Self::Key,
            TokenError::Invalid(invalid) => match invalid {
                InvalidToken::Signature => Self::Signature,
                InvalidToken::Audience => Self::Audience,
                InvalidToken::Issuer => Self::Issuer,
                InvalidToken::NotConfigured
                | InvalidToken::Algorithm
                | InvalidToken::NoSuchKey
                | InvalidToken::AmbiguousKey => Self::Key,
                _ => Self::Malformed,
            },
        }
    }
}

const TOKEN_REFUSALS: [&str; 7] = ["expired", "clock", "key", "signature", "audience", "issuer", "malformed"];

/// An SDK whose clients are counted; [`SdkIndex::NONE`] for a client that is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SdkIndex(u8);

impl SdkIndex {
    /// Of a client that is not counted.
    pub const NONE: Self = Self(0);
}

/// Counters of clients' commands. Cloning shares.
#[derive(Debug, Clone)]
pub struct CommandMetrics {
    namespaces: Namespaces,
    subscribes: CounterTable,
    recoveries: CounterTable,
    recovered_publications: Counter,
    unsubscribes: CounterTable,
    errors: CounterTable,
    tokens_refused: CounterTable,
    clients: ClientConnections,
}

impl Default for CommandMetrics {
    fn default() -> Self {
        Self::new(&Namespaces::default(), &[])
    }
}

impl CommandMetrics {
    /// `sdks`: names of clients that have a value of their own, some with the beginning of a version: `js/5`.
    fn new(namespaces: &Namespaces, sdks: &[String]) -> Self {
        let one_row: Arc<[Cow<'static, str>]> = values(&[""]).into();
        let unsubscribes = UNSUBSCRIBE_CODES
            .iter()
            .map(|code| Cow::from(code.to_string()))
            .chain(values(&OTHER_UNSUBSCRIBES));
        Self {
            subscribes: CounterTable::new(
                [namespaces.label(), "result"],
                namespaces.values(),
                code_columns(),
            ),
            recoveries: CounterTable::new(
                [namespaces.label(), "result"],
                namespaces.values(),
                values(&RECOVERY_OUTCOMES),
            ),
            recovered_publications: Counter::default(),
            unsubscribes: CounterTable::new(["", "code"], one_row.clone(), unsubscribes.collect()),
            errors: CounterTable::new(["method", "code"], values(&COMMANDS).into(), code_columns()),
            tokens_refused: CounterTable::new(["", "reason"], one_row, values(&TOKEN_REFUSALS)),
            clients: ClientConnections::new(sdks),
            namespaces: namespaces.clone(),
        }
    }

    pub(super) fn register(registry: &mut Registry, namespaces: &Namespaces, sdks: &[String]) -> Self {
        let metrics = Self::new(namespaces, sdks);
        let tables = [
            ("subscribes", "Subscribes by the code of their error; 0: subscribed", &metrics.subscribes),
            ("recoveries", "Subscribes that asked for what was missed, by outcome", &metrics.recoveries),
            ("unsubscribes", "Ended subscriptions of connections that go on, by code", &metrics.unsubscribes),
            ("command_errors", "Errors of clients' commands by method and code", &metrics.errors),
            ("tokens_refused", "Tokens of clients refused by reason", &metrics.tokens_refused),
        ];
        for (name, help, table) in tables {
            registry.register(name, help, table.clone());
        }
        registry.register(
            "recovered_publications",
            "Publications that clients got since they had missed them",
            metrics.recovered_publications.clone(),
        );
        registry.register(
            "client_connections",
            "Connected clients by the name and version of their SDK, as metrics.clients lists them",
            metrics.clients.clone(),
        );
        metrics
    }

    /// A subscribe has its outcome: 0, or the code of an error.
    pub fn count_subscribe(&self, channel: &str, code: u32) {
        self.subscribes.add(self.namespaces.of(channel).index(), code_column(code), 1);
    }

    /// A subscribe that asked for what was missed has its outcome.
    pub fn count_recovery(&self, channel: &str, outcome: RecoveryOutcome) {
        self.recoveries.add(self.namespaces.of(channel).index(), outcome as usize, 1);
    }

    /// A client got what it had missed.
    pub fn count_recovered(&self, publications: usize) {
        self.recovered_publications.inc_by(publications as u64);
    }

    /// A subscription ended for this code.
    pub fn count_unsubscribe(&self, code: u32) {
        let known = UNSUBSCRIBE_CODES.iter().position(|known| *known == code);
        self.unsubscribes.add(0, known.unwrap_or(UNSUBSCRIBE_CODES.len()), 1);
    }

    /// A reload ended a subscription that the settings no longer permit.
    pub fn count_not_permitted(&self) {
        self.unsubscribes.add(0, UNSUBSCRIBE_CODES.len() + 1, 1);
    }

    /// A command was answered with an error.
    pub fn count_error(&self, command: CommandKind, code: u32) {
        self.errors.add(command as usize, code_column(code), 1);
    }

    /// A token was refused.
    pub fn count_token(&self, error: TokenError) {
        self.tokens_refused.add(0, TokenRefusal::from(error) as usize, 1);
    }

    /// A client of this name and version has connected. The result is for [`Self::disconnected`].
    pub fn connected(&self, name: &str, version: &str) -> SdkIndex {
        self.clients.enter(name, version)
    }

    /// A client that was counted is gone.
    pub fn disconnected(&self, sdk: SdkIndex) {
        self.clients.leave(sdk);
    }
}

/// Connected clients by SDK. Names and versions are those of the settings, never those of clients.
#[derive(Debug, Clone)]
struct ClientConnections(Arc<[SdkClients]>);

#[derive(Debug)]
struct SdkClients {
    name: Box<str>,
    /// The beginning of the version; empty for every version.
    version: Box<str>,
    clients: AtomicI64,
}

impl ClientConnections {
    fn new(sdks: &[String]) -> Self {
        let of = |(name, version): (&str, &str)| SdkClients {
            name: name.into(),
            version: version.into(),
            clients: AtomicI64::default(),
        };
        let listed = sdks.iter().map(|sdk| sdk.split_once('/').unwrap_or((sdk, "")));
        Self(listed.chain([("other", "")]).map(of).collect())
    }

    fn enter(&self, name: &str, version: &str) -> SdkIndex {
        let is_it = |sdk: &SdkClients| {
            let rest = version.strip_prefix(&*sdk.version);
            let fits = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            *sdk.name == *name && (sdk.version.is_empty() || fits)
        };
        // The longest version that fits, whatever the order of the settings.
        let listed = self.0.iter().enumerate().filter(|(_, sdk)| is_it(sdk));
        let found = listed.max_by_key(|(_, sdk)| sdk.version.len()).map(|(index, _)| index);
        let index = found.unwrap_or(self.0.len() - 1);
        if let Some(sdk) = self.0.get(index) {
            sdk.clients.fetch_add(1, Ordering::Relaxed);
        }
        SdkIndex(u8::try_from(index + 1).unwrap_or(0))
    }

    fn leave(&self, sdk: SdkIndex) {
        if let Some(sdk) = usize::from(sdk.0).checked_sub(1).and_then(|index| self.0.get(index)) {
            sdk.clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl TypedMetric for ClientConnections {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for ClientConnections {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.iter().try_for_each(|sdk| {
            let labels = [("sdk", &*sdk.name), ("version", &*sdk.version)];
            encoder.encode_family(&labels)?.encode_gauge(&sdk.clients.load(Ordering::Relaxed))
        })
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(clients: &ClientConnections) -> Vec<i64> {
        clients.0.iter().map(|sdk| sdk.clients.load(Ordering::Relaxed)).collect()
    }

    #[test]
    fn clients_are_counted_by_the_names_and_versions_of_the_settings_and_no_others() {
        let clients = ClientConnections::new(&["js".to_owned(), "js/5.4".to_owned(), "dart/0".to_owned()]);
        let entered = [
            clients.enter("js", "5.4.1"),
            clients.enter("js", "5.40"),
            clients.enter("dart", "0.14"),
            clients.enter("dart", "1.0"),
            clients.enter("other", ""),
            clients.enter(&"x".repeat(1000), "1"),
        ];
        assert_eq!(counts(&clients), [1, 1, 1, 3]);
        entered.into_iter().for_each(|sdk| clients.leave(sdk));
        clients.leave(SdkIndex::NONE);
        assert_eq!(counts(&clients), [0; 4]);
    }

    #[test]
    fn every_kind_has_a_name() {
        assert_eq!(COMMANDS[CommandKind::Unreadable as usize], "unreadable");
        assert_eq!(COMMANDS[CommandKind::SubRefresh as usize], "sub_refresh");
        assert_eq!(RECOVERY_OUTCOMES[RecoveryOutcome::Failed as usize], "failed");
        assert_eq!(TOKEN_REFUSALS[TokenRefusal::Malformed as usize], "malformed");
    }
}
