//! Settings of WebSocket connections and of the client protocol. Limits: `docs/limits.md`.

use std::time::Duration;

use gorani_auth::CHANNEL_NAME_MAX_BYTES;
use gorani_protocol::websocket::SubprotocolPolicy;
use serde::{Deserialize, Serialize};

use super::error::SettingsError;

/// WebSocket connections of every kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebSocketSettings {
    /// Accept permessage-deflate where a client offers it.
    pub compression: bool,
    /// Messages below this size are sent as they are.
    pub compression_threshold_bytes: usize,
    /// Policy for a client that offers only subprotocols that the endpoint does not know.
    pub subprotocols: SubprotocolChoice,
    /// Time that a closed connection may take for the close handshake.
    #[serde(with = "humantime_serde")]
    pub close_timeout: Duration,
}

/// Strict or lenient choice of a subprotocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubprotocolChoice {
    /// Refuse with 400: a browser would fail anyway, and without a word.
    #[default]
    Strict,
    /// Go on without a subprotocol.
    Lenient,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self {
            compression: false,
            compression_threshold_bytes: 256,
            subprotocols: SubprotocolChoice::Strict,
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl WebSocketSettings {
    /// Policy for a client that offers only subprotocols that the endpoint does not know.
    pub fn subprotocol_policy(&self) -> SubprotocolPolicy {
        match self.subprotocols {
            SubprotocolChoice::Strict => SubprotocolPolicy::Strict,
            SubprotocolChoice::Lenient => SubprotocolPolicy::Lenient,
        }
    }

    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        if self.close_timeout.is_zero() {
            return Err(SettingsError::value("websocket.close_timeout", "must be above 0s"));
        }
        Ok(())
    }
}

/// Clients of the client protocol, and limits of sessions of every kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Let clients without a token connect, as nobody.
    pub allow_anonymous: bool,
    /// Origins that browsers may connect from: `https://app.example.com`, globs, `*`. Empty: the node's own.
    pub allowed_origins: Vec<String>,
    /// Bytes of a message from a client at most.
    pub message_max_bytes: usize,
    /// Bytes that may wait for a client before it is a slow consumer.
    pub outbox_max_bytes: usize,
    /// Subscriptions of a connection at most.
    pub max_subscriptions: usize,
    /// Bytes of a channel's name at most.
    pub channel_max_bytes: usize,
    /// Time for the first command.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Time between pings.
    #[serde(with = "humantime_serde")]
    pub ping_interval: Duration,
    /// Time for the answer to a ping.
    #[serde(with = "humantime_serde")]
    pub pong_timeout: Duration,
    /// Publications of one history read at most.
    pub history_max: u32,
    /// Bytes of publications that one recovery or history reply may hold. A larger recovery is reported as not recovered.
    pub reply_max_bytes: usize,
    /// Reads of history, presence and recovery of one connection under way at a time; more wait for them.
    pub max_reads: usize,
    /// Grace between a token's expiry and the end of what it allowed.
    #[serde(with = "humantime_serde")]
    pub expiry_grace: Duration,
    /// Failed commands after which a connection is ended; a success takes one back. 0: no limit.
    pub max_errors: u32,
    /// Connections of one user at most, on all nodes together; 0: no limit. Anonymous clients are not counted.
    pub max_connections_per_user: u32,
    /// Sessions that have not authenticated yet at most, of the node's slots. One address has a part of them. 0: half of
    /// `http.max_connections`.
    pub max_unauthenticated: usize,
    /// The same over one TCP connection that carries many sessions. A trusted proxy's is not limited.
    pub max_unauthenticated_per_connection: usize,
    /// Requests with wrong session ids a minute from one address at most; 0: no limit.
    pub wrong_ids_per_minute: u32,
    /// Invalid connection tokens a minute from one address at most; 0: no limit.
    pub wrong_tokens_per_minute: u32,
    /// Personal channels that users are subscribed to when they connect: `orders` is `orders#42` for user 42.
    pub personal_channels: Vec<String>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            allow_anonymous: false,
            allowed_origins: Vec::new(),
            message_max_bytes: 64 * 1024,
            outbox_max_bytes: 1024 * 1024,
            max_subscriptions: 128,
            channel_max_bytes: CHANNEL_NAME_MAX_BYTES,
            connect_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(8),
            history_max: 300,
            reply_max_bytes: 8 * 1024 * 1024,
            max_reads: 2,
            expiry_grace: Duration::from_secs(25),
            max_errors: 1000,
            max_connections_per_user: 0,
            max_unauthenticated: 0,
            max_unauthenticated_per_connection: 500,
            wrong_ids_per_minute: 3000,
            wrong_tokens_per_minute: 6000,
            personal_channels: Vec::new(),
        }
    }
}

impl ClientSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        if self.message_max_bytes < 128 {
            return problem("client.message_max_bytes", "must be at least 128");
        }
        if self.outbox_max_bytes < 4096 {
            return problem("client.outbox_max_bytes", "must be at least 4096");
        }
        if !(1..=CHANNEL_NAME_MAX_BYTES).contains(&self.channel_max_bytes) {
            return problem("client.channel_max_bytes", "must be between 1 and 255");
        }
        if self.connect_timeout.is_zero() {
            return problem("client.connect_timeout", "must be above 0s");
        }
        if self.ping_interval < Duration::from_secs(1) {
            return problem("client.ping_interval", "must be at least 1s");
        }
        if self.pong_timeout.is_zero() || self.pong_timeout >= self.ping_interval {
            return problem("client.pong_timeout", "must be above 0s and below client.ping_interval");
        }
        if self.reply_max_bytes < self.message_max_bytes {
            return problem("client.reply_max_bytes", "must be at least client.message_max_bytes");
        }
        if self.max_unauthenticated_per_connection == 0 {
            return problem("client.max_unauthenticated_per_connection", "must be above 0");
        }
        if !(1..=64).contains(&self.max_reads) {
            return problem("client.max_reads", "must be between 1 and 64");
        }
        if self.history_max == 0 {
            return problem("client.history_max", "must be above 0");
        }
        Ok(())
    }
}
