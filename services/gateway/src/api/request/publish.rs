//! Publish and broadcast: what to publish, and where.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gorani_auth::personal_channel;
use gorani_broker::DataKind;
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
use serde::Deserialize;
use utoipa::ToSchema;

use super::value::{Json, ListField, TagsField, TextField};
use crate::{api::error::ApiError, node::publish::IDEMPOTENCY_KEY_MAX_BYTES};

/// Channels or users of a broadcast, and client ids of a whitelist, at most.
pub const LIST_MAX: usize = 10_000;

/// One message to one channel: exactly one of `data` and `b64data`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest<'a> {
    /// The channel; with `user` the name of a personal channel, without the `#` and the user.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255, example = "chat:room")]
    pub channel: TextField<'a>,
    /// Publish to this user's personal channel `channel#user`.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub user: TextField<'a>,
    /// Any JSON value, passed on byte for byte. At most 32 levels deep.
    #[serde(borrow, default)]
    #[schema(value_type = serde_json::Value)]
    pub data: Json<'a>,
    /// Bytes as base64.
    #[serde(borrow, default)]
    #[schema(value_type = String, content_encoding = "base64")]
    pub b64data: TextField<'a>,
    /// Labels for subscribers: at most 32, and 4 KiB of keys and values together.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: TagsField,
    /// Makes a retry safe: the same key on the same channel within 5 minutes gives the first result again and
    /// publishes nothing.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 255)]
    pub idempotency_key: TextField<'a>,
    /// Deliver it live only.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub skip_history: Option<bool>,
    /// The client with this id does not get it.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub exclude_client: TextField<'a>,
}

/// The same message to many channels: exactly one of `data` and `b64data`, and `channels`, or `users` with `channel`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BroadcastRequest<'a> {
    /// The channels.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    pub channels: ListField<TextField<'a>, LIST_MAX>,
    /// The users whose personal channels of the name `channel` get the message.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    pub users: ListField<TextField<'a>, LIST_MAX>,
    /// Name of the users' personal channels.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub channel: TextField<'a>,
    /// Any JSON value, passed on byte for byte. At most 32 levels deep.
    #[serde(borrow, default)]
    #[schema(value_type = serde_json::Value)]
    pub data: Json<'a>,
    /// Bytes as base64.
    #[serde(borrow, default)]
    #[schema(value_type = String, content_encoding = "base64")]
    pub b64data: TextField<'a>,
    /// Labels for subscribers: at most 32, and 4 KiB of keys and values together.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub tags: TagsField,
    /// As in publish, for each channel by itself.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 255)]
    pub idempotency_key: TextField<'a>,
    /// Deliver it live only.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub skip_history: Option<bool>,
    /// The client with this id does not get it.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub exclude_client: TextField<'a>,
}

/// The message of a request, taken out of it and checked.
pub enum RequestPayload<'a> {
    /// A JSON value.
    Json(&'a str),
    /// Bytes. Those that are a JSON value are published as JSON: typed languages send all that they have as bytes.
    Bytes(Vec<u8>),
}

impl<'a> RequestPayload<'a> {
    /// Exactly one of the two. A null beside `b64data` is absent, alone it is the value null.
    pub fn of(data: Json<'a>, b64data: &TextField<'_>) -> Result<Self, ApiError> {
        match (data.given(), b64data.given()) {
            (_, Some(_)) if data.not_null().is_some() => {
                Err(ApiError::bad_request("either data or b64data, not both"))
            }
            (_, Some(base64)) => BASE64
                .decode(base64)
                .map(Self::Bytes)
                .map_err(|error| ApiError::bad_request(format!("b64data: not base64: {error}"))),
            (Some(json), None) => check_depth("data", json).map(|()| Self::Json(json)),
            (None, None) => Err(ApiError::bad_request("data or b64data is missing")),
        }
    }

    /// As the broker carries it. JSON shares the memory of the body that it stands in.
    pub fn into_data(self, body: &Bytes) -> (DataKind, Bytes) {
        match self {
            Self::Json(json) => (DataKind::Json, body.slice_ref(json.as_bytes())),
            Self::Bytes(bytes) if json_compact_check(&bytes, JSON_DEPTH).is_ok() => {
                (DataKind::Json, bytes.into())
            }
            Self::Bytes(bytes) => (DataKind::Binary, bytes.into()),
        }
    }
}

/// Refuses JSON that nests too deep for those who will read it.
pub fn check_depth(field: &str, json: &str) -> Result<(), ApiError> {
    json_compact_check(json.as_bytes(), JSON_DEPTH)
        .map_err(|error| ApiError::bad_request(format!("{field}: {error}")))
}

/// Refuses a key that is too long.
fn check_key(key: &TextField<'_>) -> Result<Option<String>, ApiError> {
    if key.len() > IDEMPOTENCY_KEY_MAX_BYTES {
        let sentence = format!("idempotency_key: longer than {IDEMPOTENCY_KEY_MAX_BYTES} bytes");
        return Err(ApiError::bad_request(sentence));
    }
    Ok(key.given().map(str::to_owned))
}

/// `channel`, or the personal channel of `user`.
fn address<'a>(channel: &'a str, user: Option<&str>) -> Result<Cow<'a, str>, ApiError> {
    match user {
        None => Ok(Cow::Borrowed(channel)),
        Some(user) => personal_channel(channel, user)
            .map(Cow::Owned)
            .map_err(|error| ApiError::bad_request(format!("user: {error}"))),
    }
}

impl PublishRequest<'_> {
    /// The channel that is meant.
    pub fn address(&self) -> Result<Cow<'_, str>, ApiError> {
        address(&self.channel, self.user.given())
    }

    /// The retry guard.
    pub fn key(&self) -> Result<Option<String>, ApiError> {
        check_key(&self.idempotency_key)
    }
}

impl BroadcastRequest<'_> {
    /// The channels that are meant, in order; one that cannot be formed is an error of its own.
    pub fn addresses(&self) -> Result<Vec<Result<Cow<'_, str>, ApiError>>, ApiError> {
        match (self.channels.is_empty(), self.users.is_empty(), self.channel.given()) {
            (false, true, None) => {
                Ok(self.channels.iter().map(|channel| Ok(Cow::Borrowed(&**channel))).collect())
            }
            (true, false, Some(channel)) => {
                Ok(self.users.iter().map(|user| address(channel, Some(&**user))).collect())
            }
            (true, true, _) => Err(ApiError::bad_request("channels is missing or empty")),
            (true, false, None) => {
                Err(ApiError::bad_request("users needs channel, the name of their channels"))
            }
            (false, _, _) => Err(ApiError::bad_request("either channels, or users and channel, not both")),
        }
    }

    /// The retry guard.
    pub fn key(&self) -> Result<Option<String>, ApiError> {
        check_key(&self.idempotency_key)
    }
}
