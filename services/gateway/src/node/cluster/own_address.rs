//! The address that a node announces with its lease. Decision record 21.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use actix_web::http::Uri;
use parking_lot::RwLock;
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::Mutex,
    time::Instant,
};

use crate::settings::{BrokerKind, Settings};

/// Redis' port where its address names none.
const REDIS_PORT: u16 = 6379;
/// The settings that determine the address of a node.
struct AddressSettings {
    advertise: String,
    is_tls: bool,
    broker: BrokerKind,
    redis_url: String,
}

impl From<&Settings> for AddressSettings {
    fn from(settings: &Settings) -> Self {
        let redis = &settings.broker.redis;
        let url = redis.sentinel.as_ref().and_then(|sentinel| sentinel.urls.first()).unwrap_or(&redis.url);
        Self {
            advertise: settings.cluster.advertise.clone(),
            is_tls: settings.http.tls.is_on(),
            broker: settings.broker.kind,
            redis_url: url.clone(),
        }
    }
}

/// The node's own address, and the time of its last look for those of others.
pub(super) struct Addresses {
    settings: AddressSettings,
    own: RwLock<String>,
    pub(super) looked_at: Mutex<Option<Instant>>,
}

impl Addresses {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.into(), own: RwLock::default(), looked_at: Mutex::default() }
    }

    /// The address that the node announces; empty while it is not known.
    pub(super) fn own(&self) -> String {
        self.own.read().clone()
    }

    /// The node listens there: finds out where others reach it.
    pub(super) async fn listening(&self, listening: SocketAddr) {
        let address = own_address(&self.settings, listening).await;
        // With TLS it is a warning of the settings already.
        let is_unexpected = self.settings.broker == BrokerKind::Redis && !self.settings.is_tls;
        if address.is_none() && is_unexpected {
            tracing::warn!(
                "other nodes cannot take requests to this one: set cluster.advertise, or let the balancer keep clients at \
                 their node"
            );
        }
        *self.own.write() = address.unwrap_or_default();
    }
}

/// The address as the settings say it, or as the node is reached from where Redis is.
async fn own_address(settings: &AddressSettings, listening: SocketAddr) -> Option<String> {
    if !settings.advertise.is_empty() {
        return Some(settings.advertise.clone());
    }
    if settings.is_tls {
        // Nodes speak without TLS: only an address that is named can be one where this works.
        return None;
    }
    if !listening.ip().is_unspecified() {
        return Some(listening.to_string());
    }
    if settings.broker == BrokerKind::Memory {
        return None;
    }
    let ip = local_ip_towards(&settings.redis_url).await?;
    Some(SocketAddr::new(ip, listening.port()).to_string())
}

/// The address that this machine has towards a server. Nothing is sent.
async fn local_ip_towards(url: &str) -> Option<IpAddr> {
    let url: Uri = url.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(REDIS_PORT);
    for server in lookup_host((host, port)).await.ok()? {
        let any: IpAddr =
            if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        if let Ok(socket) = UdpSocket::bind((any, 0)).await
            && socket.connect(server).await.is_ok()
            && let Ok(local) = socket.local_addr()
        {
            return Some(local.ip());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    #[actix_rt::test]
    async fn the_address_is_the_setting_or_the_listener_or_that_towards_redis() {
        let mut settings = Settings::default();
        settings.broker.kind = BrokerKind::Redis;
        settings.broker.redis.url = "redis://user:secret@127.0.0.1/3".to_owned();
        for (listening, found) in [
            ("10.1.2.3:8000", "10.1.2.3:8000"),
            ("[::1]:8000", "[::1]:8000"),
            ("0.0.0.0:8000", "127.0.0.1:8000"),
            ("[::]:8001", "127.0.0.1:8001"),
        ] {
            assert_eq!(
                own_address(&(&settings).into(), at(listening)).await.as_deref(),
                Some(found),
                "{listening}"
            );
        }
        settings.broker.redis.url = "redis://[::1]:7000".to_owned();
        assert_eq!(own_address(&(&settings).into(), at("0.0.0.0:8000")).await.as_deref(), Some("[::1]:8000"));
        settings.http.tls.certificate = "node.pem".into();
        assert_eq!(own_address(&(&settings).into(), at("10.1.2.3:8000")).await, None);
        settings.cluster.advertise = "node-1.internal:80".to_owned();
        assert_eq!(
            own_address(&(&settings).into(), at("0.0.0.0:8000")).await.as_deref(),
            Some("node-1.internal:80")
        );
    }

    #[actix_rt::test]
    async fn where_none_is_found_there_is_none() {
        let mut settings = Settings::default();
        assert_eq!(
            own_address(&(&settings).into(), at("0.0.0.0:8000")).await,
            None,
            "a node alone needs none"
        );
        settings.broker.kind = BrokerKind::Redis;
        settings.broker.redis.url = "not a url".to_owned();
        assert_eq!(own_address(&(&settings).into(), at("0.0.0.0:8000")).await, None);
    }
}
