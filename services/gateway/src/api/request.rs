//! What backends ask for: the decoder of bodies, and the type of each request. `docs/protocols/http.md` §5.
//!
//! Pure: no node, no server, so that it is fuzzed by itself. Unknown fields are refused with their name.

mod channel;
mod publish;
mod session;
pub mod value;

use serde::Deserialize;
use utoipa::ToSchema;

use self::value::{ListField, NamedCommand};
pub use self::{
    channel::{
        ChannelRequest, ChannelsRequest, ConnectionsRequest, HISTORY_PAGE_MAX, HistoryRequest, InfoRequest,
        PAGE_MAX, PositionRequest, PresenceRequest, cursor_after,
    },
    publish::{BroadcastRequest, LIST_MAX, PublishRequest, RequestPayload, check_depth},
    session::{DisconnectRequest, DisconnectWith, RefreshRequest, SubscribeRequest, UnsubscribeRequest},
};
use crate::{
    api::{error::ApiError, method::Method},
    disconnect::ErrorCode,
};

/// Commands of a batch at most.
pub const BATCH_MAX: usize = 10_000;

/// A decoded request of one method.
pub enum ApiCommand<'a> {
    /// [`Method::Publish`].
    Publish(PublishRequest<'a>),
    /// [`Method::Broadcast`].
    Broadcast(BroadcastRequest<'a>),
    /// [`Method::Subscribe`].
    Subscribe(SubscribeRequest<'a>),
    /// [`Method::Unsubscribe`].
    Unsubscribe(UnsubscribeRequest<'a>),
    /// [`Method::Disconnect`].
    Disconnect(DisconnectRequest<'a>),
    /// [`Method::Refresh`].
    Refresh(RefreshRequest<'a>),
    /// [`Method::Presence`].
    Presence(PresenceRequest<'a>),
    /// [`Method::PresenceStats`].
    PresenceStats(ChannelRequest<'a>),
    /// [`Method::History`].
    History(HistoryRequest<'a>),
    /// [`Method::HistoryRemove`].
    HistoryRemove(ChannelRequest<'a>),
    /// [`Method::Channels`].
    Channels(ChannelsRequest<'a>),
    /// [`Method::Connections`].
    Connections(ConnectionsRequest<'a>),
    /// [`Method::Info`].
    Info(InfoRequest),
}

/// Many commands in one call.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// The commands, each an object with one method.
    #[serde(borrow)]
    #[schema(value_type = Vec<NamedCommand<'static>>, max_items = 10_000)]
    pub commands: ListField<NamedCommand<'a>, BATCH_MAX>,
    /// Whether commands may be carried out at the same time. Publications of one channel keep their order either way.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub parallel: Option<bool>,
}

/// Decodes the request of a method. An empty body is that of an empty object.
pub fn decode(method: Method, body: &[u8]) -> Result<ApiCommand<'_>, ApiError> {
    Ok(match method {
        Method::Publish => ApiCommand::Publish(object(body)?),
        Method::Broadcast => ApiCommand::Broadcast(object(body)?),
        Method::Subscribe => ApiCommand::Subscribe(object(body)?),
        Method::Unsubscribe => ApiCommand::Unsubscribe(object(body)?),
        Method::Disconnect => ApiCommand::Disconnect(object(body)?),
        Method::Refresh => ApiCommand::Refresh(object(body)?),
        Method::Presence => ApiCommand::Presence(object(body)?),
        Method::PresenceStats => ApiCommand::PresenceStats(object(body)?),
        Method::History => ApiCommand::History(object(body)?),
        Method::HistoryRemove => ApiCommand::HistoryRemove(object(body)?),
        Method::Channels => ApiCommand::Channels(object(body)?),
        Method::Connections => ApiCommand::Connections(object(body)?),
        Method::Info => ApiCommand::Info(object(body)?),
    })
}

/// Decodes one command of a batch.
pub fn decode_named<'a>(named: &NamedCommand<'a>) -> Result<ApiCommand<'a>, ApiError> {
    let method = Method::of(&named.method).ok_or_else(|| unknown_method(&named.method))?;
    decode(method, named.params.get().as_bytes())
}

/// Decodes a batch. Its commands are decoded one by one, so that a bad one does not take the others along.
pub fn decode_batch(body: &[u8]) -> Result<BatchRequest<'_>, ApiError> {
    object(body)
}

/// 104 with the name that was asked for.
pub fn unknown_method(name: &str) -> ApiError {
    ApiError::new(ErrorCode::METHOD_NOT_FOUND, format!("unknown method `{name}`"))
}

/// Decodes one JSON object.
pub(in crate::api) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let body = body.trim_ascii_start();
    let body = if body.is_empty() { b"{}" } else { body };
    // The derived decoders would take the fields of a list by their place.
    if body.first() != Some(&b'{') {
        return Err(ApiError::bad_request("the body must be a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| explain::<T>(body, &error))
}

/// A sentence that names the field. The body is read again for it, so that good requests pay nothing.
fn explain<'a, T: Deserialize<'a>>(body: &'a [u8], error: &serde_json::Error) -> ApiError {
    let deserializer = &mut serde_json::Deserializer::from_slice(body);
    let path =
        serde_path_to_error::deserialize::<_, T>(deserializer).err().map(|error| error.path().to_string());
    ApiError::bad_request(match path.filter(|path| path != "." && !path.contains('?')) {
        Some(path) => format!("{path}: {error}"),
        None => error.to_string(),
    })
}
