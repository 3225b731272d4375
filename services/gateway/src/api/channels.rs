//! `presence`, `presence_stats`, `history` and `history_remove`: queries about one channel, to the broker.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gorani_auth::{ChannelOptions, check_channel_name};
use gorani_broker::{
    BrokerError, ClientInfo, DataKind, HistoryPage, HistoryQuery, Position, PresenceQuery, Publication,
};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    api::{
        call::CallContext,
        error::{ApiError, EmptyResult},
        overview::{PAGE_DEFAULT, PAGE_MAX},
        value::TextField,
    },
    disconnect::ErrorCode,
    hub::history_reads::{PAGE_BYTES, ReadSource},
    node::Node,
    session::shared::recovery::retention,
};

/// Publications of one page of history at most.
pub const HISTORY_PAGE_MAX: u32 = 1000;
/// Bytes of a cursor of presence at most: longer than any client id.
const CURSOR_MAX_BYTES: usize = 255;

/// Names a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRequest<'a> {
    /// The channel: at most 255 bytes of UTF-8.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
}

/// A position in a channel's stream.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Position)]
pub struct PositionRequest<'a> {
    /// Offset of a publication; 0 is before the first.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub offset: Option<u64>,
    /// The stream's epoch; empty is any.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub epoch: TextField<'a>,
}

impl PositionRequest<'_> {
    /// As the broker has it.
    pub fn position(&self) -> Position {
        Position { offset: self.offset.unwrap_or_default(), epoch: (&*self.epoch).into() }
    }
}

/// Asks who is in a channel: all, or a page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresenceRequest<'a> {
    /// The channel: at most 255 bytes of UTF-8.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
    /// About so many clients, up to 1000: a page may have a few more or fewer. Absent or 0 without a cursor: all clients.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

impl PresenceRequest<'_> {
    /// The page that is asked for; `None`: all.
    pub fn query(&self) -> Result<Option<PresenceQuery>, ApiError> {
        let limit = match self.limit.unwrap_or_default() {
            0 if self.cursor.is_empty() => return Ok(None),
            0 => PAGE_DEFAULT,
            limit if limit > PAGE_MAX => {
                return Err(ApiError::bad_request(format!("limit: must be at most {PAGE_MAX}")));
            }
            limit => limit,
        };
        if self.cursor.len() > CURSOR_MAX_BYTES {
            return Err(ApiError::bad_request("cursor: must be next_cursor of the page before"));
        }
        Ok(Some(PresenceQuery { cursor: (*self.cursor).to_owned(), limit, ..PresenceQuery::default() }))
    }
}

/// Asks for a page of a channel's history.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest<'a> {
    /// The channel: at most 255 bytes of UTF-8.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
    /// Publications at most; a page never has more than 1000. 0 or absent: the position alone; below 0: as many as a page holds.
    #[serde(default)]
    #[schema(value_type = i64)]
    pub limit: Option<i64>,
    /// Publications after this position; before it, when `reverse`. A position of another epoch is error 112.
    #[serde(borrow, default)]
    #[schema(value_type = PositionRequest<'static>)]
    pub since: Option<PositionRequest<'a>>,
    /// Newest first.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub reverse: Option<bool>,
}

impl HistoryRequest<'_> {
    /// The query for the history. A limit beyond a page is that of a page, as in the client protocol: libraries ask for all
    /// that there is with a large one.
    pub fn query(&self) -> HistoryQuery {
        let limit = match self.limit.unwrap_or_default() {
            ..0 => HISTORY_PAGE_MAX,
            limit => u32::try_from(limit).unwrap_or(u32::MAX).min(HISTORY_PAGE_MAX),
        };
        let since = self.since.as_ref().map(|since| since.offset.unwrap_or_default());
        HistoryQuery { limit, since, reverse: self.reverse.unwrap_or_default(), max_bytes: None }
    }

    /// True if the page was full before the limit was reached, so that there may be more.
    fn is_cut(&self, page: &HistoryPage) -> bool {
        let is_full = page.publications.len() >= HISTORY_PAGE_MAX as usize;
        let ends_before_the_top = self.reverse.unwrap_or_default()
            || page.publications.last().is_some_and(|last| last.offset < page.top.offset);
        is_full && self.limit > Some(i64::from(HISTORY_PAGE_MAX)) && ends_before_the_top
    }
}

/// The result of `presence`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PresenceResult {
    /// The clients in the channel, by client id.
    pub presence: BTreeMap<String, ClientInfoView>,
    /// Cursor of the next page; absent on the last one, and where no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
}

/// The result of `presence_stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct PresenceStatsResult {
    /// Clients in the channel.
    pub num_clients: u64,
    /// Distinct users among them.
    pub num_users: u64,
}

/// The result of `history`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HistoryResult {
    /// Oldest first; newest first when `reverse` was asked for.
    pub publications: Vec<PublicationView>,
    /// The newest publication's offset; 0 while there is none.
    pub offset: u64,
    /// The stream's epoch.
    pub epoch: String,
    /// True where the bounds of a page (1000 publications, `api.reply_max_bytes`) ended it before `limit` did: go on with `since`.
    /// Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    pub truncated: bool,
}

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

/// The options of a channel; 107 with the reason for a bad name, 102 for an unknown namespace.
pub(super) fn options(node: &Node, channel: &str) -> Result<ChannelOptions, ApiError> {
    node.policy.get().channel_options(channel).copied().map_err(|error| explain(node, channel, error))
}

/// Says what is wrong with a channel where the code alone does not.
pub(super) fn explain(node: &Node, channel: &str, error: ErrorCode) -> ApiError {
    let wrong = check_channel_name(channel, node.policy.get().settings.channel_max_bytes).err();
    match wrong {
        Some(wrong) if error == ErrorCode::BAD_REQUEST => ApiError::bad_request(format!("channel: {wrong}")),
        _ => error.into(),
    }
}

fn failed(error: BrokerError) -> ApiError {
    tracing::warn!(%error, "API query failed");
    ErrorCode::from(error).into()
}

fn with_presence(node: &Node, channel: &str) -> Result<(), ApiError> {
    // Where a backend's answer may have opened the presence there may be one.
    if options(node, channel)?.presence || node.policy.get().may_be_overridden(channel) {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::NOT_AVAILABLE, "not available: the channel keeps no presence"))
}

fn without_history() -> ApiError {
    ApiError::new(ErrorCode::NOT_AVAILABLE, "not available: the channel keeps no history")
}

pub(super) async fn presence(
    request: PresenceRequest<'_>,
    call: &CallContext<'_>,
) -> Result<PresenceResult, ApiError> {
    with_presence(call.node, &request.channel)?;
    let turn = call.reads.begin().await?;
    let (clients, next_cursor) = match request.query()? {
        Some(mut query) => {
            query.max_bytes = turn.left_bytes().min(PAGE_BYTES);
            let page = call.node.presence.page(&request.channel, query).await.map_err(failed)?;
            (page.clients, page.cursor)
        }
        None => {
            let clients =
                call.node.presence.clients(ReadSource::Api, &request.channel, turn.left_bytes()).await;
            let clients = clients.map_err(|error| match error {
                ErrorCode::PRESENCE_TOO_LARGE => ApiError::new(
                    error,
                    "limit exceeded: more clients than one answer holds (api.reply_max_bytes): read them in pages, with limit and cursor",
                ),
                error => error.into(),
            })?;
            (clients, None)
        }
    };
    turn.spend(clients.iter().map(|info| info.content_bytes()).sum());
    let by_id = clients.iter().map(|info| (info.client.clone(), ClientInfoView::from(&**info)));
    Ok(PresenceResult { presence: by_id.collect(), next_cursor })
}

pub(super) async fn presence_stats(
    request: ChannelRequest<'_>,
    call: &CallContext<'_>,
) -> Result<PresenceStatsResult, ApiError> {
    with_presence(call.node, &request.channel)?;
    let (num_clients, num_users) =
        call.node.presence.stats(ReadSource::Api, &request.channel).await.map_err(failed)?;
    Ok(PresenceStatsResult { num_clients, num_users })
}

pub(super) async fn history(
    request: HistoryRequest<'_>,
    call: &CallContext<'_>,
) -> Result<HistoryResult, ApiError> {
    let options = options(call.node, &request.channel)?;
    if !options.has_history() {
        return Err(without_history());
    }
    let turn = call.reads.begin().await?;
    let query = HistoryQuery { max_bytes: Some(turn.left_bytes()), ..request.query() };
    let page = call
        .node
        .reads
        .history(ReadSource::Api, &request.channel, query, retention(&options))
        .await
        .map_err(failed)?;
    turn.spend(page.publications.iter().map(|publication| publication.content_bytes()).sum());
    if let Some(since) = &request.since
        && !page.continues(&since.position())
    {
        return Err(ErrorCode::UNRECOVERABLE_POSITION.into());
    }
    Ok(HistoryResult {
        publications: page
            .publications
            .iter()
            .map(|publication| PublicationView::from(&**publication))
            .collect(),
        offset: page.top.offset,
        epoch: page.top.epoch.as_ref().to_owned(),
        truncated: page.truncated || request.is_cut(&page),
    })
}

pub(super) async fn history_remove(
    request: ChannelRequest<'_>,
    call: &CallContext<'_>,
) -> Result<EmptyResult, ApiError> {
    if !options(call.node, &request.channel)?.has_history() {
        return Err(without_history());
    }
    call.node.broker().remove_history(&request.channel).await.map_err(failed)?;
    Ok(EmptyResult {})
}
