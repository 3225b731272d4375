//! What the API answers: the type of each result, and how it is wrapped. `docs/protocols/http.md` §5.

mod view;

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use utoipa::ToSchema;

pub use self::view::{ClientInfoView, ConnectionView, NodeView, PublicationView, RawJson};
use crate::{
    api::error::{ApiError, ErrorView},
    disconnect::ErrorCode,
};

/// Of `publish`: where the publication stands in the channel's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PublishResult {
    /// 0 on a channel without history, or with `skip_history`.
    pub offset: u64,
    /// Empty on a channel without history, or with `skip_history`.
    pub epoch: String,
}

/// Of `broadcast`: an entry for each channel, in order.
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

/// Of methods that answer nothing but that they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct EmptyResult {}

/// Of `presence`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PresenceResult {
    /// The clients in the channel, by client id.
    pub presence: BTreeMap<String, ClientInfoView>,
    /// For the next page; absent on the last one, and where no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
}

/// Of `presence_stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct PresenceStatsResult {
    /// Clients in the channel.
    pub num_clients: u64,
    /// Distinct users among them.
    pub num_users: u64,
}

/// Of `history`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HistoryResult {
    /// Oldest first; newest first when `reverse` was asked for.
    pub publications: Vec<PublicationView>,
    /// The newest publication's offset; 0 while there is none.
    pub offset: u64,
    /// The stream's epoch.
    pub epoch: String,
    /// True where `api.reply_max_bytes` ended the page before `limit` did: go on with `since`. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub truncated: bool,
}

/// Of `channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelsResult {
    /// Channels with subscribers, by name.
    pub channels: BTreeMap<String, ChannelView>,
    /// For the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
    /// False where the page is shorter than `limit`, or empty, because few of very many names match the pattern: go on with
    /// `next_cursor`. Absent otherwise.
    #[serde(skip_serializing_if = "is_true")]
    #[schema(required = false)]
    pub complete: bool,
}

/// One channel with subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Channel)]
pub struct ChannelView {
    /// Its subscribers.
    pub num_clients: u64,
}

/// Of `connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConnectionsResult {
    /// Clients, by client id.
    pub connections: BTreeMap<String, ConnectionView>,
    /// For the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
    /// False where the page is shorter than `limit` because more did not fit into 5 MiB: go on with `next_cursor`. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "is_true")]
    #[schema(required = false)]
    pub complete: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_true(value: &bool) -> bool {
    *value
}

/// Of `info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InfoResult {
    /// The nodes of the cluster.
    pub nodes: Vec<NodeView>,
}

/// What a method came to. As JSON it is a reply of a batch: the result under the method's name, or an error.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BatchReply)]
#[expect(missing_docs, reason = "the methods, whose results are documented with their types")]
pub enum MethodAnswer {
    Publish(PublishResult),
    Broadcast(BroadcastResult),
    Subscribe(EmptyResult),
    Unsubscribe(EmptyResult),
    Disconnect(EmptyResult),
    Refresh(EmptyResult),
    Presence(PresenceResult),
    PresenceStats(PresenceStatsResult),
    History(HistoryResult),
    HistoryRemove(EmptyResult),
    Channels(ChannelsResult),
    Connections(ConnectionsResult),
    Info(InfoResult),
    /// It failed.
    Error(ErrorView),
}

/// Of `batch`: a reply for each command, in order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BatchResult {
    /// The replies.
    pub replies: Vec<MethodAnswer>,
}

/// A result alone.
#[derive(Serialize)]
struct ResultAnswer<'a, T> {
    result: &'a T,
}

impl MethodAnswer {
    /// The answer to a call of one method: `{"result": …}`.
    pub(super) fn into_response(self) -> Result<HttpResponse, ApiError> {
        match &self {
            Self::Publish(result) => with_result(result),
            Self::Broadcast(result) => with_result(result),
            Self::Subscribe(result)
            | Self::Unsubscribe(result)
            | Self::Disconnect(result)
            | Self::Refresh(result)
            | Self::HistoryRemove(result) => with_result(result),
            Self::Presence(result) => with_result(result),
            Self::PresenceStats(result) => with_result(result),
            Self::History(result) => with_result(result),
            Self::Channels(result) => with_result(result),
            Self::Connections(result) => with_result(result),
            Self::Info(result) => with_result(result),
            Self::Error(error) => json(&super::error::ErrorAnswer { error: error.clone() }),
        }
    }
}

fn with_result<T: Serialize>(result: &T) -> Result<HttpResponse, ApiError> {
    json(&ResultAnswer { result })
}

/// 200 with this value as JSON.
pub(super) fn json<T: Serialize>(value: &T) -> Result<HttpResponse, ApiError> {
    let body = serde_json::to_vec(value).map_err(|error| {
        tracing::error!(%error, "an answer of the API cannot be written");
        ErrorCode::INTERNAL
    })?;
    let mut response = HttpResponse::with_body(StatusCode::OK, body);
    let content_type = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    Ok(response.map_into_boxed_body())
}
