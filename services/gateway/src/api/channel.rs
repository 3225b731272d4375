//! `presence`, `presence_stats`, `history` and `history_remove`: questions about one channel, to the broker.

use std::sync::Arc;

use gorani_auth::{ChannelOptions, check_channel_name};
use gorani_broker::{BrokerError, HistoryQuery};

use crate::{
    api::{
        answer::{
            ClientInfoView, EmptyResult, HistoryResult, PresenceResult, PresenceStatsResult, PublicationView,
        },
        error::ApiError,
        reading::ReadAllowance,
        request::{ChannelRequest, HistoryRequest, PresenceRequest},
    },
    disconnect::ErrorCode,
    hub::read_budget::{PAGE_BYTES, ReadSource},
    node::Node,
    session::client::policy::retention,
};

/// The options of a channel; 107 with the reason for a bad name, 102 for an unknown namespace.
pub(super) fn options<'a>(node: &'a Node, channel: &str) -> Result<&'a ChannelOptions, ApiError> {
    node.policy.channel_options(channel).map_err(|error| explain(node, channel, error))
}

/// Says what is wrong with a channel where the code alone does not.
pub(super) fn explain(node: &Node, channel: &str, error: ErrorCode) -> ApiError {
    let wrong = check_channel_name(channel, node.settings.client.channel_max_bytes).err();
    match wrong {
        Some(wrong) if error == ErrorCode::BAD_REQUEST => ApiError::bad_request(format!("channel: {wrong}")),
        _ => error.into(),
    }
}

fn failed(error: BrokerError) -> ApiError {
    tracing::warn!(%error, "a question of the API failed");
    ErrorCode::from(error).into()
}

fn with_presence(node: &Node, channel: &str) -> Result<(), ApiError> {
    if options(node, channel)?.presence {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::NOT_AVAILABLE, "not available: the channel keeps no presence"))
}

fn without_history() -> ApiError {
    ApiError::new(ErrorCode::NOT_AVAILABLE, "not available: the channel keeps no history")
}

pub(super) async fn presence(
    node: &Arc<Node>,
    request: PresenceRequest<'_>,
    allowance: &ReadAllowance,
) -> Result<PresenceResult, ApiError> {
    with_presence(node, &request.channel)?;
    let turn = allowance.begin().await?;
    let (clients, next_cursor) = match request.query()? {
        Some(mut query) => {
            query.max_bytes = turn.left_bytes().min(PAGE_BYTES);
            let page = node.presence.page(&request.channel, query).await.map_err(failed)?;
            (page.clients, page.cursor)
        }
        None => {
            let clients = node.presence.clients(ReadSource::Api, &request.channel, turn.left_bytes()).await;
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
    node: &Arc<Node>,
    request: ChannelRequest<'_>,
) -> Result<PresenceStatsResult, ApiError> {
    with_presence(node, &request.channel)?;
    let (num_clients, num_users) =
        node.presence.stats(ReadSource::Api, &request.channel).await.map_err(failed)?;
    Ok(PresenceStatsResult { num_clients, num_users })
}

pub(super) async fn history(
    node: &Arc<Node>,
    request: HistoryRequest<'_>,
    allowance: &ReadAllowance,
) -> Result<HistoryResult, ApiError> {
    let options = options(node, &request.channel)?;
    if !options.has_history() {
        return Err(without_history());
    }
    let turn = allowance.begin().await?;
    let query = HistoryQuery { max_bytes: Some(turn.left_bytes()), ..request.query()? };
    let page = node
        .reads
        .history(ReadSource::Api, &request.channel, query, retention(options))
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
        truncated: page.truncated,
    })
}

pub(super) async fn history_remove(
    node: &Arc<Node>,
    request: ChannelRequest<'_>,
) -> Result<EmptyResult, ApiError> {
    if !options(node, &request.channel)?.has_history() {
        return Err(without_history());
    }
    node.broker().remove_history(&request.channel).await.map_err(failed)?;
    Ok(EmptyResult {})
}
