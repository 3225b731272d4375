//! Settings of hooks: the endpoints of the backend that are sent events of clients and channels. `docs/protocols/hooks.md`.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

use actix_web::http::header::{HeaderName, HeaderValue};
use gorani_auth::ChannelSettings;
use gorani_broker::hook_store::{HookEventKind, HookQueuePlan, HookStorePlan, Partition};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{BackendTlsSettings, SigningSecretSettings, error::SettingsError};

/// The most partitions: each has tasks on its deliverer and keys in Redis.
const PARTITIONS_MAX: Partition = 1024;
/// The most endpoints: each event is written once for each that wants it.
const ENDPOINTS_MAX: usize = 16;
/// Time for which the last number of a session that ended is kept: a session whose node was taken for dead returns within it.
const SEQUENCE_TTL: Duration = Duration::from_secs(3600);
/// Dead letters of an endpoint that are kept, in all partitions.
const DEAD_LETTERS_MAX: u64 = 100_000;
/// The longest grace: so long a backend would hold a channel for occupied.
const GRACE_MAX: Duration = Duration::from_secs(600);
/// Headers of a request that the node writes itself, or that would change how its body is read.
const OWN_HEADERS: [&str; 15] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "keep-alive",
    "te",
    "trailer",
    "expect",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-pusher-key",
    "x-pusher-signature",
];

/// Hooks: what happens to clients and channels, sent to the backend. Without an endpoint nothing is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookSettings {
    /// Parts of the store of hooks that are delivered side by side. The same on all nodes, and for as long as the store lives.
    pub partitions: Partition,
    /// Time in which a return keeps `vacated` and `member_removed` from being sent.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Time in which a user's new session replaces the one that ended, and only `connected` with `replaces` is sent; 0: never.
    #[serde(with = "humantime_serde")]
    pub session_grace: Duration,
    /// If true, a session that began and ended before the store got either is not sent at all.
    pub collapse: bool,
    /// The endpoints of the backend.
    pub endpoints: Vec<HookEndpointSettings>,
}

impl Default for HookSettings {
    fn default() -> Self {
        Self {
            partitions: 16,
            grace: Duration::from_secs(5),
            session_grace: Duration::ZERO,
            collapse: true,
            endpoints: Vec::new(),
        }
    }
}

/// An endpoint of the backend that is sent events.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HookEndpointSettings {
    /// Its name in metrics, in logs and in the store: another name is another endpoint.
    pub name: String,
    /// The address that gets the POST requests.
    pub url: String,
    /// Kinds of events that it is sent; `gap` and `reset` come besides.
    pub events: Vec<HookEventKind>,
    /// Namespaces whose events of channels it is sent; `*`: all, an empty text: channels without a namespace.
    pub namespaces: Vec<String>,
    /// Secrets of the signature, `whsec_` and base64 of 24 to 64 bytes; several for rotation. None: nothing is signed. With the
    /// format `pusher` one secret of any form.
    pub secrets: SigningSecretSettings,
    /// A file with more secrets, one a line.
    pub secrets_file: PathBuf,
    /// Time for a request, its answer included.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Events of a request at most.
    pub batch_max_events: u32,
    /// Bytes of a request's body at most; a single event may be more.
    pub batch_max_bytes: u64,
    /// Age at which an event that was not taken becomes a dead letter.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// Events that may wait, in all partitions; each partition has an equal share.
    pub max_backlog_events: u64,
    /// Bytes that may wait, in all partitions.
    pub max_backlog_bytes: u64,
    /// Headers of each request.
    pub headers: BTreeMap<String, String>,
    /// Sends `meta`, what the backend keeps with the connection, with the events of clients.
    pub include_connection_meta: bool,
    /// TLS of requests.
    pub tls: BackendTlsSettings,
    /// The form of the body.
    pub format: HookFormat,
    /// The key of the format `pusher`, sent as `X-Pusher-Key`.
    pub pusher_key: String,
}

/// The form of a request's body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookFormat {
    /// Events as `docs/protocols/hooks.md` describes them.
    #[default]
    Gorani,
    /// Webhooks of the Pusher Channels protocol.
    Pusher,
}

impl Default for HookEndpointSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            events: Vec::new(),
            namespaces: vec!["*".to_owned()],
            secrets: SigningSecretSettings::default(),
            secrets_file: PathBuf::new(),
            timeout: Duration::from_secs(10),
            batch_max_events: 100,
            batch_max_bytes: 256 * 1024,
            max_age: Duration::from_secs(24 * 3600),
            max_backlog_events: 1_000_000,
            max_backlog_bytes: 1024 * 1024 * 1024,
            headers: BTreeMap::new(),
            include_connection_meta: false,
            tls: BackendTlsSettings::default(),
            format: HookFormat::Gorani,
            pusher_key: String::new(),
        }
    }
}

/// Without secrets and the values of headers.
impl fmt::Debug for HookEndpointSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HookEndpointSettings")
            .field("name", &self.name)
            .field("url", &self.url)
            .field("events", &self.events)
            .field("namespaces", &self.namespaces)
            .field("secrets", &self.secrets)
            .field("secrets_file", &self.secrets_file)
            .field("timeout", &self.timeout)
            .field("batch_max_events", &self.batch_max_events)
            .field("batch_max_bytes", &self.batch_max_bytes)
            .field("max_age", &self.max_age)
            .field("max_backlog_events", &self.max_backlog_events)
            .field("max_backlog_bytes", &self.max_backlog_bytes)
            .field("headers", &self.headers.keys())
            .field("include_connection_meta", &self.include_connection_meta)
            .field("tls", &self.tls)
            .field("format", &self.format)
            .field("pusher_key", &self.pusher_key)
            .finish()
    }
}

impl HookSettings {
    /// The plan of the store: a queue for each endpoint, in the order of the settings.
    pub fn plan(&self) -> HookStorePlan {
        let share = |all: u64| (all / u64::from(self.partitions.max(1))).max(1);
        let queue = |endpoint: &HookEndpointSettings| HookQueuePlan {
            name: endpoint.name.as_str().into(),
            max_events: share(endpoint.max_backlog_events),
            max_bytes: share(endpoint.max_backlog_bytes),
            max_dead_letters: share(DEAD_LETTERS_MAX),
        };
        HookStorePlan {
            partitions: self.partitions,
            endpoints: self.endpoints.iter().map(queue).collect(),
            sequence_ttl: SEQUENCE_TTL,
        }
    }

    pub(super) fn validate<P>(&self, channels: &ChannelSettings<P>) -> Result<(), SettingsError> {
        let problem = |key, text: String| Err(SettingsError::value(key, text));
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            return problem("hooks.partitions", format!("must be between 1 and {PARTITIONS_MAX}"));
        }
        if self.grace > GRACE_MAX || self.session_grace > GRACE_MAX {
            return problem("hooks.grace, hooks.session_grace", "at most 10m".to_owned());
        }
        if self.endpoints.len() > ENDPOINTS_MAX {
            return problem("hooks.endpoints", format!("at most {ENDPOINTS_MAX}"));
        }
        let mut names = HashSet::new();
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            let wrong = |text: String| match endpoint.name.as_str() {
                "" => problem("hooks.endpoints", format!("number {}: {text}", index + 1)),
                name => problem("hooks.endpoints", format!("{name:?}: {text}")),
            };
            if let Err(text) = endpoint.check(channels) {
                return wrong(text);
            }
            if !names.insert(&endpoint.name) {
                return wrong("the name is there twice".to_owned());
            }
        }
        Ok(())
    }
}

impl HookEndpointSettings {
    /// True if it is sent events of a kind; `namespace` is that of the event's channel, if it has a channel, and empty for
    /// a channel without one.
    pub fn wants(&self, kind: HookEventKind, namespace: Option<&str>) -> bool {
        match kind {
            HookEventKind::Gap | HookEventKind::Reset => true,
            _ if !self.events.contains(&kind) => false,
            _ => namespace.is_none_or(|namespace| {
                self.namespaces.iter().any(|wanted| wanted == "*" || wanted == namespace)
            }),
        }
    }

    /// The secrets of the settings and of the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn all_secrets(&self) -> Result<Vec<String>, SettingsError> {
        let mut secrets = self.secrets.0.clone();
        if !self.secrets_file.as_os_str().is_empty() {
            let text = std::fs::read_to_string(&self.secrets_file).map_err(|error| {
                let problem = format!("{:?}: {}: {error}", self.name, self.secrets_file.display());
                SettingsError::value("hooks.endpoints.secrets_file", problem)
            })?;
            secrets.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        Ok(secrets)
    }

    fn check<P>(&self, channels: &ChannelSettings<P>) -> Result<(), String> {
        check_endpoint_name(&self.name)?;
        check_url(&self.url)?;
        self.check_events()?;
        if let Err(SettingsError::Value { problem, .. }) = self.tls.validate("hooks.endpoints") {
            return Err(format!("tls: {problem}"));
        }
        for namespace in self.namespaces.iter().filter(|name| !matches!(name.as_str(), "*" | "")) {
            if channels.namespaces.iter().all(|known| known.name != *namespace) {
                return Err(format!("namespaces: {namespace:?} is not in channel.namespaces"));
            }
        }
        for (name, value) in &self.headers {
            let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
            if !is_name || HeaderValue::from_str(value).is_err() {
                return Err(format!("headers: {name:?} is no header"));
            }
            if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                return Err(format!("headers: {name:?} is written by the node"));
            }
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(60) {
            return Err("timeout: must be above 0s and at most 60s".to_owned());
        }
        if !(1..=1000).contains(&self.batch_max_events) {
            return Err("batch_max_events: must be between 1 and 1000".to_owned());
        }
        if !(1024..=4 * 1024 * 1024).contains(&self.batch_max_bytes) {
            return Err("batch_max_bytes: must be between 1024 and 4194304".to_owned());
        }
        if self.max_age < Duration::from_secs(1) {
            return Err("max_age: must be at least 1s".to_owned());
        }
        if self.max_backlog_events < 1000 || self.max_backlog_bytes < 1024 * 1024 {
            return Err(
                "max_backlog_events must be at least 1000, max_backlog_bytes at least 1048576".to_owned()
            );
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), String> {
        if self.events.is_empty() {
            return Err("events: must name a kind of event".to_owned());
        }
        if self.events.iter().any(|kind| matches!(kind, HookEventKind::Gap | HookEventKind::Reset)) {
            return Err("events: gap and reset are sent to every endpoint, and not listed".to_owned());
        }
        match self.format {
            HookFormat::Gorani if !self.pusher_key.is_empty() => {
                return Err("pusher_key: is for format = \"pusher\" only".to_owned());
            }
            HookFormat::Gorani => return Ok(()),
            HookFormat::Pusher => {}
        }
        let is_known = |kind: &HookEventKind| {
            matches!(
                kind,
                HookEventKind::Occupied
                    | HookEventKind::Vacated
                    | HookEventKind::MemberAdded
                    | HookEventKind::MemberRemoved
                    | HookEventKind::Publication
            )
        };
        if let Some(kind) = self.events.iter().find(|kind| !is_known(kind)) {
            return Err(format!("events: the format \"pusher\" has no {}", kind.name()));
        }
        if self.pusher_key.is_empty() || HeaderValue::from_str(&self.pusher_key).is_err() {
            return Err("pusher_key: the format \"pusher\" needs one".to_owned());
        }
        Ok(())
    }
}

fn check_endpoint_name(name: &str) -> Result<(), String> {
    let is_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (2..=64).contains(&name.len()) && name.bytes().all(is_character) {
        return Ok(());
    }
    Err("name: 2 to 64 of letters, digits, `-`, `_` and `.`".to_owned())
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("url: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("url: must begin with http:// or https:// and a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("url: no user and password in it; set them in headers".to_owned());
    }
    if url.fragment().is_some() {
        return Err("url: no fragment in it".to_owned());
    }
    Ok(())
}
