//! The settings of the Redis broker. `docs/architecture.md` §5.3, §6.

use std::{fmt, path::PathBuf, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion};
use serde::{Deserialize, Serialize, Serializer};

/// Default of [`RedisSettings::url`].
const DEFAULT_URL: &str = "redis://127.0.0.1:6379/0";
/// Default of [`RedisSettings::prefix`].
const DEFAULT_PREFIX: &str = "gorani";
/// Default of [`RedisSettings::connect_timeout`]: a handshake across a data centre takes milliseconds.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Default of [`RedisSettings::request_timeout`]: longer than the pauses of a healthy server (a fork, a large read).
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// Default of [`RedisSettings::reconnect_min`].
const DEFAULT_RECONNECT_MIN: Duration = Duration::from_millis(100);
/// Default of [`RedisSettings::reconnect_max`]: soon enough after a failover, and no storm on a server that starts.
const DEFAULT_RECONNECT_MAX: Duration = Duration::from_secs(2);
/// Default of [`RedisSettings::canary_interval`].
const DEFAULT_CANARY_INTERVAL: Duration = Duration::from_secs(1);
/// Default of [`RedisSettings::canary_timeout`]: three canaries missed.
const DEFAULT_CANARY_TIMEOUT: Duration = Duration::from_secs(3);
/// Default of [`RedisSettings::position_ttl`]: 30 days, as in memory.
const DEFAULT_POSITION_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Default of [`RedisSettings::max_pending`]: a second of a busy node.
const DEFAULT_MAX_PENDING: usize = 50_000;
/// Default of [`RedisSettings::max_pending_bytes`].
const DEFAULT_MAX_PENDING_BYTES: usize = 64 << 20;

/// The Sentinels that know which server is the primary.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentinelSettings {
    /// Their URLs, at least one, each like [`RedisSettings::url`], with credentials of its own if it wants any.
    #[serde(serialize_with = "urls_without_credentials")]
    pub urls: Vec<String>,
    /// The name under which they know the primary.
    pub primary: String,
}

impl fmt::Debug for SentinelSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_credentials(url)).collect();
        f.debug_struct("SentinelSettings").field("urls", &urls).field("primary", &self.primary).finish()
    }
}

/// A Redis Cluster (Redis 7.0 or later, or Valkey), found through some of its servers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// URLs of some of its servers, at least one, each like [`RedisSettings::url`] with database 0; they differ in nothing
    /// but host and port. The others are found by asking.
    #[serde(serialize_with = "urls_without_credentials")]
    pub urls: Vec<String>,
}

impl fmt::Debug for ClusterSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let urls: Vec<String> = self.urls.iter().map(|url| without_credentials(url)).collect();
        f.debug_struct("ClusterSettings").field("urls", &urls).finish()
    }
}

/// Certificates of a connection by TLS (`rediss://`), as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Whom to believe; absent: whom the machine believes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The node's own certificate, if the server asks for one. Only together with `key_file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl TlsSettings {
    fn is_unset(&self) -> bool {
        *self == Self::default()
    }
}

/// Connection settings and limits of a node's Redis (6.2 or later, or Valkey).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// URL of the server: `redis://[user[:password]@]host[:port][/database]`, `rediss://…` for TLS, or
    /// `redis+unix:///path`; default `redis://127.0.0.1:6379/0`. Shown without user and password.
    #[serde(serialize_with = "url_without_credentials")]
    pub url: String,
    /// User of Redis's access list; empty: that of the URL, or the default user.
    pub user: String,
    /// Its password; empty: that of the URL, or none. Shown nowhere.
    #[serde(skip_serializing)]
    pub password: String,
    /// Database number; absent: that of the URL, or 0. Pub/sub knows no databases: clusters that share a server need
    /// different prefixes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<u16>,
    /// Prefix of all keys and pub/sub channels, before a colon; not empty, without braces; default `gorani`.
    pub prefix: String,
    /// Time to reach the server and introduce oneself; above zero, default 3 s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Time within which every call ends; above zero, default 3 s. A connection without an answer for so long is given up.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Upper limit of the first random pause before connecting again; it doubles each time. Above zero, default 100 ms.
    #[serde(with = "humantime_serde")]
    pub reconnect_min: Duration,
    /// Upper limit of all those pauses; default 2 s.
    #[serde(with = "humantime_serde")]
    pub reconnect_max: Duration,
    /// The interval at which the node publishes a canary; above zero, default 1 s.
    #[serde(with = "humantime_serde")]
    pub canary_interval: Duration,
    /// Time without a canary after which the node is not ready and connects again; more than the interval, default
    /// 3 s.
    #[serde(with = "humantime_serde")]
    pub canary_timeout: Duration,
    /// Time after its last use at which a channel's position is forgotten; above zero, default 30 days. No history and no
    /// idempotency key lives longer.
    #[serde(with = "humantime_serde")]
    pub position_ttl: Duration,
    /// Requests that may wait for an answer at the same time; above zero, default 50,000. More are refused
    /// ([`crate::BrokerError::Limit`]).
    pub max_pending: usize,
    /// Memory of those requests, in bytes; default 64 MiB. More are refused, but one is always taken.
    pub max_pending_bytes: usize,
    /// If true, [`crate::Broker::start`] fails while the server cannot be reached; default false: it starts not ready and
    /// keeps trying.
    pub require_at_start: bool,
    /// Sentinels to ask for the server; absent: none. Then host and port of `url` count for nothing, the rest of it does,
    /// and the user needs the command ROLE too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<SentinelSettings>,
    /// A cluster to use instead of one server; absent: none. Then `url` counts for nothing. Not together with `sentinel`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterSettings>,
    /// Certificates, where the URL says TLS.
    #[serde(skip_serializing_if = "TlsSettings::is_unset")]
    pub tls: TlsSettings,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: DEFAULT_URL.to_owned(),
            user: String::new(),
            password: String::new(),
            database: None,
            sentinel: None,
            cluster: None,
            tls: TlsSettings::default(),
            prefix: DEFAULT_PREFIX.to_owned(),
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            reconnect_min: DEFAULT_RECONNECT_MIN,
            reconnect_max: DEFAULT_RECONNECT_MAX,
            canary_interval: DEFAULT_CANARY_INTERVAL,
            canary_timeout: DEFAULT_CANARY_TIMEOUT,
            position_ttl: DEFAULT_POSITION_TTL,
            max_pending: DEFAULT_MAX_PENDING,
            max_pending_bytes: DEFAULT_MAX_PENDING_BYTES,
            require_at_start: false,
        }
    }
}

/// The URL without what stands before its `@`, where a password may be.
fn without_credentials(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

fn url_without_credentials<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_credentials(url))
}

fn urls_without_credentials<S: Serializer>(urls: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(urls.iter().map(|url| without_credentials(url)))
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &without_credentials(&self.url))
            .field("user", &self.user)
            .field("password", &if self.password.is_empty() { "" } else { "…" })
            .field("database", &self.database)
            .field("sentinel", &self.sentinel)
            .field("cluster", &self.cluster)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("reconnect_min", &self.reconnect_min)
            .field("reconnect_max", &self.reconnect_max)
            .field("canary_interval", &self.canary_interval)
            .field("canary_timeout", &self.canary_timeout)
            .field("position_ttl", &self.position_ttl)
            .field("max_pending", &self.max_pending)
            .field("max_pending_bytes", &self.max_pending_bytes)
            .field("require_at_start", &self.require_at_start)
            .finish()
    }
}

/// Why settings are refused. Names the setting, never a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisSettingsError {
    /// The URL needs what is not compiled in, or has a database that is no number.
    #[error("{0}: {1}")]
    Url(&'static str, String),
    /// No URL of Redis, such as a host and port without a scheme.
    #[error(
        "{0}: must be redis://[user[:password]@]host[:port][/database], rediss:// for TLS or unix:///path"
    )]
    UrlForm(&'static str),
    /// A file with a certificate or key cannot be read.
    #[error("tls: {0}")]
    File(String),
    /// There are Sentinels without addresses, or without a name to ask for.
    #[error("sentinel: urls and primary must not be empty")]
    Sentinel,
    /// There is a cluster without addresses, or with Sentinels.
    #[error("cluster: urls must not be empty, and there must be no sentinel")]
    Cluster,
    /// The servers of a cluster are reached in different ways.
    #[error("cluster: urls must be redis:// or rediss:// and differ in nothing but host and port")]
    ClusterUrls,
    /// A cluster has one database.
    #[error("cluster: the database must be 0")]
    ClusterDatabase,
    /// The prefix is empty or has braces, which would spoil the hash tags.
    #[error("prefix: must not be empty and must not contain braces")]
    Prefix,
    /// This time or number must be above zero.
    #[error("{0}: must be above zero")]
    Zero(&'static str),
    /// The canary would be missed before it is sent.
    #[error("canary_timeout: must be more than canary_interval")]
    CanaryTimeout,
}

impl RedisSettings {
    /// The servers of the cluster that are known by the settings.
    pub(super) fn seeds(&self) -> Result<Vec<(String, u16)>, RedisSettingsError> {
        let Some(cluster) = &self.cluster else { return Ok(Vec::new()) };
        if cluster.urls.is_empty() || self.sentinel.is_some() {
            return Err(RedisSettingsError::Cluster);
        }
        let mut first: Option<ConnectionInfo> = None;
        let mut seeds = Vec::with_capacity(cluster.urls.len());
        for url in &cluster.urls {
            let info = read_url("cluster.urls", url)?;
            let first = first.get_or_insert_with(|| info.clone());
            let (first_redis, redis) = (first.redis_settings(), info.redis_settings());
            let is_alike = std::mem::discriminant(first.addr()) == std::mem::discriminant(info.addr())
                && (first_redis.username(), first_redis.password()) == (redis.username(), redis.password());
            match info.addr() {
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } if is_alike => {
                    seeds.push((host.clone(), *port));
                }
                _ => return Err(RedisSettingsError::ClusterUrls),
            }
            if redis.db() != 0 || self.database.is_some_and(|database| database != 0) {
                return Err(RedisSettingsError::ClusterDatabase);
            }
        }
        Ok(seeds)
    }

    /// The validated settings as the client library wants them. Of a cluster, the way to its first server.
    pub(super) fn connection_info(&self) -> Result<ConnectionInfo, RedisSettingsError> {
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(RedisSettingsError::Prefix);
        }
        let times = [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("reconnect_min", self.reconnect_min),
            ("canary_interval", self.canary_interval),
            ("position_ttl", self.position_ttl),
        ];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(RedisSettingsError::Zero(name));
        }
        if self.sentinel.as_ref().is_some_and(|asked| asked.urls.is_empty() || asked.primary.is_empty()) {
            return Err(RedisSettingsError::Sentinel);
        }
        if self.max_pending == 0 {
            return Err(RedisSettingsError::Zero("max_pending"));
        }
        if self.canary_timeout <= self.canary_interval {
            return Err(RedisSettingsError::CanaryTimeout);
        }
        self.seeds()?;
        let seed = self.cluster.as_ref().and_then(|cluster| cluster.urls.first());
        let info = match seed {
            Some(seed) => read_url("cluster.urls", seed)?,
            None => read_url("url", &self.url)?,
        };
        // RESP3 brings published messages and answers over one connection and marks which is which.
        let mut redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if !self.user.is_empty() {
            redis = redis.set_username(&self.user);
        }
        if !self.password.is_empty() {
            redis = redis.set_password(&self.password);
        }
        if let Some(database) = self.database {
            redis = redis.set_db(i64::from(database));
        }
        Ok(info.set_redis_settings(redis))
    }
}

/// Reads the URL of the setting `key`. The error does not show it: it may hold a password.
pub(super) fn read_url(key: &'static str, url: &str) -> Result<ConnectionInfo, RedisSettingsError> {
    // `redis:6379`, a host called redis, passes for a URL without a host.
    let has_scheme = url.contains("://") || url.contains("unix:");
    if !has_scheme || redis::parse_redis_url(url).is_none() {
        return Err(RedisSettingsError::UrlForm(key));
    }
    url.into_connection_info().map_err(|error| RedisSettingsError::Url(key, error.category().to_owned()))
}

#[cfg(test)]
mod tests;
