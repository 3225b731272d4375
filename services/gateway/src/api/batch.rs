//! Carrying out commands: one for a call of its method, many for a batch.
//!
//! In a batch, publications that follow one another are all handed to the broker before any answer is waited for, so
//! that they share its round trips; any other command waits for those before it, unless the batch is `parallel`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all, ready};

use crate::{
    api::{
        answer::{Answer, BatchResult},
        channel,
        error::ApiError,
        overview,
        pace::Pace,
        publish,
        request::{BatchRequest, Command, decode_named},
        session,
    },
    node::Node,
};

/// Commands of a batch whose answers are waited for together.
const AT_A_TIME: usize = 64;

/// Carries one command out.
pub(super) async fn answer(node: &Arc<Node>, command: Command<'_>, body: &Bytes) -> Result<Answer, ApiError> {
    Ok(match command {
        Command::Publish(request) => {
            Answer::Publish(publish::finish(node, publish::begin(node, request, body)?).await?)
        }
        Command::Broadcast(request) => {
            let accepting = publish::begin_broadcast(node, request, body).await?;
            Answer::Broadcast(publish::finish_broadcast(node, accepting).await)
        }
        Command::Subscribe(request) => Answer::Subscribe(session::subscribe(node, request).await?),
        Command::Unsubscribe(request) => Answer::Unsubscribe(session::unsubscribe(node, request).await?),
        Command::Disconnect(request) => Answer::Disconnect(session::disconnect(node, request).await?),
        Command::Refresh(request) => Answer::Refresh(session::refresh(node, request).await?),
        Command::Presence(request) => Answer::Presence(channel::presence(node, request).await?),
        Command::PresenceStats(request) => {
            Answer::PresenceStats(channel::presence_stats(node, request).await?)
        }
        Command::History(request) => Answer::History(channel::history(node, request).await?),
        Command::HistoryRemove(request) => {
            Answer::HistoryRemove(channel::history_remove(node, request).await?)
        }
        Command::Channels(request) => Answer::Channels(overview::channels(node, request).await?),
        Command::Connections(request) => Answer::Connections(overview::connections(node, request).await?),
        Command::Info(_) => Answer::Info(overview::info(node).await?),
    })
}

/// A command that is under way or will be when it is polled.
type Answering<'a> = LocalBoxFuture<'a, Result<Answer, ApiError>>;

/// Begins a command: a publication has its place in line when this returns.
async fn begin<'a>(node: &'a Arc<Node>, command: Command<'a>, body: &Bytes) -> Answering<'a> {
    match command {
        Command::Publish(request) => match publish::begin(node, request, body) {
            Ok(accepting) => {
                Box::pin(async move { publish::finish(node, accepting).await.map(Answer::Publish) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        },
        Command::Broadcast(request) => {
            match publish::begin_broadcast(node, request, body).await {
                Ok(accepting) => Box::pin(async move {
                    Ok(Answer::Broadcast(publish::finish_broadcast(node, accepting).await))
                }),
                Err(error) => Box::pin(ready(Err(error))),
            }
        }
        other => {
            let body = body.clone();
            Box::pin(async move { answer(node, other, &body).await })
        }
    }
}

/// Whether a command may be under way together with those before it.
fn joins(command: &Result<Command<'_>, ApiError>) -> bool {
    matches!(command, Ok(Command::Publish(_) | Command::Broadcast(_)) | Err(_))
}

/// Carries a batch out; replies are in the order of the commands.
pub(super) async fn run(node: &Arc<Node>, batch: &BatchRequest<'_>, body: &Bytes) -> BatchResult {
    let parallel = batch.parallel.unwrap_or_default();
    let mut replies = Vec::with_capacity(batch.commands.len());
    let mut under_way: Vec<Answering<'_>> = Vec::new();
    let mut pace = Pace::begin();
    for named in batch.commands.iter() {
        let command = decode_named(named);
        let alone = !parallel && !joins(&command);
        if alone {
            settle(&mut under_way, &mut replies).await;
        }
        under_way.push(match command {
            Ok(command) => begin(node, command, body).await,
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
async fn settle(under_way: &mut Vec<Answering<'_>>, replies: &mut Vec<Answer>) {
    let mut pace = Pace::begin();
    while !under_way.is_empty() {
        let some = under_way.drain(..under_way.len().min(AT_A_TIME));
        let settled = join_all(some).await.into_iter();
        replies.extend(settled.map(|result| result.unwrap_or_else(|error| Answer::Error(error.view()))));
        pace.pause().await;
    }
}
