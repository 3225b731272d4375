//! Publications and clients as the API shows them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gorani_broker::{ClientInfo, DataKind, Publication};
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// JSON that is written as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Bytes that hold JSON; none are none.
    fn given(json: &Bytes) -> Option<Self> {
        (!json.is_empty()).then(|| Self(json.clone()))
    }

    fn string(text: &str) -> Self {
        Self(serde_json::Value::from(text).to_string().into())
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_slice::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// One message of a channel's history.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Publication)]
pub struct PublicationView {
    /// The payload as clients of the JSON protocol see it: a text is a string, bytes are base64 in a string.
    #[schema(value_type = serde_json::Value)]
    pub data: RawJson,
    /// `text` or `binary` where the payload is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub kind: Option<&'static str>,
    /// Offset in the stream.
    pub offset: u64,
    /// Labels of the publisher.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    #[schema(value_type = std::collections::BTreeMap<String, String>, required = false)]
    pub tags: Vec<(String, String)>,
    /// The client that published; absent when a backend did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ClientInfoView)]
    pub info: Option<ClientInfoView>,
    /// Milliseconds since the Unix epoch.
    pub time: u64,
}

fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

impl From<&Publication> for PublicationView {
    fn from(publication: &Publication) -> Self {
        let bytes = &publication.data;
        let (data, kind) = match publication.kind {
            DataKind::Json => (RawJson::given(bytes).unwrap_or(RawJson(Bytes::from_static(b"null"))), None),
            DataKind::Text => {
                let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
                (RawJson::string(&text), Some("text"))
            }
            DataKind::Binary => (RawJson::string(&BASE64.encode(bytes)), Some("binary")),
        };
        Self {
            data,
            kind,
            offset: publication.offset,
            tags: publication.tags.clone(),
            info: publication.info.as_deref().map(ClientInfoView::from),
            time: publication.time_ms,
        }
    }
}

/// The identity of a client.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = ClientInfo)]
pub struct ClientInfoView {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Client id.
    pub client: String,
    /// `info` of the connection's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    pub conn_info: Option<RawJson>,
    /// `info` of the subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = serde_json::Value, required = false)]
    pub chan_info: Option<RawJson>,
}

impl From<&ClientInfo> for ClientInfoView {
    fn from(info: &ClientInfo) -> Self {
        Self {
            user: info.user.clone(),
            client: info.client.clone(),
            conn_info: RawJson::given(&info.connection_info),
            chan_info: RawJson::given(&info.channel_info),
        }
    }
}
