//! Settings of SockJS, for every endpoint that is served over it. `docs/protocols/sockjs.md`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// SockJS.
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
        if self.client_url.contains(char::is_control) || self.base_url.contains(char::is_control) {
            return problem("sockjs", "client_url and base_url must be URLs");
        }
        Ok(())
    }
}
