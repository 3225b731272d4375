//! Carrying out commands: one for a call of its method, many for a batch.
//!
//! In a batch, publications that follow one another are all handed to the broker before any answer is waited for, so
//! that they share its round trips; any other command waits for those before it, unless the batch is `parallel`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all, ready};

use crate::{
    api::{
        answer::{BatchResult, MethodAnswer},
        channel,
        error::ApiError,
        overview,
        pace::CallPace,
        publish,
        reading::ReadAllowance,
        request::{ApiCommand, BatchRequest, decode_named},
        session,
    },
    node::Node,
};

/// Commands of a batch whose answers are waited for together.
const AT_A_TIME: usize = 64;

/// Carries one command out.
pub(super) async fn answer(
    node: &Arc<Node>,
    command: ApiCommand<'_>,
    body: &Bytes,
    allowance: &ReadAllowance,
) -> Result<MethodAnswer, ApiError> {
    Ok(match command {
        ApiCommand::Publish(request) => {
            MethodAnswer::Publish(publish::finish(node, publish::begin(node, request, body)?).await?)
        }
        ApiCommand::Broadcast(request) => {
            let accepting = publish::begin_broadcast(node, request, body).await?;
            MethodAnswer::Broadcast(publish::finish_broadcast(node, accepting).await)
        }
        ApiCommand::Subscribe(request) => MethodAnswer::Subscribe(session::subscribe(node, request).await?),
        ApiCommand::Unsubscribe(request) => {
            MethodAnswer::Unsubscribe(session::unsubscribe(node, request).await?)
        }
        ApiCommand::Disconnect(request) => {
            MethodAnswer::Disconnect(session::disconnect(node, request).await?)
        }
        ApiCommand::Refresh(request) => MethodAnswer::Refresh(session::refresh(node, request).await?),
        ApiCommand::Presence(request) => {
            MethodAnswer::Presence(channel::presence(node, request, allowance).await?)
        }
        ApiCommand::PresenceStats(request) => {
            MethodAnswer::PresenceStats(channel::presence_stats(node, request).await?)
        }
        ApiCommand::History(request) => {
            MethodAnswer::History(channel::history(node, request, allowance).await?)
        }
        ApiCommand::HistoryRemove(request) => {
            MethodAnswer::HistoryRemove(channel::history_remove(node, request).await?)
        }
        ApiCommand::Channels(request) => MethodAnswer::Channels(overview::channels(node, request).await?),
        ApiCommand::Connections(request) => {
            MethodAnswer::Connections(overview::connections(node, request).await?)
        }
        ApiCommand::Info(_) => MethodAnswer::Info(overview::info(node).await?),
    })
}

/// A command that is under way or will be when it is polled.
type CommandInProgress<'a> = LocalBoxFuture<'a, Result<MethodAnswer, ApiError>>;

/// Begins a command: a publication has its place in line when this returns.
async fn begin<'a>(
    node: &'a Arc<Node>,
    command: ApiCommand<'a>,
    body: &Bytes,
    allowance: &'a ReadAllowance,
) -> CommandInProgress<'a> {
    match command {
        ApiCommand::Publish(request) => match publish::begin(node, request, body) {
            Ok(accepting) => {
                Box::pin(async move { publish::finish(node, accepting).await.map(MethodAnswer::Publish) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        },
        ApiCommand::Broadcast(request) => match publish::begin_broadcast(node, request, body).await {
            Ok(accepting) => Box::pin(async move {
                Ok(MethodAnswer::Broadcast(publish::finish_broadcast(node, accepting).await))
            }),
            Err(error) => Box::pin(ready(Err(error))),
        },
        other => {
            let body = body.clone();
            Box::pin(async move { answer(node, other, &body, allowance).await })
        }
    }
}

/// Whether a command may be under way together with those before it.
fn joins(command: &Result<ApiCommand<'_>, ApiError>) -> bool {
    matches!(command, Ok(ApiCommand::Publish(_) | ApiCommand::Broadcast(_)) | Err(_))
}

/// Carries a batch out; replies are in the order of the commands.
pub(super) async fn run(node: &Arc<Node>, batch: &BatchRequest<'_>, body: &Bytes) -> BatchResult {
    let parallel = batch.parallel.unwrap_or_default();
    let allowance = ReadAllowance::new(&node.settings.api);
    let mut replies = Vec::with_capacity(batch.commands.len());
    let mut under_way: Vec<CommandInProgress<'_>> = Vec::new();
    let mut pace = CallPace::begin();
    for named in batch.commands.iter() {
        let command = decode_named(named);
        let alone = !parallel && !joins(&command);
        if alone {
            settle(&mut under_way, &mut replies).await;
        }
        under_way.push(match command {
            Ok(command) => begin(node, command, body, &allowance).await,
            Err(error) => Box::pin(ready(Err(error))),
        });
        if alone {
            settle(&mut under_way, &mut replies).await;
        }
        pace.pause().await;
    }
    settle(&mut under_way, &mut replies).await;
    BatchResult { replies }
}

/// Waits for all that is under way.
async fn settle(under_way: &mut Vec<CommandInProgress<'_>>, replies: &mut Vec<MethodAnswer>) {
    let mut pace = CallPace::begin();
    while !under_way.is_empty() {
        let some = under_way.drain(..under_way.len().min(AT_A_TIME));
        let settled = join_all(some).await.into_iter();
        replies
            .extend(settled.map(|result| result.unwrap_or_else(|error| MethodAnswer::Error(error.view()))));
        pace.pause().await;
    }
}
