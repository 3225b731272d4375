//! Settings of WebSocket connections and of the client protocol, and of what all clients of a node may hold and read together.
//! Limits: `docs/limits.md`; decision records 25 and 26.

use std::time::Duration;

use gorani_auth::CHANNEL_NAME_MAX_BYTES;
use gorani_protocol::websocket::SubprotocolPolicy;
use serde::{Deserialize, Serialize};

use super::{
    connect_codes::{ConnectCloseSettings, ConnectStatusSettings},
    error::SettingsError,
    proxy::ClientProxySettings,
};

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
    /// Bytes of a channel's name at most, in UTF-8.
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
    /// Close codes in the place of errors of connect, on transports that know no reply.
    pub connect_code_to_unidirectional_disconnect: ConnectCloseSettings,
    /// HTTP statuses in the place of errors of connect, on transports that know no reply.
    pub connect_code_to_http_response: ConnectStatusSettings,
    /// The backend decides on connections.
    pub proxy: ClientProxySettings,
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
            connect_code_to_unidirectional_disconnect: ConnectCloseSettings::default(),
            connect_code_to_http_response: ConnectStatusSettings::default(),
            proxy: ClientProxySettings::default(),
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
        self.connect_code_to_unidirectional_disconnect.validate()?;
        self.connect_code_to_http_response.validate()?;
        Ok(())
    }
}

/// Limits of what clients can make a node hold, all together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryBudgetSettings {
    /// Bytes for all clients together. 0: 60 % of the memory of the container or the machine. Above it the connections
    /// that hold most are ended as slow, and large reads and bodies get a temporary error.
    pub max_bytes: usize,
    /// Bytes of large replies under way, from the read until they are written. One more gets a temporary error.
    pub replies_max_bytes: usize,
}

impl Default for MemoryBudgetSettings {
    fn default() -> Self {
        // Eight of the largest replies at a time; a client that reads is done with one in a moment.
        Self { max_bytes: 0, replies_max_bytes: 64 * 1024 * 1024 }
    }
}

/// The smallest budget that a node can work with.
const BUDGET_MIN_BYTES: usize = 16 * 1024 * 1024;

impl MemoryBudgetSettings {
    pub(super) fn validate(&self, reply_max_bytes: usize) -> Result<(), SettingsError> {
        if self.max_bytes != 0 && self.max_bytes < BUDGET_MIN_BYTES {
            return Err(SettingsError::value("memory.max_bytes", "must be 0 or at least 16777216"));
        }
        if self.replies_max_bytes < reply_max_bytes {
            return Err(SettingsError::value(
                "memory.replies_max_bytes",
                "must be at least client.reply_max_bytes",
            ));
        }
        Ok(())
    }
}

/// Heavy reads that a node has under way at a time. What one connection may have is `client.max_reads`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadSettings {
    /// Reads for clients, each of up to 128 KiB.
    pub clients: usize,
    /// Those for clients that bring more, up to `client.reply_max_bytes` each; as many again for the API.
    pub large: usize,
    /// Reads for backends, each of up to 128 KiB.
    pub api: usize,
    /// Reads that fill gaps of subscribers, each of up to 128 KiB.
    pub catch_up: usize,
    /// Longest wait of a read for a client or a backend for its turn; then it gets the temporary error 111 (HTTP 429).
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
}

impl Default for ReadSettings {
    fn default() -> Self {
        Self { clients: 64, large: 4, api: 16, catch_up: 32, max_wait: Duration::from_secs(5) }
    }
}

/// Reads of one kind at most: more than a broker can have waiting.
const MOST_READS: usize = 100_000;

impl ReadSettings {
    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        for (key, reads) in [
            ("reads.clients", self.clients),
            ("reads.large", self.large),
            ("reads.api", self.api),
            ("reads.catch_up", self.catch_up),
        ] {
            if !(1..=MOST_READS).contains(&reads) {
                return Err(SettingsError::value(key, "must be between 1 and 100000"));
            }
        }
        if self.max_wait.is_zero() {
            return Err(SettingsError::value("reads.max_wait", "must be above 0s"));
        }
        Ok(())
    }
}
