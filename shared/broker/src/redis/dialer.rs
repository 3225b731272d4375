//! A connection to the server: its address (that of the URL, or of the primary that the Sentinels name), dialling, pausing
//! between attempts, and what is known of its state and of the server's life.
//! `docs/architecture.md` §5.3, §5.5.
//!
//! A broker has two to each server, one for requests and one that listens.

pub mod examine;

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, ProtocolVersion,
    PushInfo, PushKind, TlsCertificates, aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};

use super::settings::{RedisSettings, RedisSettingsError, TlsSettings, read_url};

/// Requests that the library takes before it makes the next one wait: they are then written together.
const WRITE_BUFFER_REQUESTS: usize = 1024;

/// Doublings after which the pause grows no more; far beyond every sensible upper limit.
const MAX_DOUBLINGS: u32 = 20;

/// Opens connections.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    place: ServerAddr,
    connect_timeout: Duration,
}

impl Dialer {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisSettingsError> {
        Ok(Self { place: ServerAddr::new(settings)?, connect_timeout: settings.connect_timeout })
    }

    /// One for the server at this host and port, reached in the same way.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self { place: self.place.at(host, port), connect_timeout: self.connect_timeout }
    }

    /// The host of the server.
    pub(super) fn host(&self) -> String {
        self.place.host()
    }

    /// The server's address, for operators.
    pub(super) fn server(&self) -> String {
        self.place.server()
    }

    /// Opens a connection that hands the server's pushes to `on_push`, in order, and notifies `lost` when it ends. The error is
    /// for operators.
    pub(super) async fn dial(
        &self,
        lost: Arc<Notify>,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WRITE_BUFFER_REQUESTS)
            .set_push_sender(move |info: PushInfo| -> Result<(), std::convert::Infallible> {
                if info.kind == PushKind::Disconnection {
                    lost.notify_one();
                } else {
                    on_push(info);
                }
                Ok(())
            });
        let client = self.place.find(self.connect_timeout).await?;
        let dialled = async {
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|error| format!("cannot connect: {error}"))?;
            if self.place.is_named_by_others() {
                check_role(&mut connection).await?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(self.connect_timeout, dialled).await {
            Ok(dialled) => dialled,
            Err(_) => Err(format!("cannot connect within {:?}", self.connect_timeout)),
        }
    }
}

/// The pauses between attempts: random between zero and a limit that doubles (full jitter).
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        Self { min: settings.reconnect_min, max: settings.reconnect_max, attempts: 0 }
    }

    /// A connection lasted so long. One that ends at once counts like an attempt that failed, or a server that closes every
    /// connection would be dialled without a pause.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= self.max {
            self.attempts = 0;
        }
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let limit = self.min.saturating_mul(1 << self.attempts.min(MAX_DOUBLINGS)).min(self.max);
        self.attempts += 1;
        limit.mul_f64(rand::random())
    }
}

/// The state of a connection: it is usable, or the reason why it is not.
#[derive(Debug)]
pub(super) struct ConnectionStatus {
    trouble: watch::Sender<Option<String>>,
    past: Mutex<ConnectionPast>,
}

/// The life of a connection so far, for operators.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionPast {
    /// Milliseconds since the Unix epoch; absent while it is down.
    pub(super) up_since_ms: Option<u64>,
    /// Times that it was lost.
    pub(super) lost: u64,
    /// The time of the last error in Unix milliseconds, and the error.
    pub(super) last_error: Option<(u64, String)>,
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl ConnectionStatus {
    pub(super) fn down(reason: &str) -> Self {
        Self { trouble: watch::Sender::new(Some(reason.to_owned())), past: Mutex::default() }
    }

    pub(super) fn set_up(&self) {
        self.past.lock().up_since_ms = Some(unix_ms());
        self.trouble.send_replace(None);
    }

    pub(super) fn set_down(&self, reason: String) {
        let mut past = self.past.lock();
        past.lost += u64::from(past.up_since_ms.take().is_some());
        past.last_error = Some((unix_ms(), reason.clone()));
        drop(past);
        self.trouble.send_replace(Some(reason));
    }

    /// Its life so far.
    pub(super) fn past(&self) -> ConnectionPast {
        self.past.lock().clone()
    }

    /// Why it cannot be used; `None` when it can.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Resolves when it can be used.
    pub(super) async fn wait_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.trouble.subscribe().wait_for(Option::is_none).await;
    }
}

/// The address of a server, with credentials and certificates.
#[derive(Debug, Clone)]
struct ServerAddr {
    server: ConnectionInfo,
    certificates: TlsCertificates,
    sentinels: Option<Sentinels>,
}

#[derive(Debug, Clone)]
struct Sentinels {
    clients: Vec<Client>,
    primary: String,
}

impl RedisSettings {
    /// Checks that a broker can be made with these settings: reads the certificates, opens no connection.
    pub fn validate(&self) -> Result<(), RedisSettingsError> {
        ServerAddr::new(self).map(drop)
    }
}

impl ServerAddr {
    /// Reads the certificates; opens no connection.
    fn new(settings: &RedisSettings) -> Result<Self, RedisSettingsError> {
        let server = settings.connection_info()?;
        let certificates = certificates(&settings.tls)?;
        let sentinels = match &settings.sentinel {
            None => None,
            Some(sentinel) => {
                let clients = sentinel.urls.iter().map(|url| {
                    let info = read_url("sentinel.urls", url)?;
                    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2);
                    client(info.set_redis_settings(redis), &certificates).map_err(|error| invalid(&error))
                });
                let clients = clients.collect::<Result<_, _>>()?;
                Some(Sentinels { clients, primary: sentinel.primary.clone() })
            }
        };
        let place = Self { server, certificates, sentinels };
        client(place.server.clone(), &place.certificates).map_err(|error| invalid(&error))?;
        Ok(place)
    }

    /// True if Sentinels name the server, so that what is found there has to be checked.
    fn is_named_by_others(&self) -> bool {
        self.sentinels.is_some()
    }

    /// The server of now.
    async fn find(&self, time_limit: Duration) -> Result<Client, String> {
        let server = match &self.sentinels {
            None => self.server.clone(),
            Some(sentinels) => {
                let (host, port) = sentinels.find_primary(time_limit).await?;
                self.server_at(host, port)
            }
        };
        client(server, &self.certificates).map_err(|error| error.to_string())
    }

    fn server_at(&self, host: String, port: u16) -> ConnectionInfo {
        let address = match self.server.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        self.server.clone().set_addr(address)
    }

    /// The server at this host and port, with the same credentials and certificates.
    fn at(&self, host: &str, port: u16) -> Self {
        let server = self.server_at(host.to_owned(), port);
        Self { server, certificates: self.certificates.clone(), sentinels: None }
    }

    /// The host of the server.
    fn host(&self) -> String {
        match self.server.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            other => other.to_string(),
        }
    }

    /// The address of the server, or how it is found.
    fn server(&self) -> String {
        match &self.sentinels {
            Some(sentinels) => format!("primary {:?} of the sentinels", sentinels.primary),
            None => self.server.addr().to_string(),
        }
    }
}

impl Sentinels {
    /// Asks all at once. The first address that most of them name is taken at once; when time is over, the one named most.
    async fn find_primary(&self, time_limit: Duration) -> Result<(String, u16), String> {
        let deadline = Instant::now() + time_limit;
        let mut questions: FuturesUnordered<_> =
            self.clients.iter().map(|sentinel| ask(sentinel, &self.primary)).collect();
        let mut votes: HashMap<(String, u16), usize> = HashMap::new();
        let mut trouble = "no sentinel answered".to_owned();
        while let Ok(Some(answer)) = timeout_at(deadline, questions.next()).await {
            match answer {
                Ok(address) => {
                    let count = votes.entry(address.clone()).or_default();
                    *count += 1;
                    if *count * 2 > self.clients.len() {
                        return Ok(address);
                    }
                }
                Err(reason) => trouble = reason,
            }
        }
        let most = votes.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(address, _)| address).ok_or_else(|| format!("no primary known: {trouble}"))
    }
}

async fn ask(sentinel: &Client, primary: &str) -> Result<(String, u16), String> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let asked = async {
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
        let mut question = cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(primary);
        question.query_async::<Option<(String, u16)>>(&mut connection).await
    };
    match asked.await {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(format!("a sentinel knows no primary of the name {primary:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Refuses a server that is a replica: it would take no publications.
async fn check_role(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let role: redis::RedisResult<Vec<redis::Value>> = cmd("ROLE").query_async(connection).await;
    match role.map_err(|error| error.to_string())?.first() {
        Some(redis::Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err("the server that the sentinels name is no primary yet".to_owned()),
    }
}

fn client(info: ConnectionInfo, certificates: &TlsCertificates) -> redis::RedisResult<Client> {
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // An embedder may have installed another provider before: then that one is used.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::build_with_tls(info, certificates.clone())
    } else {
        Client::open(info)
    }
}

fn certificates(settings: &TlsSettings) -> Result<TlsCertificates, RedisSettingsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| RedisSettingsError::File(format!("{}: {error}", path.display())))
    };
    let client_tls = match (&settings.cert_file, &settings.key_file) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        (None, None) => None,
        _ => return Err(RedisSettingsError::File("cert_file and key_file belong together".to_owned())),
    };
    let root_cert = settings.ca_file.as_deref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

/// Only the kind of error: its details may repeat the URL.
fn invalid(error: &redis::RedisError) -> RedisSettingsError {
    RedisSettingsError::Url("url", error.category().to_owned())
}

/// The life of a server: the first [`LIFE_CHARS`] of its replication id; empty where the server does not give it. After each
/// start and each promotion of a replica the life is another one, and publications that were accepted in the life before may
/// be forgotten: a stream that meets another life begins a new epoch (`stream.lua`, record 34). The run id of a server that
/// was demoted and promoted again stays the same.
pub(super) type ReplicationId = Arc<str>;

/// Hexadecimal digits that distinguish lives; `stream.lua` takes as many.
const LIFE_CHARS: usize = 16;
/// The key before it in `INFO replication`.
const LIFE_FIELD: &str = "master_replid:";

/// Asks a server. The error is for operators, and means that the connection cannot be used.
pub(super) async fn read_life(
    mut connection: MultiplexedConnection,
    time_limit: Duration,
) -> Result<ReplicationId, String> {
    let mut info = cmd("INFO");
    info.arg("replication");
    match timeout(time_limit, info.query_async::<String>(&mut connection)).await {
        Ok(Ok(text)) => Ok(life_in(&text)),
        // Not allowed, or unknown to a server that is not quite Redis.
        Ok(Err(error)) if error.is_unrecoverable_error() => Err(error.to_string()),
        Ok(Err(_)) => Ok(ReplicationId::default()),
        Err(_) => Err(format!("no answer within {time_limit:?}")),
    }
}

/// The replication id after another look. A busy server gives none, and counts as the same as before.
pub(super) fn newer_life(before: ReplicationId, now: ReplicationId) -> ReplicationId {
    if now.is_empty() { before } else { now }
}

fn life_in(info: &str) -> ReplicationId {
    let id = info.lines().find_map(|line| line.strip_prefix(LIFE_FIELD)).unwrap_or_default().trim();
    id.get(..LIFE_CHARS).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
