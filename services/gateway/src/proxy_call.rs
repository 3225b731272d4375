//! A call to the backend that decides or answers a client's command, and the backend's answer: what a session and the room
//! [`crate::proxy`] say to one another. `docs/protocols/proxy.md`.
//!
//! A session finds the proxy of a command in [`ProxyRoutes`], asks by [`crate::session::Action::Proxy`], and gets
//! [`crate::session::Outcome::Proxied`].

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicU64},
};

use actix_http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use gorani_auth::ChannelName;
use gorani_broker::DataKind;

pub use crate::disconnect::ProxyError;
use crate::disconnect::{Disconnect, ErrorCode};

/// A configured proxy: its number among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProxyId(pub u16);

/// The proxies that a node has, by what they are asked about. Empty where no proxy is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyRoutes {
    /// Some proxy is configured, used or not: then sessions keep what a call needs, since a reload may begin to use it.
    pub is_configured: bool,
    /// Decides on connects without a token.
    pub connect: Option<ProxyId>,
    /// Prolongs connections whose time is over.
    pub refresh: Option<ProxyId>,
    /// For channels without a namespace.
    pub without_namespace: ChannelProxies,
    /// For channels of these namespaces.
    pub namespaces: HashMap<Box<str>, ChannelProxies>,
    /// Answers to `rpc`.
    pub rpc: RpcRoutes,
    /// Request headers that some proxy forwards, in lower case. Sessions keep no others.
    pub http_headers: Vec<HeaderName>,
    /// Names of the connect command's headers that some proxy forwards, in lower case. Sessions keep no others. `stomp-` before a
    /// name stands for a header of STOMP's frames.
    pub emulated_headers: Vec<Box<str>>,
}

/// The proxies of a namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelProxies {
    /// Decides on subscribes.
    pub subscribe: Option<ProxyId>,
    /// Decides on publications of clients, and may change them.
    pub publish: Option<ProxyId>,
    /// Prolongs subscriptions whose time is over.
    pub sub_refresh: Option<ProxyId>,
}

/// The proxies that answer `rpc`, by the namespace of the method: what stands before its first `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcRoutes {
    /// Calls of one session at a time (`rpc.concurrency`); with 1 they are answered in their order.
    pub concurrency: NonZeroUsize,
    /// For methods without a namespace.
    pub without_namespace: Option<ProxyId>,
    /// For methods of these namespaces; `None`: switched off (108).
    pub namespaces: HashMap<Box<str>, Option<ProxyId>>,
}

impl Default for RpcRoutes {
    fn default() -> Self {
        Self { concurrency: NonZeroUsize::MIN, without_namespace: None, namespaces: HashMap::new() }
    }
}

impl ProxyRoutes {
    /// True if no proxy is asked about anything.
    pub fn is_empty(&self) -> bool {
        !self.is_configured
            && self.connect.is_none()
            && self.refresh.is_none()
            && self.without_namespace == ChannelProxies::default()
            && self.namespaces.values().all(|proxies| *proxies == ChannelProxies::default())
            && self.rpc.without_namespace.is_none()
            && self.rpc.namespaces.values().all(Option::is_none)
    }

    /// The proxies of a channel.
    pub fn channel(&self, channel: &str) -> ChannelProxies {
        if self.namespaces.is_empty() && self.without_namespace == ChannelProxies::default() {
            return ChannelProxies::default();
        }
        match ChannelName::parse(channel).namespace {
            Some(namespace) => self.namespaces.get(namespace).copied().unwrap_or_default(),
            None => self.without_namespace,
        }
    }

    /// The proxy that answers a method. Errors: 104 for an unknown namespace, 108 where none is configured.
    pub fn rpc(&self, method: &str) -> Result<ProxyId, ErrorCode> {
        let found = match method.split_once(':') {
            Some((namespace, _)) => {
                self.rpc.namespaces.get(namespace).copied().ok_or(ErrorCode::METHOD_NOT_FOUND)?
            }
            None => self.rpc.without_namespace,
        };
        found.ok_or(ErrorCode::NOT_AVAILABLE)
    }
}

/// The header that carries a trace, of requests and of connect commands.
pub const TRACEPARENT: &str = "traceparent";
/// The same of STOMP's frames, in the list of headers that are kept.
pub const TRACEPARENT_OF_FRAMES: &str = "stomp-traceparent";

/// A call.
#[derive(Debug, Clone)]
pub struct ProxyCall {
    /// The proxy that is asked.
    pub proxy: ProxyId,
    /// The client.
    pub caller: Arc<ProxyCaller>,
    /// The number of the call in its session, from 1: with the client's id it names the call in `X-Request-Id`.
    pub number: u64,
    /// The question.
    pub request: ProxyRequest,
}

/// The client of a call, as the backend sees it.
#[derive(Debug, Clone, Default)]
pub struct ProxyCaller {
    /// Client id.
    pub client: Arc<str>,
    /// User id; empty for an anonymous client, and for all before they are connected.
    pub user: Arc<str>,
    /// `websocket`, `sockjs`, `sse`, `http_stream`, `uni_websocket`, `uni_sse`, `uni_http_stream`, `poll`, `stomp`, `stomp_tcp`.
    pub transport: &'static str,
    /// `json`, `protobuf` or `stomp`.
    pub protocol: &'static str,
    /// JSON that the backend keeps with the connection; empty for none.
    pub meta: Bytes,
    /// The headers that proxies forward.
    pub headers: Arc<ProxyHeaders>,
}

/// Headers of a client, trimmed to those that some proxy forwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// Of the request that opened the connection, every value of every listed name.
    pub http: Vec<(HeaderName, HeaderValue)>,
    /// Of the connect command, or of STOMP's CONNECT: names in lower case.
    pub emulated: Vec<(Box<str>, Box<str>)>,
    /// The client's address, as far as proxies in between are trusted: the pseudo header `x-real-ip`.
    pub address: Option<IpAddr>,
}

/// A payload of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPayload {
    /// The bytes, as they came.
    pub data: Bytes,
    /// JSON, text or bytes.
    pub kind: DataKind,
}

/// The question of a call.
#[derive(Debug, Clone)]
pub enum ProxyRequest {
    /// May it connect, and as whom?
    Connect {
        /// Data of the connect command.
        data: Option<ProxyPayload>,
        /// Name of the client's kind.
        name: String,
        /// The application's version.
        version: String,
        /// Server-side subscriptions that the client had before.
        channels: Vec<String>,
    },
    /// May the connection go on? Its time is over.
    Refresh,
    /// May it subscribe?
    Subscribe {
        /// The channel.
        channel: Arc<str>,
        /// The subscription token; empty: none.
        token: String,
        /// Data of the subscribe command.
        data: Option<ProxyPayload>,
    },
    /// May the subscription go on? Its time is over.
    SubRefresh {
        /// The channel.
        channel: Arc<str>,
    },
    /// May it publish, and what?
    Publish {
        /// The channel.
        channel: Arc<str>,
        /// The publication's data.
        data: ProxyPayload,
    },
    /// Answer a method.
    Rpc {
        /// The method; may be empty.
        method: String,
        /// Data of the command.
        data: Option<ProxyPayload>,
        /// Further headers of this one call, of a STOMP frame: names in lower case, with `stomp-` before them.
        headers: Vec<(Box<str>, Box<str>)>,
    },
}

/// The outcome of a call.
pub type ProxyOutcome = Result<ProxyAnswer, ProxyFailure>;

/// A backend's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyAnswer {
    /// The connection ends.
    Disconnect(Disconnect),
    /// The command fails with the backend's error.
    Error(ProxyError),
    /// A result of the kind that was asked for; its parts are absent where the backend gave none.
    Result(ProxyResult),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFailure {
    /// The backend has surely not carried it out: 100, or 111 where too many calls wait.
    NotProcessed(ErrorCode),
    /// The request was sent, and no good answer came: nobody knows whether it was carried out.
    Unknown,
    /// The backend was asked and refused to answer in order: a status or a body that is no answer. Decisions are 100;
    /// publish and rpc are 121.
    BadAnswer,
}

impl ProxyFailure {
    /// The error of a decision, which may be asked for again: of connect and subscribe.
    pub fn of_decision(self) -> ErrorCode {
        match self {
            Self::NotProcessed(error) => error,
            Self::Unknown | Self::BadAnswer => ErrorCode::INTERNAL,
        }
    }

    /// The error of what the backend may have carried out: of publish and rpc.
    pub fn of_effect(self) -> ErrorCode {
        match self {
            Self::NotProcessed(error) => error,
            Self::Unknown | Self::BadAnswer => ErrorCode::UNKNOWN_ANSWER,
        }
    }
}

/// Counts of what sessions did with answers. Read by scrapes.
#[derive(Debug, Default)]
pub struct ProxyCounts {
    /// Publications that the backend had dropped.
    pub dropped: AtomicU64,
    /// Answers that nobody waited for any more: the subscription was ended meanwhile.
    pub stale: AtomicU64,
    /// Replies and errors for which a STOMP client had no subscription.
    pub undelivered: AtomicU64,
}

/// A result by kind. `None`: the backend gave no `result`.
#[derive(Debug, Clone, PartialEq)]
pub enum ProxyResult {
    /// Of [`ProxyRequest::Connect`].
    Connect(Option<Box<ConnectGrant>>),
    /// Of [`ProxyRequest::Refresh`] and [`ProxyRequest::SubRefresh`].
    Refresh(Option<RefreshGrant>),
    /// Of [`ProxyRequest::Subscribe`]; no result is an empty one.
    Subscribe(Box<SubscribeGrant>),
    /// Of [`ProxyRequest::Publish`]; no result is an empty one.
    Publish(Box<PublishGrant>),
    /// Of [`ProxyRequest::Rpc`]: the data of the reply.
    Rpc(Option<ProxyPayload>),
}

/// A backend's word on a connect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectGrant {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// End of the connection unless refreshed, in Unix seconds; 0: never.
    pub expire_at: u64,
    /// JSON that others see of the connection; empty for none.
    pub info: Bytes,
    /// Data for the client.
    pub data: Option<ProxyPayload>,
    /// Channels to subscribe it to.
    pub channels: Vec<String>,
    /// The same, with options.
    pub subs: Vec<(String, SubscribeGrant)>,
    /// JSON that the backend keeps with the connection; empty for none.
    pub meta: Bytes,
}

/// A backend's word on an expiry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RefreshGrant {
    /// It ends now.
    pub expired: bool,
    /// The next end, in Unix seconds. One that is not in the future, as 0, is the end now.
    pub expire_at: u64,
    /// JSON that others see from now on; empty: as before.
    pub info: Bytes,
    /// JSON that the backend keeps with the connection from now on; empty: as before.
    pub meta: Bytes,
}

/// A backend's word on a subscription.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SubscribeGrant {
    /// End of the subscription unless refreshed, in Unix seconds; 0: never.
    pub expire_at: u64,
    /// JSON that others see of the client in the channel; empty for none.
    pub info: Bytes,
    /// Data for the client.
    pub data: Option<ProxyPayload>,
    /// Changed options of the channel.
    pub overrides: gorani_auth::OptionOverrides,
}

/// A backend's word on a publication.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublishGrant {
    /// Takes the place of the client's data.
    pub data: Option<ProxyPayload>,
    /// Published live, and not kept.
    pub skip_history: bool,
    /// Labels of the publication.
    pub tags: Vec<(String, String)>,
    /// Guards against a second publication by a repeated command; empty for none.
    pub idempotency_key: String,
    /// Not published, although the client is told that all is well.
    pub drop: bool,
}
