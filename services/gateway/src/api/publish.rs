//! `publish` and `broadcast`: from the request to [`crate::node::publish::Publisher::publish`]. `docs/architecture.md` §2.3.
//!
//! A batch or a broadcast of thousands lets the worker's connections have their turn in between: decision record 0027.

use std::{borrow::Cow, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use gorani_auth::personal_channel;
use gorani_broker::{DataKind, Publication, Published};
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    api::{
        call::CallContext,
        channels::explain,
        error::{ApiError, ErrorView},
        value::{Json, LIST_MAX, ListField, TagsField, TextField, check_depth},
    },
    disconnect::ErrorCode,
    node::Node,
    session::Now,
};

pub use crate::session::shared::IDEMPOTENCY_KEY_MAX_BYTES;

mod traced;

/// Makes a request of its own fields and those that every publication has.
macro_rules! publication_request {
    ($(#[$meta:meta])* $name:ident, $key_text:literal, { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name<'a> {
            $($own)*
            /// Any JSON value, passed on byte for byte. At most 128 levels deep.
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
            #[doc = $key_text]
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
            /// Asks for differences in the place of whole messages: a hint that changes nothing, since every subscriber gets the
            /// whole message.
            #[serde(default)]
            #[schema(value_type = bool)]
            pub delta: Option<bool>,
            /// Not available: 0 or absent.
            #[serde(default)]
            #[schema(value_type = u64, maximum = 0)]
            pub version: Option<u64>,
            /// Goes with `version`; alone it says nothing.
            #[serde(borrow, default)]
            #[schema(value_type = String)]
            pub version_epoch: TextField<'a>,
        }

        impl $name<'_> {
            /// The retry guard.
            pub fn key(&self) -> Result<Option<String>, ApiError> {
                check_key(&self.idempotency_key)
            }

            /// Checks what is to be published, and takes it out of the request.
            fn take_message(&mut self, call: &CallContext<'_>) -> Result<CheckedMessage, ApiError> {
                check_version(self.version)?;
                let (kind, data) = RequestPayload::of(self.data, &self.b64data)?.into_data(call.body);
                let publication = Publication {
                    data,
                    kind,
                    time_ms: Now::read().unix_ms,
                    exclude_client: self.exclude_client.to_string(),
                    tags: std::mem::take(&mut self.tags).into_pairs(),
                    trace: call.trace.cloned(),
                    ..Publication::default()
                };
                let skip_history = self.skip_history.unwrap_or_default();
                Ok(CheckedMessage { publication, skip_history, key: self.key()? })
            }
        }
    };
}

publication_request! {
    /// One message to one channel: exactly one of `data` and `b64data`.
    PublishRequest,
    "Makes a retry safe: the same key on the same channel within 5 minutes gives the first result again and\npublishes nothing.",
    {
        /// The channel: at most 255 bytes of UTF-8; with `user` the name of a personal channel, without the `#` and the user.
        #[serde(borrow)]
        #[schema(value_type = String, min_length = 1, max_length = 255, example = "chat:room")]
        pub channel: TextField<'a>,
        /// Publish to this user's personal channel `channel#user`.
        #[serde(borrow, default)]
        #[schema(value_type = String)]
        pub user: TextField<'a>,
        /// Tell how many subscribers the channel has.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub num_subscribers: Option<bool>,
        /// Trace it, where the setting `api.allow_trace` is on; not in a batch. The result has the trace's id, by which the admin API
        /// tells what became of it.
        #[serde(default)]
        #[schema(value_type = bool)]
        pub trace: Option<bool>,
    }
}

publication_request! {
    /// The same message to many channels: exactly one of `data` and `b64data`, and `channels`, or `users` with `channel`.
    BroadcastRequest,
    "As in publish, for each channel by itself.",
    {
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
    }
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

/// Refuses a version: it asks that older ones be dropped, and a publication that is not dropped would pass for newer.
fn check_version(version: Option<u64>) -> Result<(), ApiError> {
    match version {
        None | Some(0) => Ok(()),
        Some(_) => Err(ApiError::bad_request(
            "version: publications have no versions here; leave it out, and use idempotency_key for a retry",
        )),
    }
}

/// Refuses a key that is too long.
fn check_key(key: &TextField<'_>) -> Result<Option<String>, ApiError> {
    if key.len() > IDEMPOTENCY_KEY_MAX_BYTES {
        let message = format!("idempotency_key: longer than {IDEMPOTENCY_KEY_MAX_BYTES} bytes");
        return Err(ApiError::bad_request(message));
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

/// The result of `publish`: the position of the publication in the channel's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PublishResult {
    /// 0 on a channel without history, or with `skip_history`.
    pub offset: u64,
    /// Empty on a channel without history, or with `skip_history`.
    pub epoch: String,
    /// Subscribers of the channel in the whole cluster, now, where `num_subscribers` asked for it; 0 may be a misspelt channel.
    /// Absent where a node does not say: the message is published all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    pub num_subscribers: Option<usize>,
    /// Id of the trace, where `trace` or a sampled `traceparent` asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub trace: Option<String>,
}

/// The result of `broadcast`: an entry for each channel, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct BroadcastResult {
    /// The entries.
    pub responses: Vec<PublishResponse>,
}

/// One channel of a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublishResponse {
    /// It was published.
    Result(PublishResult),
    /// It was not.
    Error(ErrorView),
}

/// A message that may be published, to one channel or to many.
#[derive(Clone)]
struct CheckedMessage {
    publication: Publication,
    skip_history: bool,
    key: Option<String>,
}

impl CheckedMessage {
    /// Publishes it. It takes its position in the channel's order now; [`PendingPublish::finish`] only waits for the answer.
    fn publish(self, node: &Arc<Node>, channel: Cow<'_, str>) -> PendingPublish {
        let channel = channel.into_owned();
        let accepted = node.publisher.publish(&channel, self.publication, self.skip_history, self.key);
        PendingPublish { channel, accepted, is_counted: false }
    }
}

/// A publication that has its position in the channel's order, and the channel that it goes to.
pub(super) struct PendingPublish {
    channel: String,
    accepted: BoxFuture<'static, Result<Published, ErrorCode>>,
    /// The caller wants to know how many subscribers the channel has.
    is_counted: bool,
}

impl PendingPublish {
    /// Waits for the broker's answer.
    pub(super) async fn finish(self, call: &CallContext<'_>) -> Result<PublishResult, ApiError> {
        let accepted = self.accepted.await;
        let Published { position, .. } =
            accepted.map_err(|error| explain(call.node, &self.channel, error))?;
        // Boxed, since few calls ask for it.
        let num_subscribers =
            if self.is_counted { Box::pin(call.subscribers(&self.channel)).await } else { None };
        let epoch = position.epoch.as_ref().to_owned();
        Ok(PublishResult { offset: position.offset, epoch, num_subscribers, trace: None })
    }
}

/// Publications of one broadcast, in the order of its channels.
pub(super) struct PendingBroadcast(Vec<Result<PendingPublish, ApiError>>);

impl PendingBroadcast {
    /// Waits for the broker's answers.
    pub(super) async fn finish(self, call: &CallContext<'_>) -> BroadcastResult {
        let mut responses = Vec::with_capacity(self.0.len());
        let mut pace = CallPace::begin();
        // One after the other: the broker is at all of them already.
        for pending in self.0 {
            let result = async { pending?.finish(call).await };
            responses.push(match result.await {
                Ok(result) => PublishResponse::Result(result),
                Err(error) => PublishResponse::Error(error.view()),
            });
            pace.pause().await;
        }
        BroadcastResult { responses }
    }
}

impl PublishRequest<'_> {
    /// The channel that is meant.
    pub fn address(&self) -> Result<Cow<'_, str>, ApiError> {
        address(&self.channel, self.user.given())
    }

    /// Publishes; its position in the channel's order is taken when this returns.
    pub(super) fn begin(mut self, call: &CallContext<'_>) -> Result<PendingPublish, ApiError> {
        if self.is_traced() {
            return Err(ApiError::bad_request("trace: not in a batch"));
        }
        let message = self.take_message(call)?;
        let is_counted = self.num_subscribers.unwrap_or_default();
        Ok(PendingPublish { is_counted, ..message.publish(call.node, self.address()?) })
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

    /// Publishes to each channel, in their order; all positions are taken when this returns. An error in the shared fields is
    /// returned at once.
    pub(super) async fn begin(mut self, call: &CallContext<'_>) -> Result<PendingBroadcast, ApiError> {
        let message = self.take_message(call)?;
        let addresses = self.addresses()?;
        let mut pending = Vec::with_capacity(addresses.len());
        let mut pace = CallPace::begin();
        for channel in addresses {
            pending.push(channel.map(|channel| message.clone().publish(call.node, channel)));
            pace.pause().await;
        }
        Ok(PendingBroadcast(pending))
    }
}

pub(super) async fn publish(
    request: PublishRequest<'_>,
    call: &CallContext<'_>,
) -> Result<PublishResult, ApiError> {
    if let Some(trace) = request.wanted_trace(call) {
        // Boxed, since few calls ask for it.
        return Box::pin(request.publish_traced(trace, call)).await;
    }
    request.begin(call)?.finish(call).await
}

pub(super) async fn broadcast(
    request: BroadcastRequest<'_>,
    call: &CallContext<'_>,
) -> Result<BroadcastResult, ApiError> {
    Ok(request.begin(call).await?.finish(call).await)
}

/// Longest time that a call runs at a stretch.
const TURN: Duration = Duration::from_millis(2);

/// The pace of one call.
pub(super) struct CallPace {
    began: Instant,
}

impl CallPace {
    /// A call begins.
    pub(super) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// Lets others have their turn, where this one has been long enough.
    pub(super) async fn pause(&mut self) {
        if self.began.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.began = Instant::now();
        }
    }
}
