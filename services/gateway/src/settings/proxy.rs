//! Settings of proxies: the backend's endpoints that decide or answer clients' commands. The names are Centrifugo's where it has
//! one. `docs/protocols/proxy.md`.

mod routes;
mod validation;

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use gorani_auth::ProxyName;
use serde::{Deserialize, Serialize};

use super::backend::{BackendTlsSettings, SigningSecretSettings};

pub use self::routes::ConfiguredProxy;

/// The kinds of questions that a backend is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyEvent {
    /// May it connect, and as whom?
    Connect,
    /// May the connection go on?
    Refresh,
    /// May it subscribe?
    Subscribe,
    /// May the subscription go on?
    SubRefresh,
    /// May it publish, and what?
    Publish,
    /// Answer a method.
    Rpc,
}

impl ProxyEvent {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Refresh, Self::Subscribe, Self::SubRefresh, Self::Publish, Self::Rpc];

    /// The name in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Refresh => "refresh",
            Self::Subscribe => "subscribe",
            Self::SubRefresh => "sub_refresh",
            Self::Publish => "publish",
            Self::Rpc => "rpc",
        }
    }

    /// The settings of the proxy of this kind that has no name of its own.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Connect => "client.proxy.connect",
            Self::Refresh => "client.proxy.refresh",
            Self::Subscribe => "channel.proxy.subscribe",
            Self::SubRefresh => "channel.proxy.sub_refresh",
            Self::Publish => "channel.proxy.publish",
            Self::Rpc => "rpc.proxy",
        }
    }
}

/// `client.proxy`: about connections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientProxySettings {
    /// A publish or an rpc whose answer was lost is error 100, as in Centrifugo, and not 121.
    pub legacy_errors: bool,
    /// Every call has the header `traceparent` of W3C Trace Context: that of the client's frame or request, or a new one.
    pub traceparent: bool,
    /// Decides on connects without a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<Box<ProxySettings>>,
    /// Prolongs connections whose time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Box<ProxySettings>>,
}

impl ClientProxySettings {
    /// True if the backend decides on connects without a token.
    pub fn is_connect_on(&self) -> bool {
        self.connect.as_ref().is_some_and(|proxy| proxy.enabled == Some(true))
    }
}

/// `channel.proxy`: about channels whose namespace names no other proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelProxySettings {
    /// Decides on subscribes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Box<ProxySettings>>,
    /// Decides on publications of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Box<ProxySettings>>,
    /// Prolongs subscriptions whose time is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_refresh: Option<Box<ProxySettings>>,
}

/// `rpc`: methods of the backend that clients call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcSettings {
    /// Calls of one session at a time. With more than 1 they are answered in any order.
    pub concurrency: usize,
    /// Methods without a namespace.
    pub without_namespace: RpcProxySettings,
    /// The namespaces of methods: what stands before the first `:`. A method of any other namespace does not exist (error 104).
    pub namespaces: Vec<RpcNamespaceSettings>,
    /// The proxy of methods whose namespace names no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Box<ProxySettings>>,
}

impl Default for RpcSettings {
    fn default() -> Self {
        Self {
            concurrency: 1,
            without_namespace: RpcProxySettings::default(),
            namespaces: Vec::new(),
            proxy: None,
        }
    }
}

/// The proxy of methods without a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcProxySettings {
    /// The backend answers them.
    pub proxy_enabled: bool,
    /// By this proxy.
    pub proxy_name: ProxyName,
}

/// A namespace of methods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RpcNamespaceSettings {
    /// The name.
    pub name: String,
    /// The backend answers its methods.
    pub proxy_enabled: bool,
    /// By this proxy.
    pub proxy_name: ProxyName,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxySettings {
    /// The name, in `proxies` alone: namespaces choose by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Asked, in `client.proxy` alone. The others are asked where a namespace says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Address: `https://backend.example.com/gorani/connect`.
    pub endpoint: String,
    /// Time for the whole of a call: its wait for a place, connecting, and the last byte of the answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Headers of the request that opened the connection which the backend gets. `x-real-ip` is the client's address.
    pub http_headers: Vec<String>,
    /// Headers of the connect command, or of STOMP's CONNECT, which the backend gets. Clients choose their values.
    pub emulated_headers: Vec<String>,
    /// Send payloads as base64, in `b64data`.
    pub binary_encoding: bool,
    /// Send `meta`, which the backend gave when the client connected.
    pub include_connection_meta: bool,
    /// HTTP.
    pub http: ProxyHttpSettings,
    /// Calls of this node at a time at most.
    pub max_in_flight: usize,
    /// Calls that wait for a place at most; one more is answered 111.
    pub max_waiting: usize,
    /// Bytes of an answer at most.
    pub response_max_bytes: usize,
    /// Secrets that sign the calls, the first one today's.
    pub secrets: SigningSecretSettings,
    /// A file of them, one a line.
    pub secrets_file: PathBuf,
    /// Calls end at once while the backend is down.
    pub breaker: BreakerSettings,
    /// Repeat a call once that the backend has surely, or nearly surely, not seen.
    pub retry: bool,
    /// Offer HTTP/2 to a backend that speaks TLS.
    pub http2: Http2Choice,
}

impl Default for ProxySettings {
    fn default() -> Self {
        Self {
            name: None,
            enabled: None,
            endpoint: String::new(),
            timeout: Duration::from_secs(1),
            http_headers: Vec::new(),
            emulated_headers: Vec::new(),
            binary_encoding: false,
            include_connection_meta: false,
            http: ProxyHttpSettings::default(),
            max_in_flight: 256,
            max_waiting: 4096,
            response_max_bytes: 1024 * 1024,
            secrets: SigningSecretSettings::default(),
            secrets_file: PathBuf::new(),
            breaker: BreakerSettings::default(),
            retry: true,
            http2: Http2Choice::Off,
        }
    }
}

/// HTTP of a proxy.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProxyHttpSettings {
    /// Headers of every call, with their values.
    pub static_headers: BTreeMap<String, String>,
    /// TLS of the calls.
    pub tls: BackendTlsSettings,
    /// Statuses that are answers. The first one that fits counts.
    pub status_to_code_transforms: Vec<StatusTransformSettings>,
}

/// Shows no value of a header: they prove to the backend who calls.
impl fmt::Debug for ProxyHttpSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyHttpSettings")
            .field("static_headers", &self.static_headers.keys())
            .field("tls", &self.tls)
            .field("status_to_code_transforms", &self.status_to_code_transforms)
            .finish()
    }
}

/// A status of HTTP that is an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StatusTransformSettings {
    /// The status.
    pub status_code: u16,
    /// The command fails with this error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_error: Option<ErrorSettings>,
    /// The connection ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_disconnect: Option<DisconnectSettings>,
}

/// An error as a client gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorSettings {
    /// Any number but 0.
    pub code: u32,
    /// For the client.
    pub message: String,
    /// The client may try again.
    pub temporary: bool,
}

/// An end of a connection as a client gets it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DisconnectSettings {
    /// 3000 to 4999; below 3500 and from 4000 to 4499 clients come back.
    pub code: u16,
    /// For the client.
    pub reason: String,
}

/// The conditions under which calls to a backend that is down end at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// False: every call is tried.
    pub enabled: bool,
    /// Failures one after the other that open it.
    pub failures: u32,
    /// Percent of failures among the calls of the last 10 seconds that open it.
    pub failure_percent: u32,
    /// Fewer calls in these 10 seconds tell nothing.
    pub min_calls: u32,
    /// Time for which it stays open at most; it begins with 1 s and doubles.
    #[serde(with = "humantime_serde")]
    pub max_open: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            failures: 10,
            failure_percent: 50,
            min_calls: 20,
            max_open: Duration::from_secs(30),
        }
    }
}

/// `http2` of a proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Http2Choice {
    /// HTTP/1.1.
    #[default]
    Off,
    /// HTTP/2 where the backend speaks TLS and chooses it.
    Auto,
}
