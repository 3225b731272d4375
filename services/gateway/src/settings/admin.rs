//! Settings of the admin API and its page, and who gets in. `docs/admin.md`; decision record 57.

use std::{
    fmt,
    net::{AddrParseError, SocketAddr},
    time::Duration,
};

use gorani_auth::PasswordHash;
use serde::{Deserialize, Serialize};

use super::{
    HttpTlsSettings, cluster::SECRET_MIN_BYTES, error::SettingsError, oidc::OidcSettings, role::AdminRole,
};

/// Named keys at most.
const KEYS_MAX: usize = 100;
/// Bytes of a key's name at most: it stands in every line of the audit log.
const KEY_NAME_MAX_BYTES: usize = 64;
/// Bytes of a key at most.
const KEY_MAX_BYTES: usize = 256;
/// The longest session, whatever is set.
const SESSION_LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The shortest time without a request after which a session ends.
const IDLE_SHORTEST: Duration = Duration::from_secs(10);
/// First parts of paths that the node serves already.
const TAKEN_PATHS: [&str; 9] =
    ["api", "assets", "close", "connection", "echo", "emulation", "health", "metrics", "stomp"];

/// The admin API and its page.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Serve the admin page and its API.
    pub enabled: bool,
    /// Address on which the admin page, `/metrics` and `/health` are served, and on no other one then: `127.0.0.1:8001`; empty: on
    /// `http.address`.
    pub address: String,
    /// Path of the page; the API is below it.
    pub path: String,
    /// Hash of the password that people log in with, a line of `gorani password`; empty: nobody logs in with a password.
    pub password_hash: String,
    /// Right of those who log in with it: `viewer` or `operator`.
    pub password_role: AdminRole,
    /// They see payloads, connection info and claims of tokens too.
    pub password_contents: bool,
    /// Time without a request after which a session ends.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
    /// Time after which a session ends in any case.
    #[serde(with = "humantime_serde")]
    pub session_max: Duration,
    /// Named keys for commands and scripts: `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<AdminKeySettings>,
    /// Logins with an identity provider.
    pub oidc: OidcSettings,
    /// Certificate and key of `admin.address`; when set, it speaks TLS only.
    pub tls: HttpTlsSettings,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            address: String::new(),
            path: "/admin".to_owned(),
            password_hash: String::new(),
            password_role: AdminRole::Operator,
            password_contents: false,
            session_idle: Duration::from_secs(30 * 60),
            session_max: Duration::from_secs(8 * 3600),
            keys: Vec::new(),
            oidc: OidcSettings::default(),
            tls: HttpTlsSettings::default(),
        }
    }
}

/// Without the hash and the keys.
impl fmt::Debug for AdminSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AdminSettings")
            .field("enabled", &self.enabled)
            .field("address", &self.address)
            .field("path", &self.path)
            .field("password_hash", if self.password_hash.is_empty() { &"" } else { &"***" })
            .field("password_role", &self.password_role)
            .field("password_contents", &self.password_contents)
            .field("session_idle", &self.session_idle)
            .field("session_max", &self.session_max)
            .field("keys", &self.keys)
            .field("oidc", &self.oidc)
            .field("tls", &self.tls)
            .finish()
    }
}

/// A named key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminKeySettings {
    /// Name in the audit log.
    pub name: String,
    /// The key, at least 16 characters.
    pub key: String,
    /// Right of those who present it: `viewer` or `operator`.
    #[serde(default)]
    pub role: AdminRole,
    /// They see payloads, connection info and claims of tokens too.
    #[serde(default)]
    pub contents: bool,
}

/// Without the key.
impl fmt::Debug for AdminKeySettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, contents, .. } = self;
        formatter
            .debug_struct("AdminKeySettings")
            .field("name", name)
            .field("role", role)
            .field("contents", contents)
            .finish_non_exhaustive()
    }
}

impl AdminSettings {
    /// The address of the listener of its own, where one is set.
    ///
    /// # Errors
    /// An address that cannot be understood.
    pub fn address(&self) -> Result<Option<SocketAddr>, AddrParseError> {
        if self.address.is_empty() { Ok(None) } else { self.address.parse().map(Some) }
    }

    /// The hash of the password, where one is set.
    ///
    /// # Errors
    /// It was not made by `gorani password`.
    pub fn password(&self) -> Result<Option<PasswordHash>, SettingsError> {
        if self.password_hash.is_empty() {
            return Ok(None);
        }
        let hash = self.password_hash.parse();
        hash.map(Some).map_err(|error| SettingsError::value("admin.password_hash", error))
    }

    /// `is_open`: `development.admin`, with which nobody needs a password. `http`: the address for clients.
    pub(super) fn validate(&self, is_open: bool, http: SocketAddr) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        self.validate_listener(http)?;
        if (self.enabled || is_open) && !cfg!(feature = "admin") {
            return problem("admin.enabled", "this binary was built without the feature admin");
        }
        let is_closed = self.password_hash.is_empty() && self.keys.is_empty() && !self.oidc.is_on();
        if self.enabled && !is_open && is_closed {
            return problem(
                "admin.enabled",
                "nobody could get in: set admin.password_hash (gorani password makes it), a key in admin.keys, or admin.oidc",
            );
        }
        self.password()?;
        if !is_path(&self.path) {
            return problem(
                "admin.path",
                "must be a path such as /admin of letters, digits, - and _, that nothing else is served on",
            );
        }
        if self.session_idle < IDLE_SHORTEST || self.session_idle > self.session_max {
            return problem("admin.session_idle", "must be at least 10s and at most admin.session_max");
        }
        if self.session_max > SESSION_LONGEST {
            return problem("admin.session_max", "must be at most 24h");
        }
        self.oidc.validate()?;
        self.validate_keys()
    }

    fn validate_listener(&self, http: SocketAddr) -> Result<(), SettingsError> {
        let problem = |key, text: &str| Err(SettingsError::value(key, text));
        let Ok(address) = self.address() else {
            return problem("admin.address", "must be an IP address and a port, such as 127.0.0.1:8001");
        };
        if address == Some(http) && http.port() != 0 {
            return problem(
                "admin.address",
                "must be another one than http.address; empty serves both there",
            );
        }
        let tls = &self.tls;
        if tls.certificate.as_os_str().is_empty() != tls.key.as_os_str().is_empty() {
            return problem("admin.tls", "certificate and key go together");
        }
        if tls.is_on() && address.is_none() {
            return problem("admin.tls", "needs admin.address; http.address has its certificate in http.tls");
        }
        Ok(())
    }

    fn validate_keys(&self) -> Result<(), SettingsError> {
        let problem = |text: &str| Err(SettingsError::value("admin.keys", text));
        if self.keys.len() > KEYS_MAX {
            return problem("must have at most 100 entries");
        }
        for (index, entry) in self.keys.iter().enumerate() {
            let AdminKeySettings { name, key, .. } = entry;
            if name.is_empty() || name.len() > KEY_NAME_MAX_BYTES || name.contains(char::is_control) {
                return problem("name: must be printable text of 1 to 64 bytes");
            }
            if !(SECRET_MIN_BYTES..=KEY_MAX_BYTES).contains(&key.len())
                || !key.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return problem("key: must have 16 to 256 printable ASCII characters without spaces");
            }
            let before = self.keys.iter().take(index);
            if before.into_iter().any(|other| other.name == *name || other.key == *key) {
                return problem("each name and each key must occur once");
            }
        }
        Ok(())
    }
}

/// True for a path that is free.
fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let first = rest.split('/').next().unwrap_or_default();
    path.len() <= 64 && rest.split('/').all(is_part) && !TAKEN_PATHS.contains(&first)
}
