//! Settings of STOMP clients. `docs/protocols/stomp.md`.

use std::{collections::HashSet, fmt, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use gorani_broker::queue::QueueLimits;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use super::{HttpTlsSettings, error::SettingsError};

/// Clients of STOMP, over WebSocket and TCP. What is not here is as for the client protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StompSettings {
    /// Backends that come with a name and a password. They may subscribe and send to every channel of a known namespace.
    pub users: Vec<StompUser>,
    /// Time for the CONNECT frame.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Interval at which the node can send a heart-beat; 0: never.
    #[serde(with = "humantime_serde")]
    pub heart_beat_send: Duration,
    /// Interval at which the node wants a heart-beat; 0: never.
    #[serde(with = "humantime_serde")]
    pub heart_beat_receive: Duration,
    /// Time that a client may take to close after it got the receipt of its DISCONNECT.
    #[serde(with = "humantime_serde")]
    pub linger: Duration,
    /// Headers of a frame at most.
    pub max_headers: usize,
    /// Bytes of one header at most; tokens are headers.
    pub header_max_bytes: usize,
    /// Bytes of all headers of a frame at most.
    pub head_max_bytes: usize,
    /// Bytes of a frame's body at most.
    pub body_max_bytes: usize,
    /// Open transactions of a connection at most.
    pub max_transactions: usize,
    /// Messages in all open transactions of a connection at most.
    pub transaction_max_messages: usize,
    /// Bytes of those messages at most.
    pub transaction_max_bytes: usize,
    /// Wrong logins a minute from one address at most; over it no login is looked at for a while. 0: no limit.
    pub wrong_logins_per_minute: u32,
    /// STOMP on a TCP port of its own.
    pub tcp: StompTcpSettings,
    /// Work queues.
    pub queue: StompQueueSettings,
}

/// Work queues, `/queue/…`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StompQueueSettings {
    /// If true, clients with a token may use them as they may use the channel of the same name; else only backends may.
    pub allow_clients: bool,
    /// Messages of a queue at most, unacknowledged ones included.
    pub max_messages: u32,
    /// Bytes of them at most.
    pub max_bytes: u64,
    /// Deliveries of a message after which it goes to `/queue/<name>.dead`; 0: never.
    pub max_attempts: u32,
    /// Unacknowledged messages of one subscription at most.
    pub prefetch: u32,
    /// Time for which a queue that nobody uses is kept, with its messages.
    #[serde(with = "humantime_serde")]
    pub ttl: Duration,
}

impl Default for StompQueueSettings {
    fn default() -> Self {
        Self {
            allow_clients: false,
            max_messages: 100_000,
            max_bytes: 256 * 1024 * 1024,
            max_attempts: 5,
            prefetch: 32,
            ttl: Duration::from_secs(24 * 3600),
        }
    }
}

impl StompQueueSettings {
    /// The limits for the broker.
    pub fn limits(&self) -> QueueLimits {
        QueueLimits {
            max_messages: self.max_messages,
            max_bytes: self.max_bytes,
            max_attempts: self.max_attempts,
            ttl: self.ttl,
        }
    }
}

/// STOMP on a TCP port of its own, for backends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StompTcpSettings {
    /// Address on which STOMP listens: `0.0.0.0:61613`; empty: nowhere.
    pub address: String,
    /// Certificate and key; when set, the address speaks TLS only.
    pub tls: HttpTlsSettings,
}

impl StompTcpSettings {
    /// The address on which it listens, if it does.
    ///
    /// # Errors
    /// An address that cannot be understood.
    pub fn address(&self) -> Result<Option<std::net::SocketAddr>, std::net::AddrParseError> {
        if self.address.is_empty() { Ok(None) } else { self.address.parse().map(Some) }
    }
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StompUser {
    /// The `login` of its CONNECT.
    pub name: String,
    /// The `passcode`.
    pub password: Password,
}

/// A password, which nothing shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

impl Default for StompSettings {
    fn default() -> Self {
        Self {
            users: Vec::new(),
            connect_timeout: Duration::from_secs(60),
            heart_beat_send: Duration::from_secs(10),
            heart_beat_receive: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            max_headers: 100,
            header_max_bytes: 16 * 1024,
            head_max_bytes: 64 * 1024,
            body_max_bytes: 64 * 1024,
            max_transactions: 16,
            transaction_max_messages: 1000,
            transaction_max_bytes: 1024 * 1024,
            wrong_logins_per_minute: 60,
            tcp: StompTcpSettings::default(),
            queue: StompQueueSettings::default(),
        }
    }
}

impl StompSettings {
    /// True if this is the name and the password of one of the backends. All of them are compared, each in a time that
    /// depends on neither: digests are, so that not even a length shows.
    pub fn admits(&self, name: &str, password: &str) -> bool {
        let digest = |text: &str| digest(&SHA256, text.as_bytes());
        let (name, password) = (digest(name), digest(password));
        let found = self.users.iter().fold(Choice::from(0), |found, user| {
            let is_name = digest(&user.name).as_ref().ct_eq(name.as_ref());
            let is_password = digest(&user.password.0).as_ref().ct_eq(password.as_ref());
            found | (is_name & is_password)
        });
        found.into()
    }

    pub(super) fn validate(&self) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        let mut names = HashSet::new();
        for user in &self.users {
            if user.name.is_empty() || user.password.len() == 0 {
                return problem("stomp.users", "a name and a password each");
            }
            if !names.insert(&user.name) {
                return problem("stomp.users", "a name stands there twice");
            }
        }
        if self.connect_timeout.is_zero() {
            return problem("stomp.connect_timeout", "must be above 0s");
        }
        let too_often = |every: Duration| !every.is_zero() && every < Duration::from_secs(1);
        if too_often(self.heart_beat_send) || too_often(self.heart_beat_receive) {
            return problem("stomp.heart_beat_send, stomp.heart_beat_receive", "must be 0s or at least 1s");
        }
        if self.max_headers < 8 || self.header_max_bytes < 256 || self.body_max_bytes < 128 {
            return problem(
                "stomp",
                "max_headers must be at least 8, header_max_bytes 256 and body_max_bytes 128",
            );
        }
        if self.head_max_bytes < self.header_max_bytes {
            return problem("stomp.head_max_bytes", "must be at least stomp.header_max_bytes");
        }
        let queue = &self.queue;
        if queue.max_messages == 0 || queue.prefetch == 0 || queue.max_bytes < self.body_max_bytes as u64 {
            return problem(
                "stomp.queue",
                "max_messages and prefetch must be above 0, max_bytes at least stomp.body_max_bytes",
            );
        }
        // Three times what a dead node is given: a shorter life would end with its messages under way.
        if queue.ttl < Duration::from_secs(30) {
            return problem("stomp.queue.ttl", "must be at least 30s");
        }
        if self.tcp.address().is_err() {
            return problem("stomp.tcp.address", "must be an IP address and a port, such as 0.0.0.0:61613");
        }
        let tls = &self.tcp.tls;
        if tls.certificate.as_os_str().is_empty() != tls.key.as_os_str().is_empty() {
            return problem("stomp.tcp.tls", "certificate and key go together");
        }
        Ok(())
    }
}
