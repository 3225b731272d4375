//! Settings: built-in defaults, then the file, then the environment; read and checked whole before anything is bound.
//!
//! `deploy/gorani.toml` shows every key with its default, and a test keeps the two equal. Environment variables are
//! `GORANI__` and the key in capitals, with `__` between the parts: `GORANI__HTTP__ADDRESS=0.0.0.0:8000`. Lists are
//! separated by commas. `docs/architecture.md` §9.9.
//!
//! Secrets that can be guessed: they stop the start of a node that listens beyond the loopback, and are a warning elsewhere.
//! `docs/architecture.md` §8.2.

pub mod admin;
pub mod backend;
pub mod client;
pub mod cluster;
pub mod connect_codes;
pub mod error;
pub mod event_log;
pub mod fingerprint;
pub mod hooks;
pub mod http;
pub mod live;
pub mod metrics;
pub mod oidc;
pub mod proxies;
pub mod proxy;
pub mod reload_report;
pub mod role;
pub mod stomp;
pub mod telemetry;
#[cfg(test)]
mod tests;
pub mod visible;
pub mod warnings;
pub mod watch;

use std::{collections::HashMap, fmt, path::Path};

use gorani_auth::{
    ApiKeys, ChannelRules, ChannelSettings, Origins, TokenSettings, TokenVerifier, personal_channel,
};
use gorani_broker::{MemorySettings, RedisSettings};
use serde::{Deserialize, Serialize};

use self::error::{empty_secret, environment, read};

pub use self::{
    admin::{AdminKeySettings, AdminSettings},
    backend::{BackendTlsSettings, SigningSecretSettings},
    client::{ClientSettings, MemoryBudgetSettings, ReadSettings, SubprotocolChoice, WebSocketSettings},
    cluster::{DrainSettings, MembershipSettings, NodeSettings},
    connect_codes::{ConnectCloseSettings, ConnectStatusSettings},
    error::SettingsError,
    event_log::EventLogSettings,
    hooks::{HookEndpointSettings, HookFormat, HookSettings},
    http::{HttpSettings, HttpTlsSettings, ListenerAddress, PollSettings, SockJsSettings},
    metrics::MetricsSettings,
    oidc::{OidcRoleSettings, OidcSettings},
    proxies::TrustedProxies,
    proxy::{
        BreakerSettings, ChannelProxySettings, ClientProxySettings, ConfiguredProxy, Http2Choice, ProxyEvent,
        ProxySettings, RpcSettings,
    },
    reload_report::ReloadReport,
    role::AdminRole,
    stomp::{Password, StompQueueSettings, StompSettings, StompTcpSettings, StompUser},
    telemetry::{OtlpSettings, TelemetrySettings},
    watch::WatchSettings,
};

/// All settings of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The node itself.
    pub node: NodeSettings,
    /// Listening, TLS, limits of HTTP.
    pub http: HttpSettings,
    /// WebSocket connections of every kind.
    pub websocket: WebSocketSettings,
    /// SockJS, for every endpoint that is served over it.
    pub sockjs: SockJsSettings,
    /// Clients of the client protocol.
    pub client: ClientSettings,
    /// Memory for all clients together.
    pub memory: MemoryBudgetSettings,
    /// Polling and long polling.
    pub poll: PollSettings,
    /// Heavy reads: history, presence, recovery.
    pub reads: ReadSettings,
    /// Clients of STOMP.
    pub stomp: StompSettings,
    /// Connection and subscription tokens.
    pub token: TokenSettings,
    /// Options of channels, by namespace.
    pub channel: ChannelSettings<ChannelProxySettings>,
    /// Methods of the backend that clients call.
    pub rpc: RpcSettings,
    /// The proxies that namespaces choose by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub proxies: Vec<ProxySettings>,
    /// The HTTP API for backends.
    pub api: ApiSettings,
    /// Hooks: events of clients and channels for the backend.
    pub hooks: HookSettings,
    /// The broker, which carries publications between nodes.
    pub broker: BrokerSettings,
    /// Membership of the cluster, and calls between its nodes.
    pub cluster: MembershipSettings,
    /// Going down.
    pub drain: DrainSettings,
    /// Reading these settings again.
    pub settings: WatchSettings,
    /// `GET /metrics`.
    pub metrics: MetricsSettings,
    /// The events that a node remembers.
    pub event_log: EventLogSettings,
    /// Logging.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
    /// The admin API and its page.
    pub admin: AdminSettings,
    /// Things for trying out, never for production.
    pub development: DevelopmentSettings,
}

/// The HTTP API for backends.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiSettings {
    /// Keys that backends may present; several for rotation, none closes the API.
    pub keys: Vec<String>,
    /// Bytes of a request's body at most.
    pub body_max_bytes: usize,
    /// Wrong keys a minute from one address that are answered 401; more are 429. A right key is never refused. 0: no limit.
    pub wrong_keys_per_minute: u32,
    /// Bytes of publications and presence that the answer to one call may hold, a batch included.
    pub reply_max_bytes: usize,
    /// Form in which errors of calls are reported, unless their header says it.
    pub error_mode: ErrorMode,
    /// Backends may have a publication traced: `trace` in publish.
    pub allow_trace: bool,
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            body_max_bytes: 1024 * 1024,
            wrong_keys_per_minute: 600,
            reply_max_bytes: 8 * 1024 * 1024,
            error_mode: ErrorMode::Body,
            allow_trace: false,
        }
    }
}

/// Tells how many keys there are, and none of them.
impl fmt::Debug for ApiSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { keys, body_max_bytes, wrong_keys_per_minute, reply_max_bytes, error_mode, allow_trace } =
            self;
        formatter
            .debug_struct("ApiSettings")
            .field("keys", &format_args!("{} set", keys.len()))
            .field("body_max_bytes", body_max_bytes)
            .field("wrong_keys_per_minute", wrong_keys_per_minute)
            .field("reply_max_bytes", reply_max_bytes)
            .field("error_mode", error_mode)
            .field("allow_trace", allow_trace)
            .finish()
    }
}

/// `api.error_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorMode {
    /// Errors of the call itself are in the body of a 200.
    #[default]
    Body,
    /// Every error has its HTTP status.
    Status,
}

/// The broker, which carries publications between nodes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerSettings {
    /// The kind of the broker.
    pub kind: BrokerKind,
    /// The embedded broker's bounds.
    pub memory: MemorySettings,
    /// The connection to Redis.
    pub redis: RedisSettings,
}

/// Kinds of brokers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// Embedded: one node, everything in its memory.
    #[default]
    Memory,
    /// Any number of nodes, joined by Redis.
    Redis,
}

/// Logging to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,gorani::hub=debug`.
    pub level: String,
    /// `auto` (human on a terminal, JSON otherwise), `human` or `json`.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Human,
    /// For machines, an object a line.
    Json,
}

/// Things for trying out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DevelopmentSettings {
    /// Serve the try-out page at `/`.
    pub page: bool,
    /// Give the first API key to everyone who opens the page. Anybody who can reach the node can then publish.
    pub page_api_key: bool,
    /// Serve `/echo`, which answers every message with itself, for conformance runs.
    pub echo: bool,
    /// Serve it over SockJS too, and the other endpoints of SockJS's conformance runs: `/close`, `/amplify`, ….
    pub sockjs_conformance: bool,
    /// Serve the admin page, and let everyone in without a password. Only where the node listens on a loopback address.
    pub admin: bool,
}

impl Settings {
    /// Reads the file, if one is named, and the environment over it, and checks the whole.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let text = match file {
            None => String::new(),
            Some(path) => {
                std::fs::read_to_string(path).map_err(|error| SettingsError::File(path.to_owned(), error))?
            }
        };
        Self::from_text(&text, &environment()?)
    }

    /// Reads TOML text and the variables of an environment over it, and checks the whole.
    pub fn from_text(text: &str, variables: &HashMap<String, String>) -> Result<Self, SettingsError> {
        if let Some(variable) = empty_secret(variables) {
            return Err(SettingsError::EmptySecret(variable.to_owned()));
        }
        let mut settings: Self = read(text, variables)?;
        settings.telemetry.fill_from(variables);
        settings.validate()?;
        Ok(settings)
    }

    /// Checks every value against its range, and the parts against each other.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.node.validate()?;
        self.http.validate()?;
        self.websocket.validate()?;
        self.sockjs.validate()?;
        self.client.validate()?;
        self.memory.validate(self.client.reply_max_bytes)?;
        self.poll.validate()?;
        self.reads.validate()?;
        self.stomp.validate()?;
        self.cluster.validate()?;
        self.drain.validate()?;
        self.settings.validate()?;
        self.metrics.validate()?;
        self.event_log.validate()?;
        self.telemetry.validate()?;
        self.token.validate().map_err(|error| SettingsError::value("token", error))?;
        TokenVerifier::new(&self.token).map_err(|error| SettingsError::value("token", error))?;
        let rules = self.channel.rules().map_err(|error| SettingsError::value("channel", error))?;
        self.validate_personal_channels(&rules)?;
        self.hooks.validate(&self.channel)?;
        self.validate_proxies()?;
        ApiKeys::new(self.api.keys.clone()).map_err(|error| SettingsError::value("api.keys", error))?;
        Origins::new(&self.client.allowed_origins)
            .map_err(|error| SettingsError::value("client.allowed_origins", error))?;
        if self.broker.kind == BrokerKind::Redis {
            self.broker.redis.validate().map_err(|error| SettingsError::value("broker.redis", error))?;
        }
        self.validate_secrets()?;
        self.admin.validate(self.development.admin, self.http.address)?;
        if self.development.admin && self.listens_beyond_loopback() {
            return Err(SettingsError::value(
                "development.admin",
                "everyone would get in: http.address and admin.address must be on the loopback",
            ));
        }
        if self.api.reply_max_bytes < 1024 {
            return Err(SettingsError::value("api.reply_max_bytes", "must be at least 1024"));
        }
        if self.api.body_max_bytes < 1024 {
            return Err(SettingsError::value("api.body_max_bytes", "must be at least 1024"));
        }
        if self.development.page_api_key && self.api.keys.is_empty() {
            return Err(SettingsError::value(
                "development.page_api_key",
                "there is no key in api.keys to give",
            ));
        }
        Ok(())
    }

    /// Each must be the name of a channel of every user, in a namespace that there is.
    fn validate_personal_channels(&self, rules: &ChannelRules) -> Result<(), SettingsError> {
        for name in &self.client.personal_channels {
            let wrong = |problem: &str| {
                SettingsError::value("client.personal_channels", format!("{name:?}: {problem}"))
            };
            let channel = personal_channel(name, "user").map_err(|error| wrong(&error.to_string()))?;
            if rules.server_side(&channel, None).is_err() {
                return Err(wrong("its namespace is not in channel.namespaces"));
            }
        }
        Ok(())
    }
}

impl Settings {
    /// True if the admin page and its API are served.
    pub fn serves_admin(&self) -> bool {
        self.admin.enabled || self.development.admin
    }

    /// The listener that serves the admin page, `/metrics` and `/health`.
    pub fn operator_listener(&self) -> ListenerAddress<'_> {
        match self.admin.address().ok().flatten() {
            Some(address) => ListenerAddress { address, tls: &self.admin.tls },
            None => self.http.listener(),
        }
    }

    /// True if other machines than this one can reach the node.
    pub fn listens_beyond_loopback(&self) -> bool {
        let (stomp, admin) = (self.stomp.tcp.address(), self.admin.address());
        [Some(self.http.address), stomp.ok().flatten(), admin.ok().flatten()]
            .into_iter()
            .flatten()
            .any(|address| !address.ip().to_canonical().is_loopback())
    }

    fn validate_secrets(&self) -> Result<(), SettingsError> {
        match self.weak_secrets().first() {
            Some(key) if self.listens_beyond_loopback() => Err(SettingsError::value(
                key,
                "a secret of fewer than 16 characters can be guessed, and the node listens beyond the loopback; \
                 make one with: openssl rand -hex 32",
            )),
            _ => Ok(()),
        }
    }
}
