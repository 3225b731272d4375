//! The identity of a client: its user, its id, and the information that others get about it.

use std::sync::Arc;

use bytes::Bytes;
use gorani_auth::ConnectionClaims;
use gorani_broker::ClientInfo;
use serde_json::value::RawValue;

/// The identity of a client. Empty until it is known.
#[derive(Debug, Default)]
pub(in crate::session) struct ClientIdentity {
    /// User id; empty for an anonymous client.
    pub(in crate::session) user: Arc<str>,
    /// Client id, of this connection alone.
    pub(in crate::session) client: Arc<str>,
    /// JSON of the token's info; empty for none.
    info: Bytes,
}

impl ClientIdentity {
    /// The bearer of a connection token.
    pub(in crate::session) fn of_claims(claims: &ConnectionClaims, client: Arc<str>) -> Self {
        Self { user: claims.user.as_str().into(), client, info: raw_bytes(claims.info.as_deref()) }
    }

    /// A backend, by its login.
    pub(in crate::session) fn of_backend(login: &str, client: Arc<str>) -> Self {
        Self { user: login.into(), client, info: Bytes::new() }
    }

    /// The client as others see it in a channel. `channel_info`: JSON; empty for none.
    pub(in crate::session) fn info_for(&self, channel_info: Bytes) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            connection_info: self.info.clone(),
            channel_info,
        })
    }
}

/// The bytes of raw JSON; empty where there is none.
pub(in crate::session) fn raw_bytes(raw: Option<&RawValue>) -> Bytes {
    raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default()
}
