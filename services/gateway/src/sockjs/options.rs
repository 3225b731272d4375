//! The options of one endpoint over SockJS: an embedder's own, and those that hold together with the node's settings.

use std::{sync::Arc, time::Duration};

use gorani_protocol::sockjs::{BatchLimits, Transport, iframe::IframePage};

use crate::{endpoint::Endpoint, metrics::TransportLabel, settings::SockJsSettings};

/// Label of WebSockets with SockJS's frames.
pub static FRAMED_WEBSOCKET: TransportLabel = TransportLabel::new("sockjs_websocket");
/// Label of WebSockets without them.
pub static RAW_WEBSOCKET: TransportLabel = TransportLabel::new("sockjs_websocket_raw");
static XHR: TransportLabel = TransportLabel::new("sockjs_xhr");
static XHR_STREAMING: TransportLabel = TransportLabel::new("sockjs_xhr_streaming");
static EVENT_SOURCE: TransportLabel = TransportLabel::new("sockjs_eventsource");
static HTML_FILE: TransportLabel = TransportLabel::new("sockjs_htmlfile");
static JSONP: TransportLabel = TransportLabel::new("sockjs_jsonp");

/// An embedder's options for a handler over SockJS, where they differ from the settings `sockjs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SockJs {
    websocket: Option<bool>,
    cookie_needed: Option<bool>,
    client_url: Option<String>,
    response_max_bytes: Option<usize>,
}

impl SockJs {
    /// As the settings say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets if WebSocket is served below the path too.
    #[must_use]
    pub fn websocket(mut self, served: bool) -> Self {
        self.websocket = Some(served);
        self
    }

    /// Sets if load balancers get a cookie.
    #[must_use]
    pub fn cookie_needed(mut self, needed: bool) -> Self {
        self.cookie_needed = Some(needed);
        self
    }

    /// Sets the URL from which the page for hidden frames loads sockjs-client.
    #[must_use]
    pub fn client_url(mut self, url: impl Into<String>) -> Self {
        self.client_url = Some(url.into());
        self
    }

    /// Bytes after which a streaming response ends.
    #[must_use]
    pub fn response_max_bytes(mut self, bytes: usize) -> Self {
        self.response_max_bytes = Some(bytes);
        self
    }
}

/// An endpoint as it is served over SockJS below a path.
pub struct SockJsEndpoint {
    /// The path, without a final slash.
    pub path: String,
    /// The endpoint behind the path.
    pub endpoint: Arc<dyn Endpoint>,
    /// True if WebSocket is served.
    pub websocket: bool,
    /// True if a cookie is set.
    pub cookie_needed: bool,
    /// The URL that clients are sent to; empty: this one.
    pub base_url: String,
    /// The page for hidden frames, where there is one.
    pub(super) page: Option<IframePage>,
    /// Bytes after which a streaming response ends.
    pub(super) response_max_bytes: usize,
    /// Bytes of a request with messages.
    pub batch_max_bytes: usize,
    batch_max_messages: usize,
    /// A session without a principal answers the network alone that opened it.
    pub(super) bind_to_address: bool,
    pub(super) disconnect_delay: Duration,
    pub(super) heartbeat: Duration,
    /// Messages that wait for a poll.
    pub(super) max_waiting: usize,
}

/// A message may take so much more in a batch than it has bytes: its escapes, mostly of quotes and line ends.
const ESCAPING: usize = 2;

impl SockJsEndpoint {
    /// An endpoint below a path.
    pub fn new(path: &str, endpoint: Arc<dyn Endpoint>, options: &SockJs, settings: &SockJsSettings) -> Self {
        let client_url = options.client_url.as_deref().unwrap_or(&settings.client_url);
        let mut served = Self {
            path: path.trim_end_matches('/').to_owned(),
            websocket: options.websocket.unwrap_or(settings.websocket),
            cookie_needed: options.cookie_needed.unwrap_or(settings.cookie_needed),
            base_url: settings.base_url.clone(),
            page: None,
            response_max_bytes: options.response_max_bytes.unwrap_or(settings.response_max_bytes),
            batch_max_bytes: settings
                .batch_max_bytes
                .max(endpoint.message_max_bytes().saturating_mul(ESCAPING)),
            batch_max_messages: settings.batch_max_messages,
            bind_to_address: settings.bind_to_address,
            disconnect_delay: settings.disconnect_delay,
            heartbeat: settings.heartbeat,
            max_waiting: settings.max_waiting,
            endpoint,
        };
        // A page that any site may put into a frame speaks with the cookies of its visitors: only where all may connect.
        if !client_url.is_empty() && served.is_open_to_all() {
            served.page = Some(IframePage::new(client_url));
        }
        served
    }

    /// True if pages of every origin may connect.
    pub(super) fn is_open_to_all(&self) -> bool {
        // Two origins that nobody lists.
        let allows = |origin| self.endpoint.allows_origin(Some(origin), "");
        allows("null") && allows("https://any.invalid")
    }

    /// Bounds of a batch from a client.
    pub fn batch_limits(&self) -> BatchLimits {
        BatchLimits {
            max_messages: self.batch_max_messages,
            message_max_bytes: self.endpoint.message_max_bytes(),
        }
    }

    /// Label of the sessions that a transport opens.
    pub(super) fn label(&self, transport: Transport) -> &'static TransportLabel {
        match transport {
            Transport::Xhr | Transport::XhrSend => &XHR,
            Transport::XhrStreaming => &XHR_STREAMING,
            Transport::EventSource => &EVENT_SOURCE,
            Transport::HtmlFile => &HTML_FILE,
            Transport::Jsonp | Transport::JsonpSend => &JSONP,
            Transport::WebSocket => &FRAMED_WEBSOCKET,
        }
    }

    /// The key of a session among those of the node. Two endpoints may have sessions with the same id.
    pub(super) fn key(&self, session: &str) -> Arc<str> {
        // The id of no other session begins with a slash.
        format!("{}/{session}", self.path).into()
    }
}
