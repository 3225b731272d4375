//! Settings of the listeners, of HTTP itself, and of what stands in for WebSocket over HTTP: polling and SockJS.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{TrustedProxies, error::SettingsError};

/// Worker threads at most: the node keeps a bit for each, and one for the tails of operators.
pub const MAX_WORKERS: usize = 127;

/// Values that Linux accepts for `TCP_KEEPIDLE`.
const TCP_KEEPALIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(32_767);

/// Listening, TLS, and limits of HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Address on which the node listens; port 0 takes a free one and logs it.
    #[serde(deserialize_with = "socket_address")]
    pub address: SocketAddr,
    /// Worker threads; 0: one a core.
    pub workers: usize,
    /// Connections that may wait to be accepted.
    pub backlog: u32,
    /// Sessions at a time, of every transport and protocol, at most. Fewer where the system lets the node open too few files.
    pub max_connections: usize,
    /// TCP connections at a time whose first request has not come, at most: TLS handshakes, and those that send nothing. Over
    /// it the oldest is closed.
    pub max_handshakes: usize,
    /// The same from one address (IPv6: one /64) that is no trusted proxy.
    pub max_handshakes_per_address: usize,
    /// Bytes of a request's line and headers at most; over it 431.
    pub header_max_bytes: usize,
    /// Time for a request's headers to arrive, and for a body, which has a second more for each 4 KiB that came.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time for which an idle HTTP connection is kept.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// A peer that acknowledges nothing for so long is given up (`TCP_USER_TIMEOUT`); 0 leaves it to the system. While
    /// `tcp_keepalive` is on, it is at least that and 30 s: three probes, so that one lost probe ends nothing.
    #[serde(with = "humantime_serde")]
    pub tcp_user_timeout: Duration,
    /// Silence after which TCP asks whether the peer is still there, for each connection between half of it and all of it;
    /// 0 leaves it to the system, which does not ask.
    #[serde(with = "humantime_serde")]
    pub tcp_keepalive: Duration,
    /// WebSocket handshakes a second from one address at most; 0: no limit.
    pub handshakes_per_second: u32,
    /// Balancers in front, addresses or networks: what they say of the client's address (`X-Forwarded-For`) is believed.
    pub trusted_proxies: TrustedProxies,
    /// Time that open requests may take to finish when the node stops.
    #[serde(with = "humantime_serde")]
    pub shutdown_timeout: Duration,
    /// Certificate and key; when set, the address speaks TLS only.
    pub tls: HttpTlsSettings,
}

/// Certificate and key of TLS, as PEM files. Both or neither.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpTlsSettings {
    /// The certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The address of a listener, and its certificate.
#[derive(Debug, Clone, Copy)]
pub struct ListenerAddress<'a> {
    /// The address.
    pub address: SocketAddr,
    /// Its certificate and key, where it speaks TLS.
    pub tls: &'a HttpTlsSettings,
}

impl HttpTlsSettings {
    /// True if TLS is on.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8000)),
            workers: 0,
            backlog: 4096,
            max_connections: 100_000,
            max_handshakes: 10_000,
            max_handshakes_per_address: 2_000,
            header_max_bytes: 16 * 1024,
            request_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            tcp_user_timeout: Duration::from_secs(90),
            tcp_keepalive: Duration::from_secs(60),
            handshakes_per_second: 0,
            trusted_proxies: TrustedProxies::default(),
            shutdown_timeout: Duration::from_secs(5),
            tls: HttpTlsSettings::default(),
        }
    }
}

impl HttpSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.workers > MAX_WORKERS {
            return Err(SettingsError::value("http.workers", format!("at most {MAX_WORKERS}")));
        }
        if self.max_connections == 0 {
            return Err(SettingsError::value("http.max_connections", "must be above 0"));
        }
        if self.max_handshakes == 0 {
            return Err(SettingsError::value("http.max_handshakes", "must be above 0"));
        }
        if self.max_handshakes_per_address == 0 {
            return Err(SettingsError::value("http.max_handshakes_per_address", "must be above 0"));
        }
        if !self.tcp_keepalive.is_zero() && !TCP_KEEPALIVE.contains(&self.tcp_keepalive) {
            return Err(SettingsError::value("http.tcp_keepalive", "must be 0s, or between 1s and 32767s"));
        }
        if !(1024..=128 * 1024).contains(&self.header_max_bytes) {
            return Err(SettingsError::value("http.header_max_bytes", "must be between 1024 and 131072"));
        }
        if self.request_timeout.is_zero() {
            return Err(SettingsError::value("http.request_timeout", "must be above 0s"));
        }
        let tls = &self.tls;
        if tls.certificate.as_os_str().is_empty() != tls.key.as_os_str().is_empty() {
            return Err(SettingsError::value("http.tls", "certificate and key go together"));
        }
        Ok(())
    }

    /// The listener for clients.
    pub fn listener(&self) -> ListenerAddress<'_> {
        ListenerAddress { address: self.address, tls: &self.tls }
    }

    /// Number of worker threads.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS),
            count => count,
        }
    }
}

/// Polling and long polling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PollSettings {
    /// Publications of an answer, unless a poll asks for another number; never more than `client.history_max`.
    pub limit: u32,
    /// Longest wait of a poll.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// Polls that may wait at a time; each is a connection too, and one address has a part of them. Over it 429.
    pub max_waiting: usize,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self { limit: 100, max_wait: Duration::from_secs(60), max_waiting: 50_000 }
    }
}

impl PollSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.limit == 0 {
            return Err(SettingsError::value("poll.limit", "must be above 0"));
        }
        if self.max_wait > Duration::from_secs(60) {
            return Err(SettingsError::value(
                "poll.max_wait",
                "at most 60s: what stands between gives up soon after",
            ));
        }
        Ok(())
    }
}

/// SockJS, for every endpoint that is served over it. `docs/protocols/sockjs.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SockJsSettings {
    /// Serve WebSocket too, not only what falls back to HTTP.
    pub websocket: bool,
    /// Set a cookie, for load balancers that keep a client at its node by one. Not needed by Gorani.
    pub cookie_needed: bool,
    /// Address from which the page for hidden frames loads sockjs-client, in the version that the site uses. Empty: no such page.
    pub client_url: String,
    /// Address to which `/info` sends clients for their sessions. Empty: the one that they asked.
    pub base_url: String,
    /// Silence after which a client is sent a heartbeat.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Time that a session waits for its client's next request, and for which its end is still reported to the client.
    #[serde(with = "humantime_serde")]
    pub disconnect_delay: Duration,
    /// Bytes after which a streaming response ends and the client makes its next one; browsers keep all of a response in
    /// memory. Also about what a poll brings at most.
    pub response_max_bytes: usize,
    /// Bytes of a request with messages. At least twice the size of a message may have in any case.
    pub batch_max_bytes: usize,
    /// Messages in one request.
    pub batch_max_messages: usize,
    /// Sessions of the node that may wait for their client's next request at a time. One address has a part of them.
    pub max_waiting: usize,
    /// If true, a session without a principal takes requests only from the address that opened it.
    pub bind_to_address: bool,
}

impl Default for SockJsSettings {
    fn default() -> Self {
        Self {
            websocket: true,
            cookie_needed: false,
            client_url: String::new(),
            base_url: String::new(),
            heartbeat: Duration::from_secs(25),
            disconnect_delay: Duration::from_secs(5),
            response_max_bytes: 128 * 1024,
            batch_max_bytes: 1024 * 1024,
            batch_max_messages: 10_000,
            max_waiting: 50_000,
            bind_to_address: true,
        }
    }
}

impl SockJsSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        if self.heartbeat < Duration::from_secs(1) {
            return problem("sockjs.heartbeat", "must be at least 1s");
        }
        if self.disconnect_delay.is_zero() {
            return problem("sockjs.disconnect_delay", "must be above 0s");
        }
        if self.response_max_bytes < 1024 {
            return problem("sockjs.response_max_bytes", "must be at least 1024");
        }
        if self.batch_max_bytes < 1024 {
            return problem("sockjs.batch_max_bytes", "must be at least 1024");
        }
        if self.batch_max_messages == 0 || self.max_waiting == 0 {
            return problem("sockjs", "batch_max_messages and max_waiting must be above 0");
        }
        let urls = [("sockjs.client_url", &self.client_url), ("sockjs.base_url", &self.base_url)];
        if let Some((key, _)) = urls.into_iter().find(|(_, url)| !is_link(url)) {
            return problem(
                key,
                "must be a URL such as https://host/path, or a path that begins with a slash",
            );
        }
        Ok(())
    }
}

/// An IP address and a port. The error says what it must be, without the value.
fn socket_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| D::Error::custom("must be an IP address and a port, such as 127.0.0.1:8000"))
}

/// True if a text is a URL of the web or a path, or empty. A browser takes anything else as relative to the page.
fn is_link(text: &str) -> bool {
    let begins = |start: &str| text.strip_prefix(start).is_some_and(|rest| !rest.is_empty());
    let is_link = text.is_empty() || text.starts_with('/') || begins("https://") || begins("http://");
    is_link && !text.contains(|character: char| character.is_control() || character.is_whitespace())
}
