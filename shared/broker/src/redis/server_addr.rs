//! Which server is to be connected to: the one of the URL, or the primary that the Sentinels name. `docs/architecture.md` §5.3.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, TlsCertificates, aio::MultiplexedConnection, cmd,
};
use tokio::time::{Instant, timeout_at};

use super::settings::{RedisSettings, RedisSettingsError, TlsSettings};

/// The address of a server, with credentials and certificates.
#[derive(Debug, Clone)]
pub(super) struct ServerAddr {
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
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisSettingsError> {
        let server = settings.connection_info()?;
        let certificates = certificates(&settings.tls)?;
        let sentinels = match &settings.sentinel {
            None => None,
            Some(sentinel) => {
                let clients = sentinel.urls.iter().map(|url| {
                    let info = url.as_str().into_connection_info().map_err(|error| invalid(&error))?;
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
    pub(super) fn is_named_by_others(&self) -> bool {
        self.sentinels.is_some()
    }

    /// The server of now.
    pub(super) async fn find(&self, patience: Duration) -> Result<Client, String> {
        let server = match &self.sentinels {
            None => self.server.clone(),
            Some(sentinels) => {
                let (host, port) = sentinels.find_primary(patience).await?;
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
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let server = self.server_at(host.to_owned(), port);
        Self { server, certificates: self.certificates.clone(), sentinels: None }
    }

    /// The host of the server.
    pub(super) fn host(&self) -> String {
        match self.server.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            other => other.to_string(),
        }
    }

    /// The address of the server, or how it is found.
    pub(super) fn server(&self) -> String {
        match &self.sentinels {
            Some(sentinels) => format!("primary {:?} of the sentinels", sentinels.primary),
            None => self.server.addr().to_string(),
        }
    }
}

impl Sentinels {
    /// Asks all at once. The first address that most of them name is taken at once; when time is over, the one named most.
    async fn find_primary(&self, patience: Duration) -> Result<(String, u16), String> {
        let deadline = Instant::now() + patience;
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
pub(super) async fn check_role(connection: &mut MultiplexedConnection) -> Result<(), String> {
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
    RedisSettingsError::Url(error.category().to_owned())
}
