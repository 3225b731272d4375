//! `subscribe`, `unsubscribe`, `disconnect` and `refresh`: orders for the sessions of all nodes. They are done when
//! every node's workers have them; a user without connections is no error.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    api::{
        answer::EmptyResult,
        channel::options,
        error::ApiError,
        request::{
            DisconnectRequest, RefreshRequest, SubscribeRequest, UnsubscribeRequest, check_depth, value::Json,
        },
    },
    hub::session_command::SessionCommand,
    node::Node,
    session::ServerSubscribe,
};

pub(super) async fn subscribe(
    node: &Arc<Node>,
    request: SubscribeRequest<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    options(node, &request.channel)?;
    let subscribe = ServerSubscribe {
        channel: request.channel.to_string(),
        info: json("info", request.info)?,
        data: json("data", request.data)?,
        recover: request.recover_since.as_ref().map(|since| since.position()),
    };
    command(node, SessionCommand::Subscribe(target, subscribe)).await
}

pub(super) async fn unsubscribe(
    node: &Arc<Node>,
    request: UnsubscribeRequest<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    options(node, &request.channel)?;
    command(node, SessionCommand::Unsubscribe(target, request.channel.to_string())).await
}

pub(super) async fn disconnect(
    node: &Arc<Node>,
    request: DisconnectRequest<'_>,
) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    let spared = request.whitelist.iter().map(|client| client.to_string()).collect();
    command(node, SessionCommand::Disconnect(target, request.disconnect()?, spared)).await
}

pub(super) async fn refresh(node: &Arc<Node>, request: RefreshRequest<'_>) -> Result<EmptyResult, ApiError> {
    let target = request.target()?;
    let expire_at = request.expire_at.filter(|at| *at != 0);
    command(node, SessionCommand::Refresh { target, expired: request.expired.unwrap_or_default(), expire_at })
        .await
}

async fn command(node: &Arc<Node>, command: SessionCommand) -> Result<EmptyResult, ApiError> {
    node.cluster.send_command(command).await?;
    Ok(EmptyResult {})
}

/// Its own memory: it lives as long as the subscription, and must not keep the request's body.
fn json(field: &'static str, json: Json<'_>) -> Result<Bytes, ApiError> {
    let Some(json) = json.not_null() else { return Ok(Bytes::new()) };
    check_depth(field, json)?;
    Ok(Bytes::copy_from_slice(json.as_bytes()))
}
